"""The part of a packed row whose width differs from row to row: strings, bytes and lists of scalars.

A string or bytes value is its bytes. A list is: the number of elements (uint32), a null bitmap (one bit an element, set
where it is NULL), then either the elements one after the other, or, for strings and bytes, the end of each (uint32) and
their bytes. NULL itself takes no bytes.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep import arrays
from lockstep.ragged import Bytes, Ints, at, gather, indexes, offsets
from lockstep.schema import DType

__all__ = ["Pieces", "decode", "encode", "join"]

_COUNT: Final = np.dtype("<u4")


def join(*parts: pa.BinaryArray) -> pa.BinaryArray:
    """The bytes of each row, one part after the other."""
    from pyarrow import compute  # 9 MB, which a scorer does not need

    return compute.binary_join_element_wise(*parts, arrays.EMPTY) if len(parts) > 1 else parts[0]


def encode(column: pa.Array, dtype: DType) -> pa.BinaryArray:
    """The payload of each value of a column of the dtype's Arrow type, b"" for NULL."""
    from pyarrow import compute

    if dtype.element is None:
        return _filled(column.cast(pa.binary()))
    counts = arrays.fixed_of(column.value_lengths(), np.dtype(np.int32)).astype(np.int64)
    elements = column.flatten()
    head = arrays.of_matrix(counts.astype(_COUNT).view(np.uint8).reshape(-1, 4))
    lists = join(head, _bitmaps(elements, counts), *_elements(elements, counts, dtype.element))
    return compute.if_else(column.is_null(), arrays.EMPTY, lists)


def _bitmaps(elements: pa.Array, counts: Ints) -> pa.BinaryArray:
    """A null bitmap per list."""
    widths = -(-counts // 8)
    ends = offsets(widths)
    bits = np.zeros(8 * ends[-1], bool)
    bits[indexes(8 * ends[:-1], counts)] = arrays.null_of(elements)
    return _pieces(np.packbits(bits, bitorder="little"), ends)


def _elements(elements: pa.Array, counts: Ints, dtype: DType) -> list[pa.BinaryArray]:
    """The parts of a list's payload after its bitmap."""
    ends = offsets(counts)
    if dtype.numpy is not None:
        return [_pieces(scalars(elements, dtype).view(np.uint8), ends * dtype.numpy.itemsize)]
    texts = _filled(elements.cast(pa.binary()))
    data, places = arrays.bytes_of(texts)
    within = places[1:] - np.repeat(places[ends[:-1]], counts)
    return [_pieces(within.astype(_COUNT).view(np.uint8), ends * 4), _pieces(data, places[ends])]


def _pieces(data: Bytes, ends: Ints) -> pa.BinaryArray:
    return arrays.of_pieces(data, ends, None, pa.binary())


def scalars(column: pa.Array, dtype: DType) -> NDArray[Any]:
    """A column of fixed-width values as they lie in the bytes, 0 for NULL. Shape (n,)."""
    numbers = column.cast(pa.int64()) if dtype is DType.TIMESTAMP else column
    assert dtype.numpy is not None
    return np.ascontiguousarray(arrays.fixed_of(numbers, dtype.numpy), dtype.numpy)


def _filled(column: pa.BinaryArray) -> pa.BinaryArray:
    """The same with b"" for NULL."""
    return column.fill_null(arrays.EMPTY) if column.null_count else column


class Pieces(NamedTuple):
    """Where the payload of one field lies, row by row."""

    data: Bytes
    """One buffer, with at least 4 bytes after the last piece."""
    starts: Ints
    lengths: Ints
    null: NDArray[np.bool_]

    def cut(self, bad: NDArray[np.bool_]) -> "Pieces":
        """The same, with the bad ones empty."""
        return self._replace(lengths=np.where(bad, 0, self.lengths)) if bad.any() else self


def decode(pieces: Pieces, dtype: DType) -> tuple[pa.Array, NDArray[np.bool_]]:
    """The values, and which of them the payload does not explain: those are not to be used. Both of shape (n,)."""
    empty = pieces.null & (pieces.lengths != 0)
    element = dtype.element
    if element is None:
        values, bad = _texts(pieces.cut(empty), dtype)
    elif element.numpy is not None:
        values, bad = _lists_of_scalars(pieces.cut(empty), element, element.numpy)
    else:
        values, bad = _lists_of_texts(pieces.cut(empty), element)
    return values, bad | empty


def _texts(pieces: Pieces, dtype: DType) -> tuple[pa.Array, NDArray[np.bool_]]:
    data = gather(pieces.data, pieces.starts, pieces.lengths)
    values = arrays.of_pieces(data, offsets(pieces.lengths), pieces.null, dtype.arrow)
    bad = _not_utf8(values)
    return (values, bad) if not bad.any() else (_texts(pieces.cut(bad), dtype)[0], bad)


def _not_utf8(values: pa.Array) -> NDArray[np.bool_]:
    """Which strings are none. The whole column is checked in one go; only where that fails, one by one."""
    bad = np.zeros(len(values), bool)
    if not pa.types.is_string(values.type) or _is_valid(values):
        return bad
    for row in range(len(values)):
        bad[row] = not _is_valid(values[row : row + 1])
    return bad


def _is_valid(values: pa.Array) -> bool:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _counts(pieces: Pieces, width: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Elements of each list, and which lists are too short for their count at `width` bytes an element."""
    counts = np.where(pieces.lengths >= 4, at(pieces.data, pieces.starts, _COUNT), 0).astype(np.int64)
    short = ~pieces.null & (pieces.lengths < 4 + -(-counts // 8) + counts * width)
    return np.where(short, 0, counts), short


def _nulls(pieces: Pieces, counts: Ints) -> NDArray[np.bool_]:
    """Which elements are NULL. Shape (sum of counts,)."""
    widths = -(-counts // 8)
    bits = np.unpackbits(gather(pieces.data, pieces.starts + 4, widths), bitorder="little")
    return bits[indexes(8 * offsets(widths)[:-1], counts)].astype(bool)


def _any(flags: NDArray[np.bool_], counts: Ints) -> NDArray[np.bool_]:
    """Which lists have an element whose flag is set."""
    rows = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(rows[flags], minlength=len(counts)) > 0


def _lists_of_scalars(pieces: Pieces, element: DType, numpy: np.dtype[Any]) -> tuple[pa.Array, NDArray[np.bool_]]:
    counts, bad = _counts(pieces, numpy.itemsize)
    size = 4 + -(-counts // 8)
    bad |= ~pieces.null & (pieces.lengths != size + counts * numpy.itemsize)
    counts = np.where(bad, 0, counts)
    values = gather(pieces.data, pieces.starts + size, counts * numpy.itemsize).view(numpy)
    if element is DType.BOOL:
        bad |= _any(values > 1, counts)
    elements = arrays.of_fixed(values, _nulls(pieces, counts), element.arrow)
    return arrays.of_lists(elements, offsets(counts), pieces.null), bad


def _lists_of_texts(pieces: Pieces, element: DType) -> tuple[pa.Array, NDArray[np.bool_]]:
    counts, bad = _counts(pieces, 4)
    ends_at = pieces.starts + 4 + -(-counts // 8)
    ends = gather(pieces.data, ends_at, 4 * counts).view(_COUNT).astype(np.int64)
    edges = offsets(counts)
    before = np.roll(ends, 1)
    before[edges[:-1][counts > 0]] = 0
    total = np.zeros(len(counts), np.int64)
    total[counts > 0] = ends[edges[1:][counts > 0] - 1]
    size = 4 + -(-counts // 8) + 4 * counts
    wrong = (~pieces.null & (pieces.lengths != size + total)) | _any(ends < before, counts)
    if wrong.any():
        return _lists_of_texts(pieces._replace(null=pieces.null | wrong).cut(wrong), element)[0], bad | wrong
    parts = Pieces(pieces.data, np.repeat(pieces.starts + size, counts) + before, ends - before, _nulls(pieces, counts))
    elements, bad_elements = decode(parts, element)
    return arrays.of_lists(elements, edges, pieces.null), bad | _any(bad_elements, counts)
