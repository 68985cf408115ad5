"""Arrow arrays from numpy buffers, and back, without a Python object per value."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep.errors import BadRequest
from lockstep.ragged import Bytes, Ints

__all__ = ["bytes_of", "lengths_of", "of_fixed", "of_lists", "of_matrix", "of_pieces"]

_MOST = 2**31 - 1


def _validity(null: NDArray[np.bool_]) -> pa.Buffer | None:
    return pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None


def _offsets(offsets: Ints) -> NDArray[np.int32]:
    if offsets[-1] > _MOST:
        raise BadRequest(
            f"{offsets[-1]} bytes of one column are more than Arrow holds in one array. Ask for fewer rows at once."
        )
    return offsets.astype(np.int32)


def of_fixed(values: NDArray[Any], null: NDArray[np.bool_], dtype: pa.DataType) -> pa.Array:
    """An array of numbers, times or booleans, NULL where `null` is set. Both of shape (n,)."""
    if pa.types.is_boolean(dtype):
        return pa.array(values.astype(bool), mask=null)
    return pa.Array.from_buffers(dtype, len(values), [_validity(null), pa.py_buffer(np.ascontiguousarray(values))])


def of_pieces(data: Bytes, offsets: Ints, null: NDArray[np.bool_], dtype: pa.DataType) -> pa.Array:
    """Strings or bytes that lie end to end in `data`; `offsets` has shape (n + 1,). UTF-8 is not checked."""
    buffers = [_validity(null), pa.py_buffer(_offsets(offsets)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(dtype, len(offsets) - 1, buffers)


def of_lists(elements: pa.Array, offsets: Ints, null: NDArray[np.bool_]) -> pa.ListArray:
    """An array of lists whose elements lie end to end. `offsets` has shape (n + 1,)."""
    return pa.ListArray.from_arrays(pa.array(_offsets(offsets)), elements, mask=pa.array(null) if null.any() else None)


def of_matrix(matrix: Bytes) -> pa.BinaryArray:
    """Each row of a matrix of bytes as one value. Shape (n, width)."""
    count, width = matrix.shape
    return of_pieces(matrix.reshape(-1), np.arange(count + 1) * width, np.zeros(count, bool), pa.binary())


def bytes_of(array: pa.Array) -> tuple[Bytes, Ints]:
    """The buffer of an array of strings or bytes and the n + 1 offsets into it."""
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = array.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), offsets


def lengths_of(array: pa.Array) -> Ints:
    """Length of each string or bytes value, in bytes; that of a NULL is 0."""
    return np.where(array.is_null().to_numpy(zero_copy_only=False), 0, np.diff(bytes_of(array)[1]))
