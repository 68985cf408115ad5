"""A plan's columns out of a stack of packed rows: one numpy call for all fields of a type, of all views."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array, StoredColumns
from lockstep.plan import DType as Served
from lockstep.ragged import Ints
from lockstep.row_stack import RowStack
from lockstep.schema import DType, Schema
from lockstep.status import NULL, Status
from lockstep.view_reader import FLOATS, Place, ViewReader

__all__ = ["Gathers", "Placed", "has_lists", "placed"]


class Placed(NamedTuple):
    """A column of the plan and where it lies."""

    reader: int
    """Place of its view among those that are read."""
    at: Place | Status
    column: int
    """Place among all stored columns."""
    served: Served
    row: int
    """Place among the stored columns of that dtype."""


@dataclass(frozen=True)
class _Numbers:
    """Columns of one stored type, of all views, that the plan takes as one type."""

    stored: np.dtype[Any]
    served: Served
    readers: NDArray[np.intp]
    offsets: Ints
    """Shape (columns, 1)."""
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    is_float: bool


@dataclass(frozen=True)
class _Text:
    """A column of strings."""

    reader: int
    schema: Schema
    place: int
    """Among the fields with a payload."""
    row: int


class Gathers:
    """Where the columns lie in rows of the newest schemas, compiled."""

    def __init__(self, stored: StoredColumns, readers: Sequence[ViewReader]) -> None:
        self._stored = stored
        self._slow = {place for place, reader in enumerate(readers) if has_lists(reader.schema)}
        found = list(placed(stored, readers))
        self._constant = [(one.column, one.at) for one in found if isinstance(one.at, Status)]
        lying = [(one, one.at) for one in found if isinstance(one.at, Place)]
        self._columns = np.array([one.column for one, _ in lying], np.intp)
        bitmaps = list(dict.fromkeys((one.reader, at.null_byte) for one, at in lying))
        self._null_readers = np.array([reader for reader, _ in bitmaps], np.intp)
        self._null_bytes = np.array([byte for _, byte in bitmaps], np.int64).reshape(-1, 1)
        bits = [8 * bitmaps.index((one.reader, at.null_byte)) + at.null_bit for one, at in lying]
        self._null_bits = np.array(bits, np.intp)
        """For each column with a place its bit among those of all bitmap bytes that are read."""
        kinds = dict.fromkeys((at.dtype, one.served) for one, at in lying if at.dtype is not DType.STRING)
        self._numbers = [
            _numbers(
                stored_as, served, [each for each in lying if (each[1].dtype, each[0].served) == (stored_as, served)]
            )
            for stored_as, served in kinds
        ]
        self._texts = [
            _Text(one.reader, readers[one.reader].schema, at.offset, one.row)
            for one, at in lying
            if at.dtype is DType.STRING
        ]

    def run(
        self, rows: RowStack, places: Ints, parts: Sequence[slice]
    ) -> tuple[NDArray[np.int8], dict[Served, Array], set[int]]:
        """States and values as PlanRows has them, and the views that must be read in another way.

        `places` holds for each view that is read and each row of the request its place in the stack, `parts` the views'
        parts of it.
        """
        starts = places * rows.width
        states = self._states(rows, starts)
        values = {
            dtype: np.zeros((len(columns), places.shape[1]), dtype.numpy)
            for dtype, columns in self._stored.places.items()
        }
        for numbers in self._numbers:
            found = rows.at(numbers.stored)[starts[numbers.readers] + numbers.offsets]
            values[numbers.served][numbers.rows] = found
            if numbers.is_float and np.count_nonzero(nan := np.isnan(found)):
                states[numbers.columns] = np.where(nan, NULL, states[numbers.columns])
        slow = set(self._slow)
        for text in self._texts:
            part = parts[text.reader]
            texts = _texts(rows, text, part)
            if texts is None:
                slow.add(text.reader)
            else:
                values[Served.STRING][text.row] = texts[places[text.reader] - part.start]
        return states, values, slow

    def _states(self, rows: RowStack, starts: Ints) -> NDArray[np.int8]:
        """A set bit of a null bitmap is Status.NULL, a clear one Status.PRESENT. Shape (columns, rows)."""
        states: NDArray[np.int8] = np.zeros((len(self._stored.columns), starts.shape[1]), np.int8)
        nulls = rows.at(_BYTE)[starts[self._null_readers] + self._null_bytes]
        if np.count_nonzero(nulls):
            states[self._columns] = np.unpackbits(nulls, axis=0, bitorder="little")[self._null_bits]
        for column, status in self._constant:
            states[column] = status
        return states


_BYTE = np.dtype("u1")


def has_lists(schema: Schema) -> bool:
    """Their payloads are checked by `rows.unpack` alone."""
    return any(schema.fields[i].dtype.element is not None for i in schema.layout.variable)


def placed(stored: StoredColumns, readers: Sequence[ViewReader]) -> Iterator[Placed]:
    """All columns of the views that are read, in the plan's order."""
    for place, reader in enumerate(readers):
        for column, served, row, name in stored.of_view[reader.name]:
            yield Placed(place, reader.place(name), column, served, row)


def _numbers(stored: DType, served: Served, placed: Sequence[tuple[Placed, Place]]) -> _Numbers:
    assert stored.numpy is not None
    return _Numbers(
        stored.numpy,
        served,
        np.array([one.reader for one, _ in placed], np.intp),
        np.array([at.offset for _, at in placed], np.int64).reshape(-1, 1),
        np.array([one.row for one, _ in placed], np.intp),
        np.array([one.column for one, _ in placed], np.intp),
        is_float=stored in FLOATS,
    )


def _texts(rows: RowStack, text: _Text, part: slice) -> Array | None:
    """The strings of a view's rows; None where one is not UTF-8. Shape (rows of the part,)."""
    fixed = rows.fixed(text.schema, part)
    start = np.arange(part.start, part.stop) * rows.width + fixed.itemsize
    # What stands in rows that are not sound is anything: cut to the stack, they are read again or not at all.
    ends = np.minimum(fixed["ends"].astype(np.int64), rows.width - fixed.itemsize)
    first = start + ends[:, text.place - 1] if text.place else start
    last = start + ends[:, text.place]
    data = rows.data
    try:
        found = [data[a:b].decode() for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    except UnicodeDecodeError:
        return None
    return np.array([*found, None], object)[:-1]  # an array of objects, whatever they are
