"""Whether a client has more calls than its connection takes, and which of them have waited too long with it."""

import time
from typing import Final

__all__ = ["Pressure"]

LASTS_S: Final = 0.1
"""A connection that is full again and again for so long has a queue behind it, and not a burst."""
REMEMBERED_S: Final = 60.0
"""How long at least, and at most twice as long, the longest time that a caller had is remembered."""


class Pressure:
    """Of one connection.

    gRPC's clients keep the calls for which a connection has no room, first come, first served, and say with each how
    much of its time is left. What a server does not refuse in time it gets when it is too late.
    """

    __slots__ = ("_before_s", "_full_at_s", "_full_since_s", "_longest_s", "_since_s")

    def __init__(self) -> None:
        self._full_at_s = self._full_since_s = 0.0
        self._longest_s = self._before_s = 0.0
        """The longest time that a caller had left of late, and in the minute before: that of one which did not wait."""
        self._since_s = time.monotonic()

    def seen(self, left_s: float, *, full: bool) -> None:
        """A call has come whose caller waits so long; `full`: it takes the last room of the connection."""
        now_s = time.monotonic()
        if now_s - self._since_s > REMEMBERED_S:
            self._since_s, self._before_s, self._longest_s = now_s, self._longest_s, 0.0
        self._longest_s = max(self._longest_s, left_s)
        if full:
            if now_s - self._full_at_s > LASTS_S:
                self._full_since_s = now_s
            self._full_at_s = now_s

    @property
    def needs_s(self) -> float:
        """How much time a call should have left: half of what it began with, while there is a queue; else 0."""
        queued = self._full_at_s - self._full_since_s > LASTS_S and time.monotonic() - self._full_at_s < LASTS_S
        return max(self._longest_s, self._before_s) / 2 if queued else 0.0
