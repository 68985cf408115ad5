"""The key of a packed row: 8 bytes that name the view and its join keys, then the values of the join keys.

The 8 bytes are a hash of the project, the view and the names and types of its join keys in the order of their names.
The values follow in that order and are not hashed: two keys of one view are never the same bytes. Integers, booleans
and times (µs) are zigzag LEB128, so that small ids are short:
https://protobuf.dev/programming-guides/encoding/#signed-ints. Strings and bytes are themselves, after their length as
LEB128 in every place but the last.

Should two views ever share the 8 bytes (one chance in 10¹³ with a thousand views), the fingerprint in the rows tells
them apart, because it is made over the view's name as well: such a row is UNREADABLE, not a wrong number.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep import arrays
from lockstep.errors import BadColumn, SchemaRefused, UnknownColumn
from lockstep.ragged import Ints, offsets
from lockstep.rows import cast
from lockstep.schema import DType, Field
from lockstep.times import from_datetime

__all__ = ["KeySpace", "key_part", "last_key_part", "varint"]

_NUMBERS: Final = frozenset({DType.INT32, DType.INT64, DType.BOOL, DType.TIMESTAMP})
_TEXTS: Final = frozenset({DType.STRING, DType.BYTES})
_RANGES: Final = {
    DType.BOOL: (0, 1),
    DType.INT32: (-(2**31), 2**31 - 1),
    DType.INT64: (-(2**63), 2**63 - 1),
    DType.TIMESTAMP: (-(2**63), 2**63 - 1),
}
_BITS: Final = 7
_GROUPS: Final = 10
_STEPS: Final = np.array([1 << (_BITS * group) for group in range(1, _GROUPS)], np.uint64)


@dataclass(frozen=True)
class KeySpace:
    """All keys of one view. Raises SchemaRefused for a join key of a type that has no exact equality, e.g. a float."""

    project: str
    view: str
    join_keys: tuple[Field, ...]
    """In any order; the bytes do not depend on it."""

    def __post_init__(self) -> None:
        for field in self.join_keys:
            if field.dtype not in _NUMBERS | _TEXTS:
                kinds = ", ".join(sorted(dtype.value for dtype in _NUMBERS | _TEXTS))
                raise SchemaRefused(
                    f"view {self.view!r}: join key {field.name!r} is {field.dtype.value}; a key can be {kinds}."
                )

    @cached_property
    def in_order(self) -> tuple[Field, ...]:
        """The join keys as they stand in the bytes: by name."""
        return tuple(sorted(self.join_keys, key=lambda field: field.name))

    @cached_property
    def owner(self) -> str:
        """What tells this view's rows from all others'; see Schema.owner."""
        return json.dumps([self.project, self.view, [[field.name, field.dtype.value] for field in self.in_order]])

    @cached_property
    def prefix(self) -> bytes:
        """The first 8 bytes of every key. No brace is among them: Redis Cluster would take it for a hash tag."""
        digest = blake2b(self.owner.encode(), digest_size=8, person=b"lockstep key").digest()
        return digest.replace(b"{", b"|").replace(b"}", b"~")

    def encode(self, columns: Mapping[str, Any] | pa.Table | pa.RecordBatch) -> pa.BinaryArray:
        """The key of each row, NULL where one of its join keys is NULL: no request can ask for such a row.

        `columns` maps the name of every join key to an Arrow array or a numpy array of one length. Raises
        UnknownColumn, and BadColumn where a value does not fit its type.
        """
        found = [_column(columns, field) for field in self.in_order]
        if not found:
            return arrays.of_texts([self.prefix] * _rows(columns))
        parts = [_encoded(column, field.dtype) for column, field in zip(found, self.in_order, strict=True)]
        sized = [
            part if field.dtype in _NUMBERS or place == len(parts) - 1 else _with_length(part)
            for place, (part, field) in enumerate(zip(parts, self.in_order, strict=True))
        ]
        return _join(self.prefix, sized)

    def encode_one(self, values: Mapping[str, Any]) -> bytes:
        """The key of one row of Python values, a time as a datetime or µs. Raises UnknownColumn and BadColumn."""
        for field in self.in_order:
            if field.name not in values:
                raise UnknownColumn(field.name, values)
        return self.key([_one(values[field.name], field) for field in self.in_order])

    def key(self, values: Sequence[int | str | bytes]) -> bytes:
        """The key of values that fit the join keys, in the order of `in_order`; a time in µs."""
        if not values:
            return self.prefix
        return self.prefix + b"".join(map(key_part, values[:-1])) + last_key_part(values[-1])


def _rows(columns: Mapping[str, Any] | pa.Table | pa.RecordBatch) -> int:
    if isinstance(columns, pa.Table | pa.RecordBatch):
        return int(columns.num_rows)
    return len(next(iter(columns.values())))


def _column(columns: Mapping[str, Any] | pa.Table | pa.RecordBatch, field: Field) -> pa.Array:
    names = columns.schema.names if isinstance(columns, pa.Table | pa.RecordBatch) else list(columns)
    if field.name not in names:
        raise UnknownColumn(field.name, names)
    column = columns[field.name]
    return cast(column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column), field)


def _encoded(column: pa.Array, dtype: DType) -> pa.BinaryArray:
    """The bytes of each value, NULL for NULL."""
    if dtype in _TEXTS:
        return column.cast(pa.binary())
    numbers = column.cast(pa.int64())
    null, values = arrays.null_of(numbers), arrays.fixed_of(numbers, np.dtype(np.int64))
    data, ends = _end_to_end(((values << 1) ^ (values >> 63)).view(np.uint64))
    return arrays.of_pieces(data, ends, null, pa.binary())


def _end_to_end(values: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], Ints]:
    """The LEB128 of each value end to end, and the n + 1 offsets."""
    lengths = np.searchsorted(_STEPS, values, side="right") + 1
    places = np.arange(int(lengths.max(initial=1)))
    groups = (values[:, None] >> (_BITS * places).astype(np.uint64)).astype(np.uint8) & np.uint8(0x7F)
    groups |= np.where(places < lengths[:, None] - 1, np.uint8(0x80), np.uint8(0))
    return groups[places < lengths[:, None]], offsets(lengths)


def _with_length(texts: pa.BinaryArray) -> pa.BinaryArray:
    data, ends = _end_to_end(arrays.lengths_of(texts).astype(np.uint64))
    return _join(b"", [arrays.of_pieces(data, ends, None, pa.binary()), texts])


def _join(prefix: bytes, parts: list[pa.BinaryArray]) -> pa.BinaryArray:
    from pyarrow import compute  # 9 MB, which a scorer does not need

    return compute.binary_join_element_wise(arrays.of_texts([prefix])[0], *parts, arrays.EMPTY)


def _one(value: Any, field: Field) -> int | str | bytes:
    """A value of a join key as `KeySpace.key` takes it. Raises BadColumn."""
    if isinstance(value, str if field.dtype is DType.STRING else bytes) and field.dtype in _TEXTS:
        text: str | bytes = value
        return text
    number = from_datetime(value) if isinstance(value, datetime) else value
    if field.dtype in _NUMBERS and isinstance(number, int | np.integer | np.bool_):
        low, high = _RANGES[field.dtype]
        if low <= number <= high:
            return int(number)
    raise BadColumn(field.name, f"{value!r} cannot be a join key of type {field.dtype.value}")


@lru_cache(maxsize=1 << 16)
def last_key_part(value: int | str | bytes) -> bytes:
    """The bytes of a value in the last place. Few ids are most of the traffic."""
    if isinstance(value, int):
        return varint((value << 1) ^ (value >> 63))
    return value.encode() if isinstance(value, str) else value


@lru_cache(maxsize=1 << 16)
def key_part(value: int | str | bytes) -> bytes:
    """The bytes of a value before the last place: a text goes after its length."""
    part = last_key_part(value)
    return part if isinstance(value, int) else varint(len(part)) + part


def varint(value: int) -> bytes:
    """The LEB128 of a number that is not negative."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= _BITS
    found.append(value)
    return bytes(found)
