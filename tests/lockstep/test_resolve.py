"""The rule for time and the rule for defaults, against a reference of one row at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.plan import Array, Column, DType, Given, Plan, Stored
from lockstep.resolve import Resolved, ViewRows, resolve, row_status
from lockstep.status import Rung, Status
from tests.bundles import NOON, PLAN, TTL

STORE = (Status.NOT_FOUND, Status.UNREADABLE, Status.UNREACHABLE)


def us(*times: int) -> Array:
    """Times in µs."""
    return np.array(times, np.int64)


def rows_of(found: list[Status], clicks: list[float | None], *, event_us: int = NOON) -> ViewRows:
    """Rows of `ip_activity`, all of one time, with last_click NULL."""
    valid = [value is not None for value in clicks]
    return ViewRows.of(
        np.array(found, np.int8),
        np.full(len(found), event_us, np.int64),
        {"clicks": np.array([value or 0 for value in clicks], np.float32), "last_click": np.zeros(len(found))},
        {"clicks": np.array(valid, np.bool_), "last_click": np.zeros(len(found), np.bool_)},
    )


def given_columns(rows: int) -> dict[str, Array]:
    """The columns that a caller must send."""
    return {"ip": np.arange(rows), "bid": np.zeros(rows, np.float32)}


def resolved(found: ViewRows, t: int = NOON, plan: Plan = PLAN) -> Resolved:
    """The tiny plan's columns at one time."""
    rows = len(found.found)
    return resolve(plan, {"ip_activity": found}, given_columns(rows), np.full(rows, t, np.int64))


MOMENT = st.integers(-(2**53), 2**53)


@given(
    st.lists(st.tuples(st.sampled_from([Status.PRESENT, *STORE]), MOMENT, MOMENT, MOMENT), min_size=1),
    st.one_of(st.none(), st.integers(0, 2**53)),
    st.booleans(),
)
def test_a_row_is_usable_by_the_rule_for_time(
    rows: list[tuple[Status, int, int, int]], ttl: int | None, with_created: bool
) -> None:
    found, t, event, created = (list(column) for column in zip(*rows, strict=True))
    view = ViewRows(
        np.array(found, np.int8),
        us(*event),
        {},
        np.empty((0, len(rows)), np.int8),
        us(*created) if with_created else None,
    )
    expected = []
    for status, now, at, made in zip(found, t, event, created, strict=True):
        if status is not Status.PRESENT:
            expected.append(status)
        elif at > now or (with_created and made > now):
            expected.append(Status.FUTURE)
        else:
            expected.append(Status.STALE if ttl is not None and now - at > ttl else Status.PRESENT)
    assert row_status(view.found, view.event_us, view.created_us, us(*t), ttl).tolist() == expected


@pytest.mark.parametrize(
    ("t", "status"),
    [(NOON - 1, Status.FUTURE), (NOON, Status.PRESENT), (NOON + TTL, Status.PRESENT), (NOON + TTL + 1, Status.STALE)],
)
def test_both_bounds_are_exact_to_the_microsecond(t: int, status: Status) -> None:
    answer = resolved(rows_of([Status.PRESENT], [2.0]), t)
    assert (answer.status["clicks"].tolist(), answer.columns["clicks"].tolist()) == (
        [status],
        [2.0 if status is Status.PRESENT else -1.0],
    )


def test_a_row_created_after_t_is_not_usable_yet() -> None:
    found = replace(rows_of([Status.PRESENT] * 2, [2.0, 3.0]), created_us=us(NOON + 5, NOON + 6))
    assert resolved(found, NOON + 5).status["clicks"].tolist() == [Status.PRESENT, Status.FUTURE]


def test_a_view_without_ttl_never_goes_stale() -> None:
    assert row_status(np.zeros(1, np.int8), us(-(2**53)), None, us(2**53), None).tolist() == [Status.PRESENT]


@pytest.mark.parametrize("status", STORE)
def test_what_was_not_found_takes_the_default_or_null_and_says_why(status: Status) -> None:
    answer = resolved(rows_of([Status.PRESENT, status], [2.0, 7.0]))
    assert answer.columns["clicks"].tolist() == [2.0, -1.0]
    assert np.isnan(answer.columns["last_click"]).all()
    assert answer.status["clicks"].tolist() == [Status.PRESENT, status]
    assert answer.status["last_click"].tolist() == [Status.NULL, status]
    assert answer.defaulted["clicks"].tolist() == [False, True]
    assert answer.defaulted["last_click"].tolist() == [False, False]


def test_a_view_that_found_nothing_needs_no_values() -> None:
    answer = resolved(ViewRows.missing(2, Status.UNREACHABLE))
    assert answer.columns["clicks"].tolist() == [-1.0, -1.0]


@pytest.mark.parametrize(
    ("dtype", "default", "value", "instead"),
    [
        (DType.FLOAT32, None, 0.1, np.nan),
        (DType.FLOAT32, 7, 0.1, 7),
        (DType.FLOAT64, None, 0.1, np.nan),
        (DType.INT64, -1, 2**62 + 1, -1),
        (DType.STRING, None, "é", ""),
        (DType.STRING, "none", "é", "none"),
        (DType.TIMESTAMP, None, float(NOON), np.nan),
    ],
)
def test_every_type_keeps_its_values_and_its_dtype(dtype: DType, default: Any, value: Any, instead: Any) -> None:
    columns = tuple(replace(one, dtype=dtype, default=default) if one.name == "clicks" else one for one in PLAN.columns)
    plan = replace(PLAN, columns=columns, inputs=("bid",))
    found = rows_of([Status.PRESENT] * 2, [1.0, None])
    held = np.array([value, value], dtype.numpy)
    answer = resolved(replace(found, values={**found.values, "clicks": held}), plan=plan).columns["clicks"]
    assert answer.dtype == dtype.numpy
    np.testing.assert_array_equal(answer, np.array([value, instead], dtype.numpy))


def test_what_was_found_is_left_alone() -> None:
    found = rows_of([Status.PRESENT, Status.NOT_FOUND], [2.0, None])
    before = (found.found.copy(), found.values["clicks"].copy())
    resolved(found, NOON + TTL + 1)
    np.testing.assert_array_equal(found.found, before[0])
    np.testing.assert_array_equal(found.values["clicks"], before[1])


def test_the_time_of_the_row_is_a_column_and_a_missing_request_column_takes_its_default() -> None:
    answer = resolved(rows_of([Status.PRESENT] * 2, [1.0, 1.0]))
    assert answer.columns["event_timestamp"].tolist() == [NOON, NOON]
    assert answer.columns["site"].tolist() == ["", ""]
    assert answer.defaulted["site"].all()
    assert answer.status["bid"].tolist() == [Status.REQUEST] * 2


RUNGS = {
    "all usable": ([Status.PRESENT, Status.PRESENT], [1.0, 2.0], NOON, Rung.FRESH),
    "a NULL is a usable row's": ([Status.PRESENT, Status.PRESENT], [1.0, None], NOON, Rung.FRESH),
    "one key not found": ([Status.PRESENT, Status.NOT_FOUND], [1.0, None], NOON, Rung.DEFAULTS),
    "stale": ([Status.PRESENT, Status.PRESENT], [1.0, 2.0], NOON + TTL + 1, Rung.DEFAULTS),
    "nothing answered": ([Status.UNREACHABLE] * 2, [None, None], NOON, Rung.ALL_DEFAULTS),
    "one row unanswered": ([Status.PRESENT, Status.UNREACHABLE], [1.0, None], NOON, Rung.ALL_DEFAULTS),
}


@pytest.mark.parametrize(("found", "clicks", "t", "rung"), RUNGS.values(), ids=RUNGS.keys())
def test_the_rung_is_that_of_the_worst_row(found: list[Status], clicks: list[float | None], t: int, rung: Rung) -> None:
    assert resolved(rows_of(found, clicks), t).rungs().max() == rung


def test_a_plan_without_stored_features_is_always_fresh() -> None:
    plan = Plan("p", "s", (), (Column("bid", DType.FLOAT32, Given("request"), 0.0),), ("bid",))
    assert resolve(plan, {}, {}, us(NOON)).rungs().tolist() == [Rung.FRESH]


def test_one_view_that_answers_keeps_the_others_off_the_last_rung() -> None:
    other = replace(PLAN.views[0], name="other")
    columns = (*PLAN.columns, Column("more", DType.FLOAT32, Stored("other", "more")))
    plan = replace(PLAN, views=(*PLAN.views, other), columns=columns)
    found = {"ip_activity": rows_of([Status.PRESENT], [1.0]), "other": ViewRows.missing(1, Status.UNREACHABLE)}
    assert resolve(plan, found, given_columns(1), us(NOON)).rungs().tolist() == [Rung.DEFAULTS]


def test_what_stands_for_a_missing_string_is_a_string() -> None:
    columns = (*PLAN.columns, Column("apps", DType.STRING, Stored("ip_activity", "apps")))
    plan = replace(PLAN, columns=columns)
    found = {"ip_activity": ViewRows.missing(2, Status.NOT_FOUND)}
    assert resolve(plan, found, given_columns(2), us(NOON, NOON)).columns["apps"].tolist() == ["", ""]
