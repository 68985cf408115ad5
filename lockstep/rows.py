"""Packed rows: one byte string holds the features of one key, from Arrow to bytes and from bytes to columns.

    checksum   uint32   over all that follows (lockstep.checksum)
    format     uint8    1, or 2 where the rows of the schema have a created timestamp
    schema     uint64   fingerprint of the format, the fields and whose they are (lockstep.schema)
    event      int64    event timestamp, µs since 1970-01-01 UTC
    created    int64    created timestamp, µs; only in format 2, where −2⁶³ says that this row has none
    nulls      bytes    one bit a field, set where it is NULL
    scalars             int64, float64, timestamp, int32, float32, bool; of each type the fields in the schema's order
    ends       uint32   for each field with a payload, where its payload ends, counted from the end of this part
    filler              zeros up to a multiple of 4 bytes
    payloads            strings, bytes and lists (lockstep.payload)

All numbers are little-endian. Nothing here knows Redis or Feast.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep import arrays, checksum, payload
from lockstep.errors import BadColumn, SchemaRefused, UnknownColumn
from lockstep.ragged import Ints, at
from lockstep.schema import FORMAT_CREATED, NO_CREATED, DType, Field, Schema
from lockstep.unpacking import Unpacked, unpack

__all__ = ["Unpacked", "cast", "pack", "pack_columns", "times", "unpack"]

_SUMMED_FROM: Final = 4
_FORMAT_AT: Final = 4
_EVENT_AT: Final = Schema((), created=True).layout.fixed.fields["event"][1]  # type: ignore[index] # a record has fields
_CREATED_AT: Final = Schema((), created=True).layout.fixed.fields["created"][1]  # type: ignore[index]
_TIME: Final = np.dtype("<i8")
_FILLERS: Final = arrays.of_texts([b"", b"\0\0\0", b"\0\0", b"\0"])
"""What brings a body to whole words, by its length modulo 4."""


def cast(column: pa.ChunkedArray | pa.Array, field: Field) -> pa.Array:
    """A column as its declared type; a naive time is UTC, a part of a microsecond is dropped.

    Raises BadColumn where a value does not fit, e.g. 3.5 or 2³¹ in an int32.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    inner = field.dtype.element or field.dtype
    try:
        return whole.cast(field.dtype.arrow, safe=inner is not DType.TIMESTAMP)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadColumn(field.name, f"{whole.type} does not fit {field.dtype.value}: {error}") from error


def pack(table: pa.Table | pa.RecordBatch, schema: Schema, *, event: str, created: str | None = None) -> pa.BinaryArray:
    """One packed row for each row of a table that has a column for each field, for the event timestamp and, where the
    schema has created timestamps, for those.

    Columns are cast to the declared types. Raises UnknownColumn, and BadColumn where a value does not fit or an event
    timestamp is NULL. One call takes what Arrow holds in one array: 2 GiB.
    """
    if schema.created != (created is not None):
        raise SchemaRefused(f"created timestamps: the schema says {schema.created}, the table brings {created!r}.")
    columns = [cast(_column(table, field.name), field) for field in schema.fields]
    payloads = [payload.encode(columns[i], schema.fields[i].dtype) for i in schema.layout.variable]
    fixed = _fixed_part(schema, columns, payloads, _event_us(table, event), _created_us(table, created))
    if not payloads and fixed.shape[1] % 4 == 0:
        return _sealed_matrix(fixed)
    return _sealed(payload.join(arrays.of_matrix(fixed[:, _SUMMED_FROM:]), *payloads))


def pack_columns(
    columns: Mapping[str, pa.Array], event: pa.Array, created: pa.Array | None, schema: Schema
) -> pa.BinaryArray:
    """The same of the fields by name and of times that are no column beside them; `created` None: NULL in every row.

    What a schema without created timestamps is given as `created` is left out.
    """
    times = {_EVENT: event}
    if schema.created:
        times[_CREATED] = pa.nulls(len(event), DType.TIMESTAMP.arrow) if created is None else created
    return pack(pa.table({**columns, **times}), schema, event=_EVENT, created=_CREATED if schema.created else None)


_EVENT, _CREATED = "\0event", "\0created"
"""No field has such a name."""


def _column(table: pa.Table | pa.RecordBatch, name: str) -> pa.ChunkedArray | pa.Array:
    if name not in table.schema.names:
        raise UnknownColumn(name, table.schema.names)
    return table.column(name)


def _microseconds(table: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    return cast(_column(table, name), Field(name, DType.TIMESTAMP)).cast(pa.int64())


def _event_us(table: pa.Table | pa.RecordBatch, name: str) -> Ints:
    found = _microseconds(table, name)
    if found.null_count:
        raise BadColumn(
            name, "a row without an event timestamp cannot be stored", row=found.is_null().index(True).as_py()
        )
    return arrays.fixed_of(found, _TIME)


def _created_us(table: pa.Table | pa.RecordBatch, name: str | None) -> Ints | None:
    if name is None:
        return None
    found = _microseconds(table, name)
    return np.where(arrays.null_of(found), NO_CREATED, arrays.fixed_of(found, _TIME))


def _fixed_part(
    schema: Schema, columns: list[pa.Array], payloads: list[pa.BinaryArray], event_us: Ints, created_us: Ints | None
) -> NDArray[np.uint8]:
    """The fixed part of every row, its checksum still 0. Shape (n, width)."""
    layout = schema.layout
    fixed = np.zeros(len(event_us), layout.fixed)
    fixed["format"], fixed["fingerprint"], fixed["event"] = schema.format, schema.fingerprint, event_us
    if created_us is not None:
        fixed["created"] = created_us
    fixed["nulls"] = _bitmap(columns, len(event_us))
    for block in layout.blocks:
        for place, i in enumerate(block.fields):
            fixed[block.dtype.value][:, place] = payload.scalars(columns[i], block.dtype)
    if payloads:
        fixed["ends"] = np.cumsum([arrays.lengths_of(part) for part in payloads], axis=0).T
    return fixed.view(np.uint8).reshape(len(event_us), fixed.dtype.itemsize)


def _bitmap(columns: list[pa.Array], count: int) -> NDArray[np.uint8]:
    nulls = np.zeros((count, len(columns)), bool)
    for i, column in enumerate(columns):
        if column.null_count:
            nulls[:, i] = arrays.null_of(column)
    return np.packbits(nulls, axis=1, bitorder="little")


def _sealed_matrix(fixed: NDArray[np.uint8]) -> pa.BinaryArray:
    """Rows that all have one length of whole words: their checksums are written into their place."""
    words = np.ascontiguousarray(fixed[:, _SUMMED_FROM:]).view("<u4")
    sums = checksum.of_matrix(words, 4 * words.shape[1])
    fixed[:, :_SUMMED_FROM] = sums.astype("<u4").view(np.uint8).reshape(-1, _SUMMED_FROM)
    return arrays.of_matrix(fixed)


def _sealed(bodies: pa.BinaryArray) -> pa.BinaryArray:
    sums = _checksums(bodies).astype("<u4").view(np.uint8).reshape(-1, 4)
    return payload.join(arrays.of_matrix(sums), bodies)


def _checksums(bodies: pa.BinaryArray) -> checksum.Words:
    lengths = arrays.lengths_of(bodies)
    fillers = _FILLERS.take(arrays.of_fixed(lengths % 4, None, pa.int64()))
    data, ends = arrays.bytes_of(payload.join(bodies, fillers))
    words, counts = data[: ends[-1]].view("<u4"), np.diff(ends) // 4
    if len(counts) and (counts == counts[0]).all():
        return checksum.of_matrix(words.reshape(len(counts), -1), lengths)
    return checksum.of_runs(words, counts, lengths)


def times(rows: pa.BinaryArray) -> tuple[Ints, Ints]:
    """Event and created timestamps of packed rows that `pack` made, µs; NO_CREATED where a row has none. Both of shape
    (n,).
    """
    data, ends = arrays.bytes_of(rows)
    starts, created = ends[:-1], np.full(len(rows), NO_CREATED)
    dated = data[starts + _FORMAT_AT] == FORMAT_CREATED
    created[dated] = at(data, starts[dated] + _CREATED_AT, _TIME)
    return at(data, starts + _EVENT_AT, _TIME), created
