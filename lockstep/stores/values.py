"""Feast's Value messages and the columns of packed rows, both ways."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.type_map import NULL_TIMESTAMP_INT_VALUE, python_values_to_proto_values
from feast.value_type import ValueType
from numpy.typing import NDArray

from lockstep.errors import BadColumn
from lockstep.rows import Unpacked, cast
from lockstep.schema import DType, Field
from lockstep.status import Status
from lockstep.times import SECOND

__all__ = ["dtype_of", "from_values", "key_dtype_of", "key_value", "opaque", "to_values", "value_maker"]

_DTYPES: Final = {
    ValueType.BOOL: DType.BOOL,
    ValueType.INT32: DType.INT32,
    ValueType.INT64: DType.INT64,
    ValueType.FLOAT: DType.FLOAT32,
    ValueType.DOUBLE: DType.FLOAT64,
    ValueType.UNIX_TIMESTAMP: DType.TIMESTAMP,
    ValueType.STRING: DType.STRING,
    ValueType.BYTES: DType.BYTES,
    ValueType.PDF_BYTES: DType.BYTES,
    ValueType.IMAGE_BYTES: DType.BYTES,
    ValueType.BOOL_LIST: DType.LIST_BOOL,
    ValueType.INT32_LIST: DType.LIST_INT32,
    ValueType.INT64_LIST: DType.LIST_INT64,
    ValueType.FLOAT_LIST: DType.LIST_FLOAT32,
    ValueType.DOUBLE_LIST: DType.LIST_FLOAT64,
    ValueType.UNIX_TIMESTAMP_LIST: DType.LIST_TIMESTAMP,
    ValueType.STRING_LIST: DType.LIST_STRING,
    ValueType.BYTES_LIST: DType.LIST_BYTES,
}
_KEY_DTYPES: Final = {**_DTYPES, ValueType.UUID: DType.STRING, ValueType.TIME_UUID: DType.STRING}

_ONEOF: Final = {
    DType.BOOL: "bool_val",
    DType.INT32: "int32_val",
    DType.INT64: "int64_val",
    DType.FLOAT32: "float_val",
    DType.FLOAT64: "double_val",
    DType.TIMESTAMP: "unix_timestamp_val",
    DType.STRING: "string_val",
    DType.BYTES: "bytes_val",
    DType.LIST_BOOL: "bool_list_val",
    DType.LIST_INT32: "int32_list_val",
    DType.LIST_INT64: "int64_list_val",
    DType.LIST_FLOAT32: "float_list_val",
    DType.LIST_FLOAT64: "double_list_val",
    DType.LIST_TIMESTAMP: "unix_timestamp_list_val",
    DType.LIST_STRING: "string_list_val",
    DType.LIST_BYTES: "bytes_list_val",
}
_KEY_ONEOF: Final = {
    "bool_val": DType.BOOL,
    "int32_val": DType.INT32,
    "int64_val": DType.INT64,
    "unix_timestamp_val": DType.TIMESTAMP,
    "string_val": DType.STRING,
    "bytes_val": DType.BYTES,
    "uuid_val": DType.STRING,
    "time_uuid_val": DType.STRING,
}
_PRESENT: Final = int(Status.PRESENT)
_TIMES: Final = frozenset({DType.TIMESTAMP, DType.LIST_TIMESTAMP})


def dtype_of(value_type: ValueType) -> DType:
    """How a feature of this type is stored: OPAQUE for all that is neither a scalar nor a list of scalars."""
    return _DTYPES.get(value_type, DType.OPAQUE)


def key_dtype_of(value_type: ValueType) -> DType:
    """How a join key of this type is stored; OPAQUE, which KeySpace refuses, where it cannot be."""
    return _KEY_DTYPES.get(value_type, DType.OPAQUE)


def key_value(value: Value, name: str) -> tuple[DType, Any]:
    """The type and the Python value of a join key, a time in µs. Raises BadColumn for NULL and for a type that is no
    key.
    """
    which = value.WhichOneof("val")
    dtype = _KEY_ONEOF.get(which or "")
    if dtype is None:
        raise BadColumn(name, f"a join key cannot be {which or 'NULL'}")
    found = getattr(value, str(which))
    return dtype, found * SECOND if dtype is DType.TIMESTAMP else found


# --- to columns ---


def from_values(values: Sequence[Value | None], field: Field) -> pa.Array:
    """A column of the field's Arrow type. None and an empty Value are NULL; Feast's times are whole seconds.

    A Value of another type is cast where nothing is lost. Raises BadColumn otherwise.
    """
    if field.dtype is DType.OPAQUE:
        return pa.array([_opaque(value) for value in values], pa.binary())
    if field.dtype not in _TIMES:
        return _typed(values, _ONEOF[field.dtype], field)
    seconds = Field(field.name, DType.LIST_INT64 if field.dtype.element else DType.INT64)
    return _from_seconds(_typed(values, _ONEOF[field.dtype], seconds), field)


def _opaque(value: Value | None) -> bytes | None:
    found: bytes | None = (
        None if value is None or value.WhichOneof("val") in (None, "null_val") else value.SerializeToString()
    )
    return found


def _plain(value: Value | None) -> Any:
    """The Python value: a scalar, a list that may hold None, or None."""
    which = None if value is None else value.WhichOneof("val")
    if which is None or which == "null_val":
        return None
    found = getattr(value, which)
    if which == "list_val":
        return [_plain(element) for element in found.val]
    return list(found.val) if hasattr(found, "val") else found


def _typed(values: Sequence[Value | None], declared: str, field: Field) -> pa.Array:
    """The Python values as Arrow. Only what is of the declared type goes there at once: Arrow would cut 0.5 to 0."""
    plain = [_plain(value) for value in values]
    kinds = {None if value is None else value.WhichOneof("val") for value in values}
    try:
        return (
            pa.array(plain, field.dtype.arrow)
            if kinds <= {declared, None, "null_val"}
            else cast(pa.array(plain), field)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadColumn(field.name, f"not {field.dtype.value}: {error}") from error


def _from_seconds(column: pa.Array, field: Field) -> pa.Array:
    """Seconds as times; Feast writes the least int64 for NULL."""
    elements = column.flatten() if field.dtype.element else column
    null = pc.equal(elements, NULL_TIMESTAMP_INT_VALUE)
    try:
        us = pc.multiply_checked(pc.if_else(null, pa.scalar(None, pa.int64()), elements), SECOND).cast(
            DType.TIMESTAMP.arrow
        )
    except pa.ArrowInvalid as error:
        raise BadColumn(field.name, f"a time lies beyond the years that int64 µs hold: {error}") from error
    if not field.dtype.element:
        return us
    return pa.ListArray.from_arrays(_dense_offsets(column), us, mask=column.is_null())


def _dense_offsets(lists: pa.ListArray) -> pa.Array:
    """Offsets into the flattened elements, where a NULL list has none."""
    lengths = pc.list_value_length(lists).fill_null(0)
    return pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])


def opaque(column: pa.ChunkedArray | pa.Array, value_type: ValueType) -> pa.Array:
    """A source column of a type that rows hold as Feast's serialized Value."""
    values = python_values_to_proto_values(column.to_pylist(maps_as_pydicts="strict"), value_type)
    return pa.array([_opaque(value) for value in values], pa.binary())


# --- to values ---


def to_values(found: Unpacked) -> list[list[Value]]:
    """The Values of each field, empty where there is none.

    A list with NULL among its elements is Feast's list of Values, because its typed lists hold no NULL. Times are cut
    to whole seconds: Feast's Value holds no more.
    """
    status = found.field_status.tolist()
    numbers = {dtype: _numbers(dtype, block).tolist() for dtype, block in found.scalars.items()}
    return [
        _column(which, numbers[field.dtype][place], status[position])
        if which
        else _payload(found.arrow(field.name), field.dtype)
        for position, (field, which, place) in enumerate(_readers(found.fields))
    ]


@lru_cache(maxsize=1024)
def _readers(fields: tuple[Field, ...]) -> list[tuple[Field, str, int]]:
    """For each field of fixed width its name in a Value and its place among those of its type; "" for the others."""
    seen: Counter[DType] = Counter()
    readers = []
    for field in fields:
        readers.append((field, _ONEOF[field.dtype] if field.dtype.numpy is not None else "", seen[field.dtype]))
        seen[field.dtype] += 1
    return readers


def _numbers(dtype: DType, block: NDArray[Any]) -> NDArray[Any]:
    """Numbers as a Value holds them."""
    if dtype is DType.TIMESTAMP:
        return block // SECOND
    return block.astype(bool) if dtype is DType.BOOL else block


def _column(which: str, numbers: list[Any], status: list[int]) -> list[Value]:
    make = _maker(which)
    return [make(number if here == _PRESENT else None) for number, here in zip(numbers, status, strict=True)]


@lru_cache
def _maker(which: str) -> Callable[[Any], Value]:
    """What makes a Value of one kind; empty for None. Setting a field is faster than naming it to the constructor."""

    def make(value: Any) -> Value:
        found = Value()
        if value is not None:
            setattr(found, which, value)
        return found

    return make


def _payload(column: pa.Array, dtype: DType) -> list[Value]:
    if dtype is DType.OPAQUE:
        return [Value() if text is None else Value.FromString(text) for text in column.to_pylist()]
    if dtype.element is not None:
        return [_list(elements, dtype) for elements in _lists(column, dtype)]
    return [_maker(_ONEOF[dtype])(value) for value in column.to_pylist()]


def value_maker(dtype: DType) -> Callable[[Any], Value]:
    """What makes a Value of a Python value that is no list, a time in µs; empty for None."""
    if dtype is DType.OPAQUE:
        return lambda text: Value() if text is None else Value.FromString(text)
    which = _ONEOF[dtype]
    if dtype is DType.TIMESTAMP:
        return lambda us: Value() if us is None else Value(**{which: us // SECOND})
    return _maker(which)


def _lists(column: pa.Array, dtype: DType) -> list[list[Any] | None]:
    if dtype is not DType.LIST_TIMESTAMP:
        return list(column.to_pylist())
    ticks = column.cast(pa.list_(pa.int64())).to_pylist()
    return [None if each is None else [None if tick is None else tick // SECOND for tick in each] for each in ticks]


def _list(elements: list[Any] | None, dtype: DType) -> Value:
    found = Value()
    if elements is None:
        return found
    if None in elements:
        which = _ONEOF[dtype.element or dtype]
        found.list_val.CopyFrom(RepeatedValue(val=[_maker(which)(element) for element in elements]))
        return found
    target = getattr(found, _ONEOF[dtype])
    target.SetInParent()
    target.val.extend(elements)
    return found
