"""How many frames that are no work a peer may send."""

import time
from typing import Final

from serving.http2.frames import Broken, ErrorCode

__all__ = ["Patience"]

MOST: Final = 10_000
A_SECOND: Final = 1_000.0


class Patience:
    """A store of frames that is used up by frames that are no work, and filled by work and by time.

    Pings, settings, empty frames and the like are cheap to send and not free to read: a peer that sends little else is
    an attacker, or broken. A caller whose calls run out of time is neither: a call earns more than its reset costs.
    """

    __slots__ = ("_at_s", "left")

    def __init__(self) -> None:
        self.left = float(MOST)
        """Frames. Work adds to it, past MOST until the next `tire`."""
        self._at_s = time.monotonic()

    def tire(self, count: int = 1) -> None:
        """Frames that are no work have come, or one that costs as much as so many. Raises Broken."""
        self.left = min(self.left, MOST) - count
        if self.left < 0:
            now_s = time.monotonic()
            self.left = min((now_s - self._at_s) * A_SECOND, MOST) - count
            self._at_s = now_s
            if self.left < 0:
                raise Broken(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that are no work")
