"""Many byte strings of different lengths in one buffer, moved without a Python loop."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bytes", "Ints", "at", "gather", "indexes", "offsets"]

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


def offsets(lengths: NDArray[Any]) -> Ints:
    """Where each piece starts when pieces of these lengths are laid end to end, and where the last one ends. Shape (n +
    1,).
    """
    found = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def indexes(starts: Ints, lengths: Ints) -> Ints:
    """The position of every element of every piece, pieces in order. Shape (sum of lengths,)."""
    ends = offsets(lengths)
    return np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])


def gather(data: NDArray[Any], starts: Ints, lengths: Ints) -> NDArray[Any]:
    """The pieces data[start : start + length], laid end to end."""
    return data[indexes(starts, lengths)]


def at(data: bytes | Bytes, starts: Ints, dtype: np.dtype[Any]) -> NDArray[Any]:
    """One value of `dtype` read from each byte position; every one must lie inside `data`. Shape of `starts`."""
    room = max(len(data) - dtype.itemsize + 1, 0)
    found: NDArray[Any] = np.ndarray((room,), dtype, buffer=data, strides=(1,))[starts]
    return found
