"""The packed rows of several views, one below the other, so that they are checked and read together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lockstep import checksum
from lockstep.ragged import Ints
from lockstep.schema import DType, Schema

__all__ = ["RowStack", "stack"]

_HEAD: Final = Schema(()).layout.fixed
"""The head that the rows of every schema begin with."""
_SUMMED_FROM: Final = 4


@dataclass(frozen=True)
class RowStack:
    """Rows filled up with zeros to one width; a row that is not there is all zeros."""

    data: bytes
    width: int
    lengths: Ints
    """Bytes of each row, 0 where there is none. Shape (n,)."""
    sound: NDArray[np.bool_]
    """Which rows have the checksum and the length that they name, the schema that was expected, and no impossible
    boolean. Shape (n,)."""
    event_us: Ints
    """Shape (n,); any number where a row is not sound."""

    def at(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The value that begins at each byte."""
        return np.ndarray((len(self.data) - dtype.itemsize + 1,), dtype, buffer=self.data, strides=(1,))

    def fixed(self, schema: Schema, part: slice) -> NDArray[Any]:
        """The fixed parts of some rows as records. Shape (rows of the part,)."""
        return _fixed(self.data, self.width, schema, part)


def stack(rows: Sequence[bytes | None], parts: Sequence[tuple[Schema, slice]]) -> RowStack | None:
    """The rows; those of each part are expected to be of its schema. Parts cover the rows, in order.

    None where one long row would fill up many short ones.
    """
    there = [row or b"" for row in rows]
    sizes = list(map(len, there))
    widths = [schema.layout.fixed.itemsize for schema, _ in parts]
    width = -(-max(*widths, *sizes) // 4) * 4
    if width * len(there) > 4 * sum(sizes) + 65536:
        return None
    data = b"".join([row if len(row) == width else row.ljust(width, b"\0") for row in there])
    lengths = np.array(sizes)
    words = np.frombuffer(data, "<u4").reshape(len(there), width // 4)
    head: NDArray[Any] = np.ndarray((len(there),), _HEAD, buffer=data, strides=(width,))
    counts = [part.stop - part.start for _, part in parts]
    expected = np.repeat(np.array([schema.fingerprint for schema, _ in parts], np.uint64), counts)
    ends = np.repeat(widths, counts)
    sound = (checksum.of_matrix(words[:, 1:], lengths - _SUMMED_FROM) == words[:, 0]) & (
        head["fingerprint"] == expected
    )
    for schema, part in parts:
        if schema.layout.variable or schema.layout.has_bools:
            _check(schema, _fixed(data, width, schema, part), ends[part], sound[part])
    return RowStack(data, width, lengths, sound & (lengths == ends), head["event"])


def _fixed(data: bytes, width: int, schema: Schema, part: slice) -> NDArray[Any]:
    dtype, start = schema.layout.fixed, part.start * width
    return np.ndarray((part.stop - part.start,), dtype, buffer=data, offset=start, strides=(width,))


def _check(schema: Schema, fixed: NDArray[Any], ends: Ints, sound: NDArray[np.bool_]) -> None:
    """Move `ends` to where the payloads end, and take from `sound` what cannot be."""
    if schema.layout.variable:
        payloads = fixed["ends"].astype(np.int64)
        ends += payloads[:, -1]
        if payloads.shape[1] > 1:
            sound &= (payloads[:, :-1] <= payloads[:, 1:]).all(axis=1)
    if schema.layout.has_bools:
        sound &= (fixed[DType.BOOL.value] <= 1).all(axis=1)
