"""The circuit breaker of one connection: a server that leaves a command unanswered is not asked until it answers.

Nothing probes: the commands that were sent stay on their way, and a server that was frozen answers them the moment it
goes on. One that stays silent is dialled again, and let in when it has answered a PING.
"""

import asyncio
import time
from collections.abc import Callable

__all__ = ["Breaker"]


class Breaker:
    """Closed, until a command has waited for `after_s`; then open, until something is answered."""

    def __init__(
        self,
        after_s: float,
        patience_s: float,
        *,
        oldest_s: Callable[[], float | None],
        opened: Callable[[], None],
        lost: Callable[[], None],
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        """`oldest_s`: since when the oldest command waits, by `time.monotonic`, None where none does. When it opens and
        closes it calls `opened` and `closed`; `lost`, when a command has waited for `patience_s`.
        """
        self._after_s, self._patience_s = min(after_s, patience_s), patience_s
        self._oldest_s, self._opened, self._closed, self._lost = oldest_s, opened, closed, lost
        self._timer: asyncio.TimerHandle | None = None
        self._sure = False
        self.is_open = False

    def sent(self) -> None:
        """A command was sent."""
        if self._timer is None:
            self._look_in(self._after_s)

    def answered(self) -> None:
        """Something was answered."""
        if self.is_open:
            self.is_open = False
            self.close()
            self._look_in(self._after_s)
            self._closed()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(seconds, 1e-3), self._look)

    def _look(self) -> None:
        """One timer in `after_s` at most, however many commands there are."""
        self._timer, sure, self._sure = None, self._sure, False
        since_s = self._oldest_s()
        if since_s is None:
            return
        waited_s = time.monotonic() - since_s
        if waited_s >= self._after_s and not sure:  # the loop may have been busy: let it read what has come meanwhile
            self._sure = True
            self._look_in(0.0)
            return
        if waited_s >= self._patience_s:
            self._lost()
            return
        if waited_s >= self._after_s and not self.is_open:
            self.is_open = True
            self._opened()
        self._look_in((self._patience_s if self.is_open else self._after_s) - waited_s)
