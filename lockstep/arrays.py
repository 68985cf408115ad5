"""Arrow arrays from numpy buffers, and back, without a Python object per value.

By way of their buffers alone. `pa.array`, `pa.scalar` and `to_numpy` ask whether they were given something of pandas,
and import it for that where it is installed: half a second and 45 MB of a scorer, in the middle of its work.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep import ragged
from lockstep.errors import BadRequest
from lockstep.ragged import Bytes, Ints

__all__ = [
    "EMPTY",
    "bytes_of",
    "fixed_of",
    "lengths_of",
    "null_of",
    "of_fixed",
    "of_lists",
    "of_matrix",
    "of_pieces",
    "of_texts",
    "taken",
    "texts_of",
]

_MOST = 2**31 - 1


def _validity(null: NDArray[np.bool_] | None) -> pa.Buffer | None:
    return pa.py_buffer(np.packbits(~null, bitorder="little")) if null is not None and null.any() else None


def _offsets(offsets: Ints) -> NDArray[np.int32]:
    if offsets[-1] > _MOST:
        raise BadRequest(
            f"{offsets[-1]} bytes of one column are more than Arrow holds in one array. Ask for fewer rows at once."
        )
    return offsets.astype(np.int32)


def of_fixed(values: NDArray[Any], null: NDArray[np.bool_] | None, dtype: pa.DataType) -> pa.Array:
    """An array of numbers, times or booleans, NULL where `null` is set; None: nowhere. Both of shape (n,)."""
    if pa.types.is_boolean(dtype):
        data = np.packbits(values.astype(bool), bitorder="little")
    else:
        data = np.ascontiguousarray(values)
    return pa.Array.from_buffers(dtype, len(values), [_validity(null), pa.py_buffer(data)])


def of_pieces(data: Bytes, offsets: Ints, null: NDArray[np.bool_] | None, dtype: pa.DataType) -> pa.Array:
    """Strings or bytes that lie end to end in `data`; `offsets` has shape (n + 1,), `null` as in `of_fixed`. UTF-8 is
    not checked.
    """
    buffers = [_validity(null), pa.py_buffer(_offsets(offsets)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(dtype, len(offsets) - 1, buffers)


def of_lists(elements: pa.Array, offsets: Ints, null: NDArray[np.bool_]) -> pa.ListArray:
    """An array of lists whose elements lie end to end. `offsets` has shape (n + 1,)."""
    mask = of_fixed(null, None, pa.bool_()) if null.any() else None
    return pa.ListArray.from_arrays(of_fixed(_offsets(offsets), None, pa.int32()), elements, mask=mask)


def of_texts(values: Sequence[bytes]) -> pa.BinaryArray:
    """An array of these."""
    data, lengths = np.frombuffer(b"".join(values), np.uint8), np.fromiter(map(len, values), np.int64, len(values))
    return of_pieces(data, ragged.offsets(lengths), None, pa.binary())


def of_matrix(matrix: Bytes) -> pa.BinaryArray:
    """Each row of a matrix of bytes as one value. Shape (n, width)."""
    count, width = matrix.shape
    return of_pieces(matrix.reshape(-1), np.arange(count + 1) * width, None, pa.binary())


def bytes_of(array: pa.Array) -> tuple[Bytes, Ints]:
    """The buffer of an array of strings or bytes and the n + 1 offsets into it."""
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = array.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), offsets


def fixed_of(array: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values of an array of numbers, times or booleans, which are of this dtype; 0 for NULL. Shape (n,)."""
    data = array.buffers()[1]
    if pa.types.is_boolean(array.type):
        values = _bits(data, array)
    else:
        values = np.frombuffer(data or b"", dtype)[array.offset : array.offset + len(array)]
    return np.where(null_of(array), dtype.type(0), values) if array.null_count else values


def null_of(array: pa.Array) -> NDArray[np.bool_]:
    """Where an array has NULL. Shape (n,)."""
    if not array.null_count:
        return np.zeros(len(array), bool)
    return ~_bits(array.buffers()[0], array)


def _bits(data: pa.Buffer | None, array: pa.Array) -> NDArray[np.bool_]:
    """One bit for each place of an array, which may be a small part of what its buffers hold."""
    skipped, first = divmod(array.offset, 8)
    needed = np.frombuffer(data or b"", np.uint8)[skipped : skipped + -(-(first + len(array)) // 8)]
    return np.unpackbits(needed, bitorder="little")[first : first + len(array)].astype(bool)


def taken(array: pa.Array, places: Ints) -> pa.Array:
    """The values at these places, NULL where a place is negative. Strings and bytes are taken without
    `pyarrow.compute`, which costs a scorer 9 MB.
    """
    absent = places < 0
    if not (pa.types.is_string(array.type) or pa.types.is_binary(array.type)):
        return array.take(of_fixed(places, absent, pa.int64()))
    if not len(array):
        return pa.nulls(len(places), array.type)
    data, offsets = bytes_of(array)
    at = np.where(absent, 0, places)
    null = absent | null_of(array)[at]
    lengths = np.where(null, 0, np.diff(offsets)[at])
    pieces = ragged.gather(data, offsets[:-1][at], lengths)
    return of_pieces(pieces, ragged.offsets(lengths), null if null.any() else None, array.type)


def texts_of(array: pa.StringArray) -> NDArray[np.object_]:
    """The strings of an array, "" for NULL. Shape (n,)."""
    texts = np.empty(len(array), object)
    texts[:] = [text or "" for text in array.to_pylist()]
    return texts


def lengths_of(array: pa.Array) -> Ints:
    """Length of each string or bytes value, in bytes; that of a NULL is 0."""
    return np.where(null_of(array), 0, np.diff(bytes_of(array)[1]))


EMPTY: Final = of_texts([b""])[0]
"""b"" as a scalar of Arrow's."""
