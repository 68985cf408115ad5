"""One packed row of a known schema, without numpy: for a handful of rows that is faster than `rows.unpack`.

Only the common case is decoded here. Everything else (another schema, lists, damage of any kind) is answered by None,
and `rows.unpack` has the word.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from struct import Struct
from typing import Any, Final, NamedTuple

from lockstep import checksum
from lockstep.schema import NO_CREATED, DType, Schema
from lockstep.status import Status

__all__ = ["OneRow", "read_one"]

_CODES: Final = {
    DType.INT64: "q",
    DType.FLOAT64: "d",
    DType.TIMESTAMP: "q",
    DType.INT32: "i",
    DType.FLOAT32: "f",
    DType.BOOL: "B",
}
_SUMMED_FROM: Final = 4
_LONGEST: Final = 1024
"""Bytes; the checksum of a longer row is faster with numpy."""


class OneRow(NamedTuple):
    """What a row holds."""

    event_us: int
    created_us: int
    """NO_CREATED where there is none."""
    values: list[Any]
    """In the order of the schema's fields; None for NULL, a time in µs."""

    def status(self, t_us: int, ttl_us: int | None) -> Status:
        """The rule for time of `resolve.row_status`, for one row."""
        if self.event_us > t_us or self.created_us > t_us:
            return Status.FUTURE
        return Status.STALE if ttl_us is not None and t_us - self.event_us > ttl_us else Status.PRESENT


class _Reader(NamedTuple):
    fixed: Struct
    scalars: list[int]
    """For each scalar, in the order in which they lie, its position in the schema."""
    bools: list[int]
    """Positions in the schema of the booleans."""
    pick: Callable[[Sequence[Any]], Sequence[Any]] | None
    """The values in the schema's order out of what is unpacked; None where there is more to a row than numbers."""


@lru_cache(maxsize=1024)
def _reader(schema: Schema) -> _Reader | None:
    """None for a schema with lists."""
    if any(field.dtype.element is not None for field in schema.fields):
        return None
    layout = schema.layout
    blocks = "".join(f"{len(block.fields)}{_CODES[block.dtype]}" for block in layout.blocks)
    parts = f"<IBQq{'q' if schema.created else ''}{layout.nulls}s{blocks}{len(layout.variable)}I"
    fixed = Struct(f"{parts}{layout.fixed.itemsize - Struct(parts).size}x")
    scalars = [i for block in layout.blocks for i in block.fields]
    bools = [i for i in scalars if schema.fields[i].dtype is DType.BOOL]
    numbers_alone = len(scalars) == len(schema.fields) > 1 and not bools
    pick = itemgetter(*(1 + scalars.index(i) for i in range(len(scalars)))) if numbers_alone else None
    return _Reader(fixed, scalars, bools, pick)


def read_one(row: bytes, schema: Schema) -> OneRow | None:
    """The row, if it is a sound one of this schema without lists."""
    reader = _reader(schema)
    if reader is None or not reader.fixed.size <= len(row) <= _LONGEST:
        return None
    sum_, _, fingerprint, event, *rest = reader.fixed.unpack_from(row)
    if fingerprint != schema.fingerprint or sum_ != checksum.of_one(row, _SUMMED_FROM):
        return None
    created = rest.pop(0) if schema.created else NO_CREATED
    values = _values(row, schema, reader, rest)
    return None if values is None else OneRow(event, created, values)


def _values(row: bytes, schema: Schema, reader: _Reader, rest: list[Any]) -> list[Any] | None:
    """The values of the fields; `rest` is the null bitmap, the scalars and the ends of the payloads."""
    if reader.pick is not None:
        found = list(reader.pick(rest)) if len(row) == reader.fixed.size else None
        return found if found is None or not any(rest[0]) else _typed(found, schema, int.from_bytes(rest[0], "little"))
    values: list[Any] = [None] * len(schema.fields)
    count = len(reader.scalars)
    for i, value in zip(reader.scalars, rest[1 : count + 1], strict=True):
        values[i] = value
    if any(values[i] > 1 for i in reader.bools):
        return None
    edges = [0, *rest[count + 1 :]]
    if reader.fixed.size + edges[-1] != len(row) or any(start > end for start, end in pairwise(edges)):
        return None
    for i, (start, end) in zip(schema.layout.variable, pairwise(edges), strict=True):
        values[i] = row[reader.fixed.size + start : reader.fixed.size + end]
    return _typed(values, schema, int.from_bytes(rest[0], "little"))


def _typed(values: list[Any], schema: Schema, nulls: int) -> list[Any] | None:
    """Texts and booleans as such, None for NULL."""
    for i, field in enumerate(schema.fields):
        if nulls >> i & 1:
            if field.dtype.numpy is None and values[i]:
                return None
            values[i] = None
        elif field.dtype is DType.STRING:
            try:
                values[i] = values[i].decode()
            except UnicodeDecodeError:
                return None
        elif field.dtype is DType.BOOL:
            values[i] = bool(values[i])
    return values
