"""Device and operating system as one id: some devices exist with one system only."""

import numpy as np
from numpy.typing import NDArray


def device_os(device: NDArray[np.int64], os: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pair as one number, device × 10,000 + os.

    Both arguments: shape (rows,), ids as sent; os below 10,000.

    >>> device_os(np.array([1, 3032]), np.array([13, 607]))
    array([   10013, 30320607])
    """
    pair: NDArray[np.int64] = device * np.int64(10_000) + os
    return pair
