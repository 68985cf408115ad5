"""A request is checked by name, type, length and value; the sentences name the column and the row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.errors import BadColumn, BadRequest, UnknownColumn
from lockstep.plan import Column, DType, Given, Plan
from lockstep.request import LAST_TIME, MAX_STRING_BYTES, check
from tests.bundles import NOON, PLAN

T = np.array([NOON], np.int64)
IP, BID = np.array([1]), np.array([0.5])


def text(*values: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """An object array."""
    return np.array(values, object)


@given(st.integers(1, 20), st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_column_of_length_one_is_broadcast_and_the_others_keep_their_order(rows: int, single: list[bool]) -> None:
    def values(one: bool) -> np.ndarray[Any, np.dtype[Any]]:
        return np.arange(1 if one else rows)

    longest = max(1 if one else rows for one in single)
    t = NOON + values(single[2])
    columns, times = check(PLAN, {"ip": values(single[0]), "bid": values(single[1])}, t, max_rows=20)
    for name, sent in (("ip", values(single[0])), ("bid", values(single[1]))):
        np.testing.assert_array_equal(columns[name], np.broadcast_to(sent, longest))
    np.testing.assert_array_equal(times, np.broadcast_to(t, longest))


def test_columns_come_in_the_types_of_the_plan_and_an_optional_one_may_be_absent() -> None:
    columns, times = check(PLAN, {"ip": np.array([1], np.int32), "bid": np.array([1])}, T, max_rows=1)
    assert {name: values.dtype for name, values in columns.items()} == {
        "ip": np.dtype("int64"),
        "bid": np.dtype("float32"),
    }
    assert times.dtype == np.int64


def test_nan_is_null_in_a_float_column() -> None:
    columns, _ = check(PLAN, {"ip": IP, "bid": np.array([np.nan])}, T, max_rows=1)
    assert np.isnan(columns["bid"]).all()


def test_what_was_sent_is_left_alone() -> None:
    sent = {"ip": IP.copy(), "bid": BID.copy()}
    columns, _ = check(PLAN, sent, T, max_rows=1)
    columns["bid"][0] = 9.0
    assert sent["bid"].tolist() == [0.5]


BAD: dict[str, tuple[dict[str, Any], Any, type[BadRequest], str]] = {
    "unknown column": ({"ip": IP, "bid": BID, "app": IP}, T, UnknownColumn, "'app'.*takes no such column"),
    "missing column": ({"ip": IP}, T, BadColumn, r"'bid': missing.*float32 \(request\)"),
    "floats for ids": (
        {"ip": np.array([1.0]), "bid": BID},
        T,
        BadColumn,
        "'ip': holds floating-point numbers; expected int64",
    ),
    "NaN for ids": ({"ip": np.array([np.nan]), "bid": BID}, T, BadColumn, "'ip'.*expected int64"),
    "booleans for ids": ({"ip": np.array([True]), "bid": BID}, T, BadColumn, "'ip': holds booleans"),
    "strings for numbers": ({"ip": IP, "bid": text("1")}, T, BadColumn, "'bid': holds strings; expected float32"),
    "numbers for strings": (
        {"ip": IP, "bid": BID, "site": IP},
        T,
        BadColumn,
        "'site': holds integers; expected strings",
    ),
    "one None among strings": (
        {"ip": IP, "bid": BID, "site": text("a", None)},
        T,
        BadColumn,
        "'site', row 1: holds a NoneType; expected a string",
    ),
    "no values": ({"ip": IP[:0], "bid": BID}, T, BadColumn, "'ip': has no rows"),
    "no times": ({"ip": IP, "bid": BID}, T[:0], BadColumn, "'event_timestamp_us': has no rows"),
    "lengths": ({"ip": np.arange(3), "bid": np.zeros(2)}, T, BadColumn, "'bid': has 2 values, but 'ip' has 3"),
    "times too many": (
        {"ip": np.arange(2), "bid": BID},
        np.full(3, NOON),
        BadColumn,
        "'ip': has 2.*'event_timestamp_us' has 3",
    ),
    "too many rows": ({"ip": np.arange(11), "bid": BID}, T, BadRequest, "11 rows.*at most 10"),
    "nanoseconds": ({"ip": IP, "bid": BID}, T * 1000, BadColumn, "'event_timestamp_us', row 0.*microseconds"),
}


@pytest.mark.parametrize(("columns", "t", "error", "problem"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_column_and_row(
    columns: dict[str, Any], t: Any, error: type[BadRequest], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        check(PLAN, columns, t, max_rows=10)


@pytest.mark.parametrize(("letter", "size"), [("a", 1), ("é", 2), ("漢", 3), ("😀", 4)])
def test_strings_are_measured_in_bytes(letter: str, size: int) -> None:
    longest = letter * (MAX_STRING_BYTES // size)
    assert check(PLAN, {"ip": IP, "bid": BID, "site": text(longest)}, T, max_rows=1)[0]["site"][0] == longest
    with pytest.raises(BadColumn, match="at most 1024"):
        check(PLAN, {"ip": IP, "bid": BID, "site": text(longest + letter)}, T, max_rows=1)


@pytest.mark.parametrize("t", [LAST_TIME, -LAST_TIME])
def test_times_are_taken_as_long_as_a_float_holds_them_exactly(t: int) -> None:
    assert check(PLAN, {"ip": IP, "bid": BID}, np.array([t]), max_rows=1)[1].tolist() == [t]


@pytest.mark.parametrize("t", [LAST_TIME + 1, -LAST_TIME - 1, 2**63 - 1, -(2**63)])
def test_times_beyond_are_refused(t: int) -> None:
    with pytest.raises(BadColumn, match="is no time"):
        check(PLAN, {"ip": IP, "bid": BID}, np.array([t]), max_rows=1)


def test_a_column_may_be_called_as_the_times_are() -> None:
    plan = Plan("p", "s", (), (Column("event_timestamp_us", DType.INT64, Given("request")),), ("event_timestamp_us",))
    with pytest.raises(BadColumn, match="has 2 values"):
        check(plan, {"event_timestamp_us": np.arange(2)}, np.full(3, NOON), max_rows=10)
