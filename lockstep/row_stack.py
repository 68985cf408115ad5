"""The packed rows of several views, one below the other, so that they are checked together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lockstep import checksum
from lockstep.ragged import Ints
from lockstep.schema import Schema

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
    """Which rows have the checksum that they name, and the schema that was expected. Shape (n,)."""
    event_us: Ints
    """Shape (n,); any number where a row is not sound."""

    def fixed(self, dtype: np.dtype[Any], part: slice) -> NDArray[Any]:
        """The first bytes of some rows as records, no wider than the stack. Shape (rows of the part,)."""
        start, count = part.start * self.width, part.stop - part.start
        return np.ndarray((count,), dtype, buffer=self.data, offset=start, strides=(self.width,))


def stack(rows: Sequence[bytes | None], parts: Sequence[tuple[Schema, slice]]) -> RowStack | None:
    """The rows; those of each part are expected to be of its schema. Parts cover the rows, in order.

    None where one long row would fill up many short ones.
    """
    there = [row or b"" for row in rows]
    sizes = list(map(len, there))
    narrowest = max(schema.layout.fixed.itemsize for schema, _ in parts)
    width = -(-max(narrowest, *sizes) // 4) * 4
    if width * len(there) > 4 * sum(sizes) + 65536:
        return None
    data = b"".join([row if len(row) == width else row.ljust(width, b"\0") for row in there])
    lengths = np.array(sizes)
    words = np.frombuffer(data, "<u4").reshape(len(there), width // 4)
    head: NDArray[Any] = np.ndarray((len(there),), _HEAD, buffer=data, strides=(width,))
    sums = checksum.of_matrix(words[:, 1:], lengths - _SUMMED_FROM)
    sound = (sums == words[:, 0]) & (head["fingerprint"] == _expected(parts))
    return RowStack(data, width, lengths, sound, head["event"])


def _expected(parts: Sequence[tuple[Schema, slice]]) -> NDArray[np.uint64]:
    """The fingerprint that each row should have."""
    counts = [part.stop - part.start for _, part in parts]
    return np.repeat(np.array([schema.fingerprint for schema, _ in parts], np.uint64), counts)
