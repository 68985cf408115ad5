"""The hour of the day at which a click happens, in UTC."""

import numpy as np
from numpy.typing import NDArray


def hour_of_day(event_timestamp: NDArray[np.float64]) -> NDArray[np.float32]:
    """Hours since midnight UTC, with fraction, in [0, 24).

    event_timestamp: shape (rows,), µs since 1970-01-01 UTC, never missing.

    >>> hour_of_day(np.array([1510185600e6, 1510200000e6]))  # 2017-11-09 00:00 and 04:00
    array([0., 4.], dtype=float32)
    """
    hours: NDArray[np.float32] = (np.mod(event_timestamp, 86_400e6) / 3_600e6).astype(np.float32)
    return hours
