"""Packed rows one below the other in one buffer, so that many are checked and read by one numpy call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lockstep import checksum
from lockstep.ragged import Ints
from lockstep.schema import DType, Schema

__all__ = ["HEAD", "SUMMED_FROM", "Expected", "Flags", "RowStack", "filled_up", "fits", "is_wasteful", "width_for"]

Flags = NDArray[np.bool_]

HEAD: Final = Schema(()).layout.fixed
"""What the rows of every schema begin with."""
SUMMED_FROM: Final = 4
"""Where the part of a row begins over which its checksum is made."""


def width_for(longest: int) -> int:
    """The width at which rows stand one below the other: whole words, at least a head."""
    return -(-max(longest, HEAD.itemsize) // 4) * 4


def is_wasteful(longest: int, count: int, needed: int) -> bool:
    """Whether one long row would fill up many short ones: `needed` bytes in `count` rows."""
    return longest * count > 4 * needed + 65536


def filled_up(rows: Sequence[bytes], sizes: list[int], width: int) -> bytes:
    """The rows end to end, each filled up with zeros."""
    if sizes.count(width) < len(sizes):
        rows = [row.ljust(width, b"\0") for row in rows]
    return b"".join(rows)


def fits(schema: Schema, fixed: NDArray[Any], lengths: Ints | int) -> Flags | bool:
    """Which rows are as long as they say and hold no impossible boolean; one answer where it is the same for all."""
    fitting: Any = lengths == fixed.itemsize
    if schema.layout.variable:
        ends = fixed["ends"].astype(np.int64)
        fitting = (lengths == fixed.itemsize + ends[:, -1]) & (ends[:, :-1] <= ends[:, 1:]).all(axis=1)
    if schema.layout.has_bools:
        fitting = fitting & (fixed[DType.BOOL.value] <= 1).all(axis=1)
    found: Flags | bool = fitting
    return found


@dataclass(frozen=True)
class RowStack:
    """Rows filled up with zeros to one width; a row that is not there is all zeros."""

    data: bytes
    width: int
    lengths: Ints
    """Bytes of each row, 0 where there is none. Shape (n,)."""
    sound: Flags
    """Which rows have the checksum and the length that they name, the schema that was expected, and no impossible
    boolean. Shape (n,)."""
    event_us: Ints
    """Shape (n,); any number where a row is not sound."""

    def at(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The value that begins at each byte."""
        return np.ndarray((len(self.data) - dtype.itemsize + 1,), dtype, buffer=self.data, strides=(1,))

    def created_us(self, schema: Schema) -> Ints:
        """Created timestamps of rows of a schema that has them; any number for others. Shape (n,)."""
        found: Ints = _fixed(self.data, self.width, schema, slice(0, len(self.lengths)))["created"]
        return found

    def fixed(self, schema: Schema, part: slice) -> NDArray[Any]:
        """The fixed parts of some rows as records. Shape (rows of the part,)."""
        return _fixed(self.data, self.width, schema, part)


class Expected:
    """The schemas that the rows of some views are expected to have, laid out for checking them together."""

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._schemas = schemas
        self._places = np.arange(len(schemas))
        self._widths = np.array([schema.layout.fixed.itemsize for schema in schemas], np.int64)
        self._narrowest = int(self._widths.max(initial=HEAD.itemsize))
        self._fingerprints = np.array([schema.fingerprint for schema in schemas], np.uint64)
        self._irregular = [i for i, each in enumerate(schemas) if each.layout.variable or each.layout.has_bools]
        """Those whose rows are more than a width and numbers."""

    def stack(self, rows: Sequence[bytes | None], parts: Sequence[slice]) -> RowStack | None:
        """The rows; those of part i are expected to be of schema i. Parts cover the rows, in order.

        None where one long row would fill up many short ones.
        """
        there: Sequence[bytes] = [row or b"" for row in rows] if None in rows else rows  # type: ignore[assignment]
        sizes = list(map(len, there))
        longest = max(self._narrowest, *sizes)
        if is_wasteful(longest, len(sizes), sum(sizes) + sizes.count(0) * self._narrowest):
            return None
        width = width_for(longest)
        data = filled_up(there, sizes, width)
        owner = np.repeat(self._places, [part.stop - part.start for part in parts])
        lengths = np.array(sizes)
        sound = lengths == self._widths[owner]
        for i in self._irregular:
            sound[parts[i]] = fits(self._schemas[i], _fixed(data, width, self._schemas[i], parts[i]), lengths[parts[i]])
        words = np.frombuffer(data, "<u4").reshape(len(there), width // 4)
        head: NDArray[Any] = np.ndarray((len(there),), HEAD, buffer=data, strides=(width,))
        sound &= checksum.of_matrix(words[:, 1:], lengths - SUMMED_FROM) == words[:, 0]
        sound &= head["fingerprint"] == self._fingerprints[owner]
        return RowStack(data, width, lengths, sound, head["event"])


def _fixed(data: bytes, width: int, schema: Schema, part: slice) -> NDArray[Any]:
    dtype, start = schema.layout.fixed, part.start * width
    return np.ndarray((part.stop - part.start,), dtype, buffer=data, offset=start, strides=(width,))
