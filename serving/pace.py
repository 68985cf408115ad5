"""Whether a request should wait for company: not on an idle server, a moment on a busy one.

Requests that share a batch cost a fraction of one that has its own. A server that is busy with batches of one therefore
gains by letting a request wait for a millisecond, and callers gain with it: what they wait for most is the batches
before theirs. How busy it is says the CPU time of the thread, of which the loop that answers is the only user.
"""

import time
from collections.abc import Callable

__all__ = ["HOLD_S", "Pace"]

HOLD_S = 0.001
"""How long a request waits for company at most: the least that the loop's timers know."""
BUSY = 0.5
"""Share of a core from which on requests wait."""
_WINDOW_S = 0.02


class Pace:
    """Of one lane."""

    def __init__(
        self, clock_s: Callable[[], float] = time.perf_counter, cpu_s: Callable[[], float] = time.thread_time
    ) -> None:
        """`cpu_s`: what this thread has used."""
        self._clock_s, self._thread_s = clock_s, cpu_s
        self._since_s, self._cpu_s = clock_s(), cpu_s()
        self._busy, self._company, self._most = 0.0, 1, 1

    def began(self, requests: int) -> None:
        """A batch of so many requests begins."""
        self._most = max(self._most, requests)
        now_s = self._clock_s()
        if now_s - self._since_s >= _WINDOW_S:
            cpu_s = self._thread_s()
            self._busy = (cpu_s - self._cpu_s) / (now_s - self._since_s)
            self._company, self._most = self._most, requests
            self._since_s, self._cpu_s = now_s, cpu_s

    def alone(self, waiting: int) -> bool:
        """Whether so many requests should wait for more: there were more in a batch lately, and there is much to do."""
        if waiting >= self._company or self._busy < BUSY:
            return False
        return self._clock_s() - self._since_s < 2 * _WINDOW_S  # else nothing was done lately
