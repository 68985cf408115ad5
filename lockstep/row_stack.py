"""The packed rows of several views, one below the other, so that they are checked and read together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lockstep import checksum
from lockstep.ragged import Ints
from lockstep.schema import DType, Schema

__all__ = ["Expected", "RowStack"]

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


class Expected:
    """The schemas that the rows of some views are expected to have, laid out for checking them together."""

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._schemas = schemas
        self._places = np.arange(len(schemas))
        self._widths = np.array([schema.layout.fixed.itemsize for schema in schemas], np.int64)
        self._narrowest = int(self._widths.max(initial=_HEAD.itemsize))
        self._fingerprints = np.array([schema.fingerprint for schema in schemas], np.uint64)
        terms = [checksum.length_term(int(width) - _SUMMED_FROM) for width in self._widths]
        self._terms = np.array(terms, np.uint64)
        self._variable = [i for i, schema in enumerate(schemas) if schema.layout.variable]
        self._with_bools = [i for i, schema in enumerate(schemas) if schema.layout.has_bools]

    def stack(self, rows: Sequence[bytes | None], parts: Sequence[slice]) -> RowStack | None:
        """The rows; those of part i are expected to be of schema i. Parts cover the rows, in order.

        None where one long row would fill up many short ones.
        """
        there: Sequence[bytes] = [row or b"" for row in rows] if None in rows else rows  # type: ignore[assignment]
        sizes = list(map(len, there))
        width = -(-max(self._narrowest, *sizes) // 4) * 4
        if width * len(there) > 4 * sum(sizes) + 65536:
            return None
        if sizes.count(width) < len(sizes):
            there = [row.ljust(width, b"\0") for row in there]
        data = b"".join(there)
        owner = np.repeat(self._places, [part.stop - part.start for part in parts])
        lengths, ends, terms = np.array(sizes), self._widths[owner], self._terms[owner]
        sound = np.ones(len(there), np.bool_)
        for i in self._variable:
            fixed = _fixed(data, width, self._schemas[i], parts[i])
            sound[parts[i]] = _move_ends(fixed, ends[parts[i]], terms[parts[i]])
        for i in self._with_bools:
            fixed = _fixed(data, width, self._schemas[i], parts[i])
            sound[parts[i]] &= (fixed[DType.BOOL.value] <= 1).all(axis=1)
        words = np.frombuffer(data, "<u4").reshape(len(there), width // 4)
        head: NDArray[Any] = np.ndarray((len(there),), _HEAD, buffer=data, strides=(width,))
        sums = checksum.weighted(words[:, 1:])
        sums += terms
        sums >>= _UPPER_HALF
        sound &= sums == words[:, 0]
        sound &= head["fingerprint"] == self._fingerprints[owner]
        sound &= lengths == ends
        return RowStack(data, width, lengths, sound, head["event"])


_UPPER_HALF: Final = np.uint64(32)
_PER_BYTE: Final = np.uint64((checksum.length_term(1) - checksum.length_term(0)) % 2**64)


def _fixed(data: bytes, width: int, schema: Schema, part: slice) -> NDArray[Any]:
    dtype, start = schema.layout.fixed, part.start * width
    return np.ndarray((part.stop - part.start,), dtype, buffer=data, offset=start, strides=(width,))


def _move_ends(fixed: NDArray[Any], ends: Ints, terms: NDArray[np.uint64]) -> NDArray[np.bool_] | bool:
    """Move the ends of rows to where their payloads end; which rows have payloads in order."""
    payloads = fixed["ends"].astype(np.int64)
    ends += payloads[:, -1]
    terms += payloads[:, -1].astype(np.uint64) * _PER_BYTE
    return True if payloads.shape[1] == 1 else np.asarray((payloads[:, :-1] <= payloads[:, 1:]).all(axis=1))
