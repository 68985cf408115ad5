"""What was found for a feature, said apart from what the model then got."""

from enum import IntEnum

import numpy as np

__all__ = ["NOT_FOUND", "NULL", "PRESENT", "Rung", "Status"]


class Status(IntEnum):
    """The state of one feature value in one row. The numbers are part of the wire format."""

    PRESENT = 0
    """A usable row holds a value."""
    NULL = 1
    """A usable row holds NULL for this feature."""
    NOT_FOUND = 2
    """The store has no row for the key."""
    STALE = 3
    """The newest row is older than the view's TTL at t."""
    FUTURE = 4
    """The stored row is dated after t."""
    UNREADABLE = 5
    """Bytes were found that no known schema explains."""
    UNREACHABLE = 6
    """The store did not answer in its share of the deadline."""
    REQUEST = 7
    """The caller sent the value."""


PRESENT, NULL, NOT_FOUND = np.int8(Status.PRESENT), np.int8(Status.NULL), np.int8(Status.NOT_FOUND)
"""The same as numbers of the arrays that hold them: numpy compares with a member of an enum ten times slower."""


class Rung(IntEnum):
    """Which rung of the fallback ladder an answer stands on; higher is worse. The numbers are on the wire."""

    FRESH = 0
    """Every stored feature came from a usable row."""
    DEFAULTS = 1
    """Some features were missing or stale and took the plan's default, or NULL where it names none."""
    ALL_DEFAULTS = 2
    """The store did not answer: no stored feature was read."""
    PRIOR = 3
    """The model could not run: the score is the bundle's prior."""
