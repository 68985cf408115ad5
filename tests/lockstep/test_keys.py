"""Two different keys are never the same bytes, one by one or a column at a time."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import BadColumn, SchemaRefused, UnknownColumn
from lockstep.keys import KeySpace
from lockstep.schema import DType, Field

PATIENT = settings(
    max_examples=60, deadline=None
)  # a shared machine stops a test for longer than any sensible deadline
VALUES: dict[DType, st.SearchStrategy[Any]] = {
    DType.INT64: st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300),
    DType.INT32: st.integers(-(2**31), 2**31 - 1),
    DType.BOOL: st.booleans(),
    DType.TIMESTAMP: st.integers(-(2**63), 2**63 - 1),
    DType.STRING: st.text(max_size=4) | st.text(min_size=120, max_size=140),
    DType.BYTES: st.binary(max_size=4),
}


def spaces() -> st.SearchStrategy[KeySpace]:
    """One to four join keys of any types."""
    dtypes = st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4)
    return dtypes.map(
        lambda found: KeySpace("shop", "clicks", tuple(Field(f"k{i}", dtype) for i, dtype in enumerate(found)))
    )


@st.composite
def keys(draw: st.DrawFn, space: KeySpace) -> dict[str, Any]:
    """The join keys of one row."""
    return {field.name: draw(VALUES[field.dtype]) for field in space.join_keys}


def columns(space: KeySpace, rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    """The rows as Arrow columns."""
    found = {}
    for field in space.join_keys:
        plain = pa.int64() if field.dtype is DType.TIMESTAMP else field.dtype.arrow
        found[field.name] = pa.array([row[field.name] for row in rows], plain).cast(field.dtype.arrow)
    return found


@given(st.data(), spaces())
@PATIENT
def test_a_column_of_keys_equals_the_keys_one_by_one(data: st.DataObject, space: KeySpace) -> None:
    rows = data.draw(st.lists(keys(space), max_size=6))
    assert space.encode(columns(space, rows)).to_pylist() == [space.encode_one(row) for row in rows]


@given(st.data(), spaces())
@PATIENT
def test_two_keys_have_the_same_bytes_only_if_they_are_equal(data: st.DataObject, space: KeySpace) -> None:
    one, other = data.draw(keys(space)), data.draw(keys(space))
    assert (space.encode_one(one) == space.encode_one(other)) == (one == other)


@given(st.data(), spaces())
@PATIENT
def test_every_key_begins_with_the_prefix_of_its_view(data: st.DataObject, space: KeySpace) -> None:
    rows = data.draw(st.lists(keys(space), min_size=2, max_size=6))
    assert all(space.encode_one(row).startswith(space.prefix) for row in rows)
    assert len(space.prefix) == 8


def test_the_order_of_the_join_keys_does_not_matter() -> None:
    a, b = Field("a", DType.INT64), Field("b", DType.STRING)
    one, other = KeySpace("p", "v", (a, b)), KeySpace("p", "v", (b, a))
    assert one.encode_one({"a": 1, "b": "x"}) == other.encode_one({"b": "x", "a": 1})


@pytest.mark.parametrize(
    "other",
    [
        KeySpace("q", "v", (Field("a", DType.INT64),)),
        KeySpace("p", "w", (Field("a", DType.INT64),)),
        KeySpace("p", "v", (Field("b", DType.INT64),)),
        KeySpace("p", "v", (Field("a", DType.INT32),)),
        KeySpace("p", "v", ()),
    ],
    ids=["project", "view", "join key's name", "join key's type", "no join key"],
)
def test_another_project_view_or_join_key_is_another_prefix(other: KeySpace) -> None:
    assert KeySpace("p", "v", (Field("a", DType.INT64),)).prefix != other.prefix


def test_no_prefix_holds_a_hash_tag_of_redis_cluster() -> None:
    prefixes = b"".join(KeySpace("p", str(i), ()).prefix for i in range(2000))
    assert b"{" not in prefixes
    assert b"}" not in prefixes


@pytest.mark.parametrize(
    ("value", "size"), [(0, 1), (-1, 1), (63, 1), (64, 2), (2**24, 4), (2**41 - 1, 6), (2**63 - 1, 10), (-(2**63), 10)]
)
def test_small_ids_make_short_keys(value: int, size: int) -> None:
    assert len(KeySpace("p", "v", (Field("a", DType.INT64),)).encode_one({"a": value})) == 8 + size


def test_the_bytes_of_a_key_never_change() -> None:
    space = KeySpace("p", "v", (Field("ip", DType.INT64), Field("app", DType.STRING)))
    assert space.encode_one({"ip": 300, "app": "x"}).hex() == "59d4dd81b31a494f" + "0178" + "d804"


def test_a_view_without_entities_has_one_key() -> None:
    space = KeySpace("p", "v", ())
    assert space.encode({"any": pa.array([1, 2])}).to_pylist() == [space.encode_one({})] * 2


def test_a_row_without_one_of_its_join_keys_has_no_key() -> None:
    space = KeySpace("p", "v", (Field("a", DType.INT64), Field("b", DType.STRING)))
    found = space.encode({"a": pa.array([1, None, 1]), "b": pa.array(["x", "x", None])})
    assert found.is_null().to_pylist() == [False, True, True]


def test_numpy_columns_and_narrower_types_give_the_same_keys() -> None:
    space = KeySpace("p", "v", (Field("a", DType.INT64),))
    expected = [space.encode_one({"a": i}) for i in (1, 2)]
    assert space.encode({"a": np.array([1, 2])}).to_pylist() == expected
    assert space.encode({"a": np.array([1, 2], np.int16)}).to_pylist() == expected
    assert space.encode(pa.table({"a": pa.chunked_array([[1], [2]])})).to_pylist() == expected


def test_a_datetime_is_the_key_of_its_microsecond() -> None:
    space = KeySpace("p", "v", (Field("a", DType.TIMESTAMP),))
    assert space.encode_one({"a": datetime(1970, 1, 1, 0, 0, 1, 5, UTC)}) == space.encode_one({"a": 1_000_005})


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (DType.INT32, 2**31),
        (DType.INT64, 2**63),
        (DType.INT64, "1"),
        (DType.INT64, 1.0),
        (DType.STRING, 1),
        (DType.STRING, None),
        (DType.BOOL, 2),
    ],
)
def test_a_value_that_is_no_such_key_is_refused_by_name(dtype: DType, value: Any) -> None:
    with pytest.raises(BadColumn, match="'ip'"):
        KeySpace("p", "v", (Field("ip", dtype),)).encode_one({"ip": value})


def test_a_missing_join_key_is_refused_by_name() -> None:
    space = KeySpace("p", "v", (Field("ip", DType.INT64),))
    with pytest.raises(UnknownColumn, match="'ip'"):
        space.encode_one({"ipp": 1})
    with pytest.raises(UnknownColumn, match="'ip'"):
        space.encode({"ipp": pa.array([1])})


@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.LIST_INT64, DType.OPAQUE])
def test_a_join_key_without_exact_equality_is_refused(dtype: DType) -> None:
    with pytest.raises(SchemaRefused, match="'score'"):
        KeySpace("p", "v", (Field("score", dtype),))
