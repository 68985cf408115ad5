"""The packed rows of one view as a plan wants them: which records explain them, and where each value lies."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep import arrays
from lockstep.errors import DefinitionDiffers
from lockstep.keys import KeySpace
from lockstep.plan import Array, Column, Stored, View
from lockstep.plan import DType as Served
from lockstep.ragged import Ints
from lockstep.resolve import ViewRows
from lockstep.rows import Unpacked, unpack
from lockstep.schema import DType, Field, Schema
from lockstep.status import NULL, PRESENT, Status
from lockstep.view_record import ViewRecord

__all__ = ["FLOATS", "Place", "ViewReader", "place_in"]

_NUMBERS: Final = frozenset({DType.BOOL, DType.INT32, DType.INT64, DType.FLOAT32, DType.FLOAT64})
_TAKEN: Final = {
    Served.FLOAT32: _NUMBERS,
    Served.FLOAT64: _NUMBERS,
    Served.INT64: frozenset({DType.BOOL, DType.INT32, DType.INT64}),
    Served.STRING: frozenset({DType.STRING}),
    Served.TIMESTAMP: frozenset({DType.TIMESTAMP}),
}
"""The stored types that a plan's column takes: a number that was trained on as another number is the same number."""
FLOATS: Final = frozenset({DType.FLOAT32, DType.FLOAT64})


class Place(NamedTuple):
    """Where a field lies in a row of the newest schema."""

    dtype: DType
    offset: int
    """First byte of its value; for a string its place among the fields with a payload."""
    null_byte: int
    null_bit: int


def place_in(schema: Schema, i: int) -> Place:
    """Where field i of a schema lies in its rows: a number, or a string."""
    dtype, layout = schema.fields[i].dtype, schema.layout
    fixed = layout.fixed.fields
    assert fixed is not None
    nulls = fixed["nulls"][1] + i // 8
    if dtype is DType.STRING:
        return Place(dtype, layout.variable.index(i), nulls, i % 8)
    assert dtype.numpy is not None
    offset = fixed[dtype.value][1] + layout.block(dtype).fields.index(i) * dtype.numpy.itemsize
    return Place(dtype, offset, nulls, i % 8)


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
        """The schema that nearly all rows have."""
        self._schemas = {record.schema.fingerprint: record.schema for record in readable}
        self.any_created = any(schema.created for schema in self._schemas.values())
        """Whether any of its rows may have a created timestamp."""
        self._served = {source.field: column.dtype for column, source in reads}
        stored = {name: _stored(name, served, readable) for name, served in self._served.items()}
        self._dead = {name: found for name, found in stored.items() if isinstance(found, Status)}
        self._wanted = Schema(tuple(found for found in stored.values() if isinstance(found, Field)))

    def place(self, name: str) -> Place | Status:
        """Where a field lies in a row of the newest schema; a Status where such rows do not have it as the plan takes
        it.
        """
        if name in self._dead:
            return self._dead[name]
        i = next(
            (i for i, field in enumerate(self.schema.fields) if field in self._wanted.fields and field.name == name),
            None,
        )
        if i is None:
            return Status.UNREADABLE if name in self.schema.names else Status.NOT_FOUND
        return place_in(self.schema, i)

    def read(self, rows: Sequence[bytes | None], inverse: Ints) -> ViewRows:
        """Rows of any kind, of older schemas, damaged, of nobody knows whom; row i of the request is `inverse[i]`."""
        found = unpack(rows, self._schemas, self._wanted)
        alive = iter(found.field_status)
        states = [
            np.full(len(rows), self._dead[name], np.int8) if name in self._dead else next(alive).astype(np.int8)
            for name in self._served
        ]
        values = {
            name: np.zeros(len(inverse), served.numpy) if name in self._dead else _served(found, name, served)[inverse]
            for name, served in self._served.items()
        }
        whole = np.array(states, np.int8).reshape(len(states), len(rows))
        _null_where_nan(whole, found, list(self._served))
        return ViewRows(
            found.status.astype(np.int8)[inverse],
            found.event_us[inverse],
            values,
            whole[:, inverse],
            found.created_us[inverse],
        )


def _stored(name: str, served: Served, records: Sequence[ViewRecord]) -> Field | Status:
    """The field as the newest record has it that the plan can take; else what stands for it in every row."""
    fields = [field for record in records for field in record.fields if field.name == name]
    taken = [field for field in fields if field.dtype in _TAKEN[served]]
    return taken[0] if taken else Status.UNREADABLE if fields else Status.NOT_FOUND


def _served(found: Unpacked, name: str, served: Served) -> Array:
    """The values of one field in the plan's dtype; any value where there is none."""
    if served is Served.STRING:
        return arrays.texts_of(found.arrow(name))
    values: Array = found.values(name).astype(served.numpy)
    return values


def _null_where_nan(states: NDArray[np.int8], found: Unpacked, names: list[str]) -> None:
    for field in found.fields:
        if field.dtype in FLOATS:
            row = states[names.index(field.name)]
            row[(row == PRESENT) & np.isnan(found.values(field.name))] = NULL
