"""Feast's Values into columns and back, for every type, and what they cannot hold said by name."""

import warnings
from typing import Any

import pyarrow as pa
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast.protos.feast.types import Value_pb2 as pb
    from feast.type_map import NULL_TIMESTAMP_INT_VALUE, feast_value_type_to_python_type
    from feast.value_type import ValueType

from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import BadColumn
from lockstep.rows import pack, unpack
from lockstep.schema import DType, Field, Schema
from lockstep.stores.values import dtype_of, from_values, key_value, to_values

Value = pb.Value
INT64 = st.integers(-(2**63), 2**63 - 1)
SECONDS = st.integers(-(2**42), 2**42)
SCALARS: dict[DType, tuple[str, st.SearchStrategy[Any]]] = {
    DType.BOOL: ("bool_val", st.booleans()),
    DType.INT32: ("int32_val", st.integers(-(2**31), 2**31 - 1)),
    DType.INT64: ("int64_val", INT64),
    DType.FLOAT32: ("float_val", st.floats(width=32)),
    DType.FLOAT64: ("double_val", st.floats()),
    DType.TIMESTAMP: ("unix_timestamp_val", SECONDS),
    DType.STRING: ("string_val", st.text(max_size=8)),
    DType.BYTES: ("bytes_val", st.binary(max_size=8)),
}


def messages(dtype: DType) -> st.SearchStrategy[Value]:
    """A Value of the type; empty for NULL."""
    if dtype is DType.OPAQUE:
        return st.just(Value()) | st.text().map(lambda text: Value(json_val=text))
    which, found = SCALARS[dtype.element or dtype]
    if dtype.element is None:
        return st.just(Value()) | found.map(lambda value: Value(**{which: value}))
    field = which.replace("_val", "_list_val")
    kind = type(getattr(Value(), field))
    return st.just(Value()) | st.lists(found, max_size=6).map(lambda values: Value(**{field: kind(val=values)}))


@pytest.mark.parametrize("dtype", list(DType))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_values_come_back_as_they_went_in(dtype: DType, data: st.DataObject) -> None:
    values = data.draw(st.lists(messages(dtype), max_size=5))
    schema = Schema((Field("f", dtype),))
    event = pa.array([1] * len(values), pa.int64()).cast(DType.TIMESTAMP.arrow)
    rows = pack(pa.table({"f": from_values(values, schema.fields[0]), "event": event}), schema, event="event")
    (found,) = to_values(unpack(rows.to_pylist(), {schema.fingerprint: schema}, schema))
    assert [each.SerializeToString() for each in found] == [each.SerializeToString() for each in values]


def test_a_list_with_null_is_a_list_of_values() -> None:
    nested = Value(list_val=pb.RepeatedValue(val=[Value(int64_val=1), Value(), Value(int64_val=3)]))
    column = from_values([nested], Field("f", DType.LIST_INT64))
    assert column.to_pylist() == [[1, None, 3]]
    assert feast_value_type_to_python_type(nested) == [1, None, 3]


@pytest.mark.parametrize(
    "value", [None, Value(), Value(null_val=pb.NULL), Value(unix_timestamp_val=NULL_TIMESTAMP_INT_VALUE)]
)
def test_every_null_of_feast_is_null(value: Value | None) -> None:
    assert from_values([value], Field("f", DType.TIMESTAMP)).null_count == 1


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (Value(int64_val=5), DType.INT32, 5),
        (Value(int32_val=5), DType.FLOAT64, 5.0),
        (Value(double_val=0.5), DType.FLOAT32, 0.5),
    ],
)
def test_a_value_of_another_type_is_cast_where_nothing_is_lost(value: Value, dtype: DType, expected: Any) -> None:
    assert from_values([value], Field("f", dtype)).to_pylist() == [expected]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (Value(int64_val=2**31), DType.INT32),
        (Value(double_val=0.5), DType.INT64),
        (Value(string_val="x"), DType.INT64),
        (Value(unix_timestamp_val=2**60), DType.TIMESTAMP),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(value: Value, dtype: DType) -> None:
    with pytest.raises(BadColumn, match="'clicks'"):
        from_values([value], Field("clicks", dtype))


def test_a_join_key_that_has_no_exact_equality_is_refused() -> None:
    assert key_value(Value(unix_timestamp_val=3), "t") == (DType.TIMESTAMP, 3_000_000)
    with pytest.raises(BadColumn, match="'score'"):
        key_value(Value(float_val=0.5), "score")
    with pytest.raises(BadColumn, match="NULL"):
        key_value(Value(), "score")


@pytest.mark.parametrize(
    "value_type", [ValueType.MAP, ValueType.JSON, ValueType.STRING_SET, ValueType.DECIMAL, ValueType.STRUCT]
)
def test_what_is_neither_a_scalar_nor_a_list_of_scalars_is_opaque(value_type: ValueType) -> None:
    assert dtype_of(value_type) is DType.OPAQUE
