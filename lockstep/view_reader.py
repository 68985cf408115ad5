"""The packed rows of one view as a plan wants them, compiled once for the records that the store holds.

Two ways lead to the same values. `fast` takes what nearly every row is: sound, of the newest schema, without lists.
`read` is `rows.unpack`, which knows every case.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from lockstep.errors import DefinitionDiffers
from lockstep.keys import KeySpace
from lockstep.plan import Array, Column, Stored, View
from lockstep.plan import DType as Served
from lockstep.ragged import Ints
from lockstep.resolve import ViewRows
from lockstep.row_stack import RowStack
from lockstep.rows import Unpacked, unpack
from lockstep.schema import DType, Field, Schema
from lockstep.status import NOT_FOUND, NULL, PRESENT, Status
from lockstep.view_record import ViewRecord

__all__ = ["ViewReader"]

_NUMBERS: Final = frozenset({DType.BOOL, DType.INT32, DType.INT64, DType.FLOAT32, DType.FLOAT64})
_TAKEN: Final = {
    Served.FLOAT32: _NUMBERS,
    Served.FLOAT64: _NUMBERS,
    Served.INT64: frozenset({DType.BOOL, DType.INT32, DType.INT64}),
    Served.STRING: frozenset({DType.STRING}),
    Served.TIMESTAMP: frozenset({DType.TIMESTAMP}),
}
"""The stored types that a plan's column takes: a number that was trained on as another number is the same number."""
_FLOATS: Final = frozenset({DType.FLOAT32, DType.FLOAT64})


class _Numbers(NamedTuple):
    """Fields of one stored type that the plan takes as one type."""

    stored: DType
    places: NDArray[np.intp]
    """Their places in the block of that type."""
    positions: list[int]
    """Their positions among the wanted fields."""
    served: np.dtype[Any]


class _Text(NamedTuple):
    """A field of strings."""

    position: int
    place: int
    """Its place among the fields with a payload."""
    bit: int


class ViewReader:
    """Reads one view. Raises DefinitionDiffers where no record has the meaning that the plan was trained on."""

    def __init__(self, view: View, reads: Sequence[tuple[Column, Stored]], records: Sequence[ViewRecord]) -> None:
        """`records`: at least one, the newest first."""
        readable = [record for record in records if record.definition == view.definition]
        if not readable:
            raise DefinitionDiffers(view.name, [column.name for column, _ in reads])
        newest = readable[0]
        self.name = view.name
        self.space: KeySpace = newest.key_space
        columns = {key.key: key.column for key in view.join_keys}
        self.key_columns = [columns[field.name] for field in self.space.in_order]
        """The columns of the request that carry the join keys, in the order of the key's bytes."""
        self.schema = newest.schema
        """The schema that rows are expected to have."""
        self._schemas = {record.schema.fingerprint: record.schema for record in readable}
        self._served = {source.field: column.dtype for column, source in reads}
        stored = {name: _stored(name, served, readable) for name, served in self._served.items()}
        self._dead = {name: found for name, found in stored.items() if isinstance(found, Status)}
        self._wanted = Schema(tuple(found for found in stored.values() if isinstance(found, Field)))
        self._compile()

    def _compile(self) -> None:
        """Where the wanted fields lie in a row of the newest schema."""
        layout, names = self.schema.layout, list(self._served)
        places = {field: place for place, field in enumerate(self.schema.fields)}
        here = [field for field in self._wanted.fields if field in places]
        self._bits = np.array([places[field] for field in here], np.intp)
        self._positions = [names.index(field.name) for field in here]
        self._absent = {
            position: self._state_of_absent(name)
            for position, name in enumerate(names)
            if position not in self._positions
        }
        self._numbers = [
            _numbers(self.schema, names, stored, served, [field for field in here if field.dtype is stored])
            for stored, served in dict.fromkeys((field.dtype, self._served[field.name]) for field in here)
            if stored.numpy is not None
        ]
        self._texts = [
            _Text(names.index(field.name), layout.variable.index(places[field]), places[field])
            for field in here
            if field.dtype is DType.STRING
        ]
        self._is_plain = all(self.schema.fields[i].dtype.element is None for i in layout.variable)

    def _state_of_absent(self, name: str) -> Status:
        """What stands for a field that rows of the newest schema do not have as the plan takes it."""
        return self._dead.get(name, Status.UNREADABLE if name in self.schema.names else Status.NOT_FOUND)

    # --- the fast way ---

    def fast(self, rows: RowStack, part: slice, inverse: Ints | None) -> ViewRows | None:
        """The rows of a part, row i of the request being `inverse[i]`; None where one is not what nearly all are."""
        fixed, lengths = rows.fixed(self.schema.layout.fixed, part), rows.lengths[part]
        sound = rows.sound[part] & self._fits(fixed, lengths)
        all_there = bool(sound.all())
        if not all_there and bool((lengths[~sound] > 0).any()):
            return None
        states = self._states(fixed)
        values: list[Array | None] = [None] * len(self._served)
        for numbers in self._numbers:
            _take_numbers(numbers, fixed, states, inverse, values)
        for text in self._texts:
            if not _take_text(text, rows, part, fixed, states, inverse, values):
                return None
        event_us, found = rows.event_us[part], np.where(sound, PRESENT, NOT_FOUND)
        created = fixed["created"] if self.schema.created else None
        if inverse is not None:
            event_us, found, states = event_us[inverse], found[inverse], states[:, inverse]
            created = created if created is None else created[inverse]
        return ViewRows(found, event_us, self._by_name(values, len(found)), states, created)

    def _fits(self, fixed: NDArray[Any], lengths: Ints) -> NDArray[np.bool_]:
        """Which rows are as long as they say and hold no impossible boolean; none of a schema with lists."""
        layout = self.schema.layout
        fits: NDArray[np.bool_]
        if not self._is_plain:
            return np.zeros(len(fixed), np.bool_)
        if layout.variable:
            ends = fixed["ends"].astype(np.int64)
            fits = (lengths == fixed.itemsize + ends[:, -1]) & (ends[:, :-1] <= ends[:, 1:]).all(axis=1)
        else:
            fits = lengths == fixed.itemsize
        return fits & (fixed[DType.BOOL.value] <= 1).all(axis=1) if layout.has_bools else fits

    def _states(self, fixed: NDArray[Any]) -> NDArray[np.int8]:
        """A set bit of the null bitmap is Status.NULL, a clear one Status.PRESENT. Shape (fields, rows)."""
        bits = np.unpackbits(fixed["nulls"], axis=1, bitorder="little").view(np.int8)[:, self._bits].T
        if not self._absent:
            return bits
        states = np.empty((len(self._served), len(fixed)), np.int8)
        states[self._positions] = bits
        for position, status in self._absent.items():
            states[position] = status
        return states

    def _by_name(self, values: Sequence[Array | None], rows: int) -> dict[str, Array]:
        """The values by field; zeros for the fields that these rows do not have."""
        return {
            name: np.zeros(rows, served.numpy) if found is None else found
            for (name, served), found in zip(self._served.items(), values, strict=True)
        }

    # --- the way that knows every case ---

    def read(self, rows: Sequence[bytes | None], inverse: Ints | None) -> ViewRows:
        """The same for rows of any kind: those of older schemas, damaged ones, those of nobody knows whom."""
        found = unpack(rows, self._schemas, self._wanted)
        places = np.arange(len(rows)) if inverse is None else inverse
        alive = iter(found.field_status)
        states = [
            np.full(len(rows), self._dead[name], np.int8) if name in self._dead else next(alive).astype(np.int8)
            for name in self._served
        ]
        values = {
            name: np.zeros(len(places), served.numpy) if name in self._dead else _served(found, name, served)[places]
            for name, served in self._served.items()
        }
        whole = np.array(states, np.int8).reshape(len(states), len(rows))
        _null_where_nan(whole, found, list(self._served))
        return ViewRows(
            found.status.astype(np.int8)[places],
            found.event_us[places],
            values,
            whole[:, places],
            found.created_us[places],
        )


def _stored(name: str, served: Served, records: Sequence[ViewRecord]) -> Field | Status:
    """The field as the newest record has it that the plan can take; else what stands for it in every row."""
    fields = [field for record in records for field in record.fields if field.name == name]
    taken = [field for field in fields if field.dtype in _TAKEN[served]]
    return taken[0] if taken else Status.UNREADABLE if fields else Status.NOT_FOUND


def _numbers(schema: Schema, names: list[str], stored: DType, served: Served, fields: Sequence[Field]) -> _Numbers:
    block = schema.layout.block(stored).fields
    places = [block.index(schema.fields.index(field)) for field in fields]
    positions = [names.index(field.name) for field in fields]
    return _Numbers(stored, np.array(places, np.intp), positions, served.numpy)


def _take_numbers(
    wanted: _Numbers, fixed: NDArray[Any], states: NDArray[np.int8], inverse: Ints | None, values: list[Array | None]
) -> None:
    numbers = fixed[wanted.stored.value].T[wanted.places]
    if wanted.stored in _FLOATS and (nan := np.isnan(numbers)).any():
        states[wanted.positions] = np.where(nan, NULL, states[wanted.positions])
    if inverse is not None:
        numbers = numbers[:, inverse]
    for position, row in zip(wanted.positions, numbers.astype(wanted.served), strict=True):
        values[position] = row


def _take_text(
    wanted: _Text,
    rows: RowStack,
    part: slice,
    fixed: NDArray[Any],
    states: NDArray[np.int8],
    inverse: Ints | None,
    values: list[Array | None],
) -> bool:
    """False where the bytes are not UTF-8, or a NULL has some."""
    ends = fixed["ends"].astype(np.int64)
    start = np.arange(part.start, part.stop) * rows.width + fixed.itemsize
    first = start + (ends[:, wanted.place - 1] if wanted.place else 0)
    last = start + ends[:, wanted.place]
    if ((states[wanted.position] == NULL) & (first != last)).any():
        return False
    data = rows.data
    try:
        texts = [data[a:b].decode() for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    except UnicodeDecodeError:
        return False
    found = np.array(texts, object)
    values[wanted.position] = found if inverse is None else found[inverse]
    return True


def _served(found: Unpacked, name: str, served: Served) -> Array:
    """The values of one field in the plan's dtype; any value where there is none."""
    values: Array
    if served is Served.STRING:
        values = pc.fill_null(found.arrow(name), "").to_numpy(zero_copy_only=False).astype(object)
        return values
    values = found.values(name).astype(served.numpy)
    return values


def _null_where_nan(states: NDArray[np.int8], found: Unpacked, names: list[str]) -> None:
    for field in found.fields:
        if field.dtype in _FLOATS:
            row = states[names.index(field.name)]
            row[(row == PRESENT) & np.isnan(found.values(field.name))] = NULL
