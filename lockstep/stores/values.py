"""Feast's Value messages and the columns of packed rows, both ways."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.type_map import NULL_TIMESTAMP_INT_VALUE, python_values_to_proto_values
from feast.value_type import ValueType

from lockstep.errors import BadColumn
from lockstep.rows import Unpacked, cast
from lockstep.schema import DType, Field
from lockstep.status import Status
from lockstep.times import SECOND

__all__ = ["dtype_of", "from_values", "key_dtype_of", "key_value", "opaque", "to_values"]

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
    plain = [_plain(value) for value in values]
    if field.dtype not in _TIMES:
        return _typed(plain, field)
    seconds = Field(field.name, DType.LIST_INT64 if field.dtype.element else DType.INT64)
    return _from_seconds(_typed(plain, seconds), field)


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


def _typed(plain: list[Any], field: Field) -> pa.Array:
    try:
        return pa.array(plain, field.dtype.arrow)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        pass  # not of the declared type as it stands: cast says whether it fits
    try:
        return cast(pa.array(plain), field)
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
    values = python_values_to_proto_values(column.to_pylist(), value_type)
    return pa.array([_opaque(value) for value in values], pa.binary())


# --- to values ---


def to_values(found: Unpacked, field: Field) -> list[Value]:
    """The Values of a field, empty where there is none. A list with NULL among its elements is Feast's list of Values,
    because its typed lists hold no NULL. Times are cut to whole seconds: Feast's Value holds no more.
    """
    if field.dtype is DType.OPAQUE:
        return [Value() if text is None else Value.FromString(text) for text in found.arrow(field.name).to_pylist()]
    if field.dtype.element is not None:
        return [_list(elements, field.dtype) for elements in _lists(found.arrow(field.name), field.dtype)]
    which = _ONEOF[field.dtype]
    if field.dtype.numpy is None:
        return [_scalar(which, value) for value in found.arrow(field.name).to_pylist()]
    numbers = found.values(field.name)
    numbers = (
        numbers // SECOND
        if field.dtype is DType.TIMESTAMP
        else numbers.astype(bool)
        if field.dtype is DType.BOOL
        else numbers
    )
    status = found.field_status[found.fields.index(field)]
    return [
        _scalar(which, value) if here == Status.PRESENT else Value()
        for value, here in zip(numbers.tolist(), status.tolist(), strict=True)
    ]


def _scalar(which: str, value: Any) -> Value:
    found = Value()
    if value is not None:
        setattr(found, which, value)
    return found


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
        found.list_val.CopyFrom(RepeatedValue(val=[_scalar(which, element) for element in elements]))
        return found
    target = getattr(found, _ONEOF[dtype])
    target.SetInParent()
    target.val.extend(elements)
    return found
