"""One monotonic deadline travels with a request."""

import time
from typing import NamedTuple

__all__ = ["Deadline"]


class Deadline(NamedTuple):
    """The moment by which the caller wants its answer."""

    at_s: float
    """On the monotonic clock of this process, in seconds."""

    @staticmethod
    def after(seconds: float) -> "Deadline":
        """The deadline that many seconds from now."""
        return Deadline(time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at_s - time.monotonic())
