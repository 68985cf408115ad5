"""Packed rows to columns; the layout stands in lockstep.rows, which is the door to this module."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep import arrays, checksum, payload
from lockstep.errors import UnknownColumn
from lockstep.ragged import Ints
from lockstep.row_stack import HEAD, SUMMED_FROM, Flags, filled_up, fits, is_wasteful, width_for
from lockstep.schema import NO_CREATED, DType, Field, Schema
from lockstep.status import Status

__all__ = ["Unpacked", "unpack"]

_MARGIN: Final = 4


@dataclass(frozen=True)
class Unpacked:
    """What n packed rows hold, as columns. Whether a row may be used at a time t is another question: see
    lockstep.resolve.row_status.

    Arrays may be read-only views of the bytes that were read.
    """

    fields: tuple[Field, ...]
    status: NDArray[np.uint8]
    """PRESENT, NOT_FOUND or UNREADABLE for each row. Shape (n,)."""
    event_us: Ints
    """Event timestamps, 0 where the row is not PRESENT. Shape (n,)."""
    created_us: Ints
    """Created timestamps, NO_CREATED where there is none. Shape (n,)."""
    field_status: NDArray[np.uint8]
    """For each field and row PRESENT, NULL, NOT_FOUND (also where the row is of a schema without this field) or
    UNREADABLE (also where that schema has it with a type that does not widen to this one). Shape (fields, n)."""
    scalars: Mapping[DType, NDArray[Any]]
    """The values of all fields of one fixed-width type, a bool as 0 and 1. Shape (fields of the type, n)."""
    _arrays: Mapping[int, pa.Array]

    def values(self, name: str) -> NDArray[Any]:
        """The values of a fixed-width field, a bool as 0 and 1; to be used only where the field's status is PRESENT.
        Shape (n,).
        """
        position = self._position(name)
        dtype = self.fields[position].dtype
        place = sum(field.dtype is dtype for field in self.fields[:position])
        found: NDArray[Any] = self.scalars[dtype][place]
        return found

    def arrow(self, name: str) -> pa.Array:
        """The values of any field as an Arrow array of n, NULL where its status is not PRESENT."""
        position = self._position(name)
        if position in self._arrays:
            return self._arrays[position]
        null = self.field_status[position] != Status.PRESENT
        return arrays.of_fixed(self.values(name), null, self.fields[position].dtype.arrow)

    def _position(self, name: str) -> int:
        for position, field in enumerate(self.fields):
            if field.name == name:
                return position
        raise UnknownColumn(name, [field.name for field in self.fields])


def unpack(rows: Sequence[bytes | None], schemas: Mapping[int, Schema], wanted: Schema) -> Unpacked:
    """The wanted fields of rows as they came from the store, None where it had none.

    `schemas` holds every schema that rows may have, by fingerprint: a row of an older schema gives the fields that it
    has. A field is matched by name; int32 is read as int64 and float32 as float64, any other change of type is
    UNREADABLE. Bytes that are no packed row of a known schema are UNREADABLE, whatever they are: nothing is raised.
    """
    present, found = _present(rows)
    parts = [
        part
        for stack in _stacks(found, present)
        for schema, members in _kinds(stack, schemas)
        if (part := _read(stack, schema, members, wanted, len(rows))) is not None
    ]
    if len(parts) == 1 and parts[0].places is None and parts[0].route.complete:
        return _adopted(parts[0], wanted)
    return _filled(parts, present, wanted, len(rows))


def _present(rows: Sequence[bytes | None]) -> tuple[Sequence[int], Sequence[bytes]]:
    """The rows that are there, and their positions."""
    if None not in rows:
        return range(len(rows)), rows  # type: ignore[return-value] # no None among them
    places = [i for i, row in enumerate(rows) if row is not None]
    return places, [rows[i] for i in places]  # type: ignore[misc] # nor here


@dataclass(frozen=True)
class _Stack:
    """Rows one below the other, each filled up with zeros to one width, a multiple of 4."""

    data: bytes
    width: int
    lengths: Ints | int
    """Of each row, or of every row."""
    places: Sequence[int]
    """Where each row stands in what was asked."""

    def view(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The first bytes of every row as a record, no wider than the stack. Shape (n,)."""
        return np.ndarray((len(self.places),), dtype, buffer=self.data, strides=(self.width,))

    def intact(self) -> Flags:
        """Which rows are long enough for a head and have the checksum that they name. Shape (n,)."""
        words = np.ndarray((len(self.places), self.width // 4), "<u4", buffer=self.data)
        sums = checksum.of_matrix(words[:, 1:], self.lengths - SUMMED_FROM)
        intact: Flags = sums == words[:, 0]
        return intact if self._all_have_heads else intact & (self.lengths >= HEAD.itemsize)

    @property
    def _all_have_heads(self) -> bool:
        return isinstance(self.lengths, int) and self.lengths >= HEAD.itemsize


def _stacks(rows: Sequence[bytes], places: Sequence[int]) -> Iterator[_Stack]:
    """The rows in one stack, or in a few where one long row would fill up many short ones."""
    if not rows:
        return
    sizes = list(map(len, rows))
    if not is_wasteful(max(sizes), len(sizes), sum(sizes)):
        yield _stack(rows, sizes, places)
        return
    classes: dict[int, list[int]] = {}
    for i, size in enumerate(sizes):
        classes.setdefault(size.bit_length(), []).append(i)
    for part in classes.values():
        yield _stack([rows[i] for i in part], [sizes[i] for i in part], [places[i] for i in part])


def _stack(rows: Sequence[bytes], sizes: list[int], places: Sequence[int]) -> _Stack:
    longest = max(sizes)
    width = width_for(longest)
    lengths = longest if sizes.count(longest) == len(sizes) else np.array(sizes)
    return _Stack(filled_up(rows, sizes, width), width, lengths, places)


def _kinds(stack: _Stack, schemas: Mapping[int, Schema]) -> Iterator[tuple[Schema, Ints | None]]:
    """The intact rows of each known schema and their positions in the stack, None for all of them."""
    rest = stack.intact()
    fingerprints = stack.view(HEAD)["fingerprint"]
    first = int(fingerprints[0])
    if (rest & (fingerprints == first)).all():
        if first in schemas:
            yield schemas[first], None
        return
    for fingerprint in sorted(set(fingerprints[rest].tolist())):  # np.unique would import numpy.ma: 20 ms of a scorer
        if fingerprint in schemas:
            yield schemas[fingerprint], np.flatnonzero(rest & (fingerprints == fingerprint))


_WIDENS: Final = {(DType.INT32, DType.INT64), (DType.FLOAT32, DType.FLOAT64)}


@dataclass(frozen=True)
class _Route:
    """Which values of a stored schema answer which wanted fields."""

    blocks: tuple[tuple[DType, Any, DType, Any], ...]
    """Stored block and places in it, wanted block and places in it."""
    payloads: tuple[tuple[int, int], ...]
    """Place in the stored schema's variable fields, position in the wanted fields."""
    stored: Any
    """Positions in the stored schema of the fields that are read."""
    wanted: Any
    """Positions of the same in the wanted fields."""
    count: int
    """How many fields are read."""
    changed: tuple[int, ...]
    """Wanted fields that are stored with another type."""
    complete: bool
    """Whether every wanted field is read, in order, and every wanted block from one stored block."""


@lru_cache(maxsize=4096)
def _route(schema: Schema, wanted: Schema) -> _Route:
    places = {name: i for i, name in enumerate(schema.names)}
    types = {
        (places[field.name], j): (schema.fields[places[field.name]].dtype, field.dtype)
        for j, field in enumerate(wanted.fields)
        if field.name in places
    }
    good = [pair for pair, (source, target) in types.items() if source is target or (source, target) in _WIDENS]
    variable = schema.layout.variable
    blocks = _blocks(schema, wanted, [(*pair, *types[pair]) for pair in good])
    return _Route(
        blocks=blocks,
        payloads=tuple((variable.index(i), j) for i, j in good if i in variable),
        stored=_index([i for i, _ in good], len(schema.fields)),
        wanted=_index([j for _, j in good], len(wanted.fields)),
        count=len(good),
        changed=tuple(j for i, j in types if (i, j) not in good),
        complete=len(good) == len(wanted.fields) and all(isinstance(places, slice) for *_, places in blocks),
    )


def _blocks(
    schema: Schema, wanted: Schema, moves: list[tuple[int, int, DType, DType]]
) -> tuple[tuple[DType, Any, DType, Any], ...]:
    kinds = dict.fromkeys((source, target) for _, _, source, target in moves if source.numpy is not None)
    found = []
    for source, target in kinds:
        pairs = [(i, j) for i, j, *types in moves if types == [source, target]]
        stored, asked = schema.layout.block(source), wanted.layout.block(target)
        from_ = _index([stored.fields.index(i) for i, _ in pairs], len(stored.fields))
        found.append((source, from_, target, _index([asked.fields.index(j) for _, j in pairs], len(asked.fields))))
    return tuple(found)


def _index(places: list[int], count: int) -> Any:
    """An index that numpy follows without a copy where it can."""
    return slice(None) if places == list(range(count)) else np.array(places, np.intp)


@dataclass(frozen=True)
class _Part:
    """Rows of one kind, read and checked."""

    route: _Route
    fixed: NDArray[Any]
    places: Ints | None
    """Where each row stands in what was asked; None where the rows are all that was asked, in order."""
    arrays: Mapping[int, pa.Array]
    """Values with a payload, by wanted position."""

    @property
    def nulls(self) -> NDArray[np.uint8]:
        """A set bit is Status.NULL, a clear one Status.PRESENT: the bitmap is the status. Shape (fields read, n)."""
        bits: NDArray[np.uint8] = np.unpackbits(self.fixed["nulls"], axis=1, bitorder="little").T
        return bits[: self.route.count] if isinstance(self.route.stored, slice) else bits[self.route.stored]

    @property
    def created(self) -> Ints:
        """Created timestamps. Shape (n,)."""
        if "created" in (self.fixed.dtype.names or ()):
            return np.asarray(self.fixed["created"])
        return np.full(len(self.fixed), NO_CREATED)


def _read(stack: _Stack, schema: Schema, members: Ints | None, wanted: Schema, count: int) -> _Part | None:
    """Rows of one kind, without those that are not what they say; None where none is left. `count` rows were asked."""
    if schema.layout.fixed.itemsize > stack.width:
        return None
    fixed = stack.view(schema.layout.fixed)
    members = _narrowed(members, fits(schema, fixed, stack.lengths))
    if members is not None and not len(members):
        return None
    route = _route(schema, wanted)
    read, good = _payloads(stack, schema, fixed, members, route)
    if good is not None:
        return _read(stack, schema, good, wanted, count)
    if members is None:
        return _Part(route, fixed, None if len(fixed) == count else np.array(stack.places), read)
    return _Part(route, fixed[members], np.array(stack.places)[members], read)


def _narrowed(members: Ints | None, sound: Flags | bool) -> Ints | None:
    """Those of the members that are sound."""
    if isinstance(sound, bool):
        return members if sound else np.empty(0, np.int64)
    if members is None:
        return None if sound.all() else np.flatnonzero(sound)
    return members[sound[members]]


def _payloads(
    stack: _Stack, schema: Schema, fixed: NDArray[Any], members: Ints | None, route: _Route
) -> tuple[dict[int, pa.Array], Ints | None]:
    """The values with a payload, by wanted position; and, where a payload is not what it says, the members without
    that.
    """
    if not route.payloads:
        return {}, None
    data = np.frombuffer(stack.data + bytes(_MARGIN), np.uint8)
    rows = np.arange(len(fixed)) if members is None else members
    after = stack.width * rows + schema.layout.fixed.itemsize
    edges = np.column_stack([after, fixed["ends"][rows] + after[:, None]])
    read: dict[int, pa.Array] = {}
    wrong = np.zeros(len(rows), bool)
    for place, wanted in route.payloads:
        i = schema.layout.variable[place]
        null = (fixed["nulls"][rows, i // 8] >> (i % 8) & 1).astype(bool)
        pieces = payload.Pieces(data, edges[:, place], edges[:, place + 1] - edges[:, place], null)
        read[wanted], bad = payload.decode(pieces, schema.fields[i].dtype)
        wrong |= bad
    return read, rows[~wrong] if wrong.any() else None


def _adopted(part: _Part, wanted: Schema) -> Unpacked:
    """The columns of a part that is all that was asked: views, nothing is copied."""
    blocks = {target: part.fixed[source.value].T[stored] for source, stored, target, _ in part.route.blocks}
    status = np.zeros(len(part.fixed), np.uint8)
    return Unpacked(wanted.fields, status, part.fixed["event"], part.created, part.nulls, blocks, part.arrays)


def _filled(parts: list[_Part], present: Sequence[int], wanted: Schema, count: int) -> Unpacked:
    """The columns of parts that are one kind each, with gaps for rows that are missing or unreadable."""
    status = np.full(count, Status.NOT_FOUND, np.uint8)
    field_status = np.full((len(wanted.fields), count), Status.NOT_FOUND, np.uint8)
    status[present], field_status[:, present] = Status.UNREADABLE, Status.UNREADABLE
    event, created = np.zeros(count, np.int64), np.full(count, NO_CREATED)
    blocks = {block.dtype: np.zeros((len(block.fields), count), block.dtype.numpy) for block in wanted.layout.blocks}
    for part in parts:
        at = np.arange(count) if part.places is None else part.places
        status[at], event[at], created[at] = Status.PRESENT, part.fixed["event"], part.created
        _put_status(field_status, part, at)
        for source, stored, target, places in part.route.blocks:
            blocks[target][_both(places, at)] = part.fixed[source.value].T[stored]
    found = {i: _array(parts, i, wanted.fields[i].dtype, count) for i in wanted.layout.variable}
    return Unpacked(wanted.fields, status, event, created, field_status, blocks, found)


def _put_status(field_status: NDArray[np.uint8], part: _Part, at: Ints) -> None:
    field_status[:, at] = Status.NOT_FOUND
    field_status[_both(part.route.wanted, at)] = part.nulls
    for position in part.route.changed:
        field_status[position, at] = Status.UNREADABLE


def _both(rows: Any, columns: Ints) -> Any:
    """An index of the crossings of some rows, or of all, and some columns."""
    return (rows, columns) if isinstance(rows, slice) else np.ix_(rows, columns)


def _array(parts: list[_Part], position: int, dtype: DType, count: int) -> pa.Array:
    """The values of one field with a payload, NULL where no part has it."""
    places, values = np.full(count, -1), [pa.nulls(0, dtype.arrow)]
    filled = 0
    for part in parts:
        if position in part.arrays:
            at = np.arange(count) if part.places is None else part.places
            places[at] = np.arange(filled, filled + len(at))
            values.append(part.arrays[position])
            filled += len(at)
    return arrays.taken(pa.concat_arrays(values), places)
