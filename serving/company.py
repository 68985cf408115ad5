"""Whether to wait a moment for those who were answered just now.

Callers that wait for their answers come back as soon as they have them. Where some were under way and others waited
meanwhile, the others would start at once, those who come back would find them under way, and so on: two halves that
take turns, each paying for a batch of its own. To wait for as long as the answered take to come back, where they have
been coming back, makes one batch of the two. Disk schedulers know it as deceptive idleness: Iyer and Druschel,
Anticipatory scheduling, SOSP 2001.

Those who come whether or not they have an answer show themselves by not coming back in time; for them nobody waits.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Company"]

LONGEST_S: Final = 0.001
"""The longest wait; it is also at most half of what the batch took, which is about what is saved."""
MOST_COME: Final = 0.8
"""Share of the answered that came back in time, from which on it is waited for them."""
MEMORY: Final = 0.9
"""What a batch weighs beside the one after it."""


class _Away:
    """Callers that were answered together and are not back yet."""

    __slots__ = ("callers", "missing", "until_s")

    def __init__(self, callers: int, until_s: float) -> None:
        self.callers = self.missing = callers
        self.until_s = until_s


class Company:
    """The callers of one lane, counted."""

    __slots__ = ("_answered", "_away", "_came", "_clock_s")

    def __init__(self, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self._clock_s = clock_s
        self._away = deque[_Away]()
        """Those who may still come back in time, who were answered first at the front."""
        self._answered = self._came = 0.0
        """Of recent batches, the newer the heavier: callers answered, and of those how many came back in time."""

    def answered(self, callers: int, took_s: float) -> None:
        """So many were answered now, by a batch that took so long."""
        now_s = self._clock_s()
        self._give_up(now_s)
        self._away.append(_Away(callers, now_s + min(took_s / 2, LONGEST_S)))

    def came(self) -> None:
        """A caller is here, one of those or another."""
        if self._away:
            self._give_up(self._clock_s())
        if self._away:
            self._away[0].missing -= 1
            if not self._away[0].missing:
                self._learn(self._away.popleft())

    @property
    def expected(self) -> bool:
        """Whether more of them are likely to come in a moment."""
        if self._away and self._came > MOST_COME * self._answered:
            self._give_up(self._clock_s())
            return bool(self._away)
        return False

    def _give_up(self, now_s: float) -> None:
        while self._away and self._away[0].until_s < now_s:
            self._learn(self._away.popleft())

    def _learn(self, away: _Away) -> None:
        self._answered = MEMORY * self._answered + away.callers
        self._came = MEMORY * self._came + away.callers - away.missing
