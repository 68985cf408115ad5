"""How long ago the last click of the same address was."""

import numpy as np
from numpy.typing import NDArray


def seconds_since_last_by_ip(
    event_timestamp: NDArray[np.float64], last_click_time_by_ip: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Seconds from the last click to t; NaN where there was none in the last 24 hours.

    Both arguments: shape (rows,), µs since 1970-01-01 UTC; last_click_time_by_ip is NaN where missing.

    >>> seconds_since_last_by_ip(np.array([90e6, 90e6]), np.array([60e6, np.nan]))
    array([30., nan], dtype=float32)
    """
    seconds: NDArray[np.float32] = ((event_timestamp - last_click_time_by_ip) / 1e6).astype(np.float32)
    return seconds
