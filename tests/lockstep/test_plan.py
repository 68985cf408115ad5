"""A plan is plain data that fits together, or it is refused."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lockstep.errors import PlanRefused
from lockstep.plan import Column, Computed, DType, Given, JoinKey, Moment, Plan, Stored, View
from tests.bundles import PLAN


def test_a_plan_survives_json() -> None:
    plain = json.loads(json.dumps(PLAN.to_json()))
    assert Plan.from_json(plain) == PLAN
    assert Plan.from_json(plain).sha256() == PLAN.sha256()


def test_another_definition_of_a_view_is_another_plan() -> None:
    changed = replace(PLAN, views=(replace(PLAN.views[0], definition="other"),))
    assert changed.sha256() != PLAN.sha256()


def test_columns_are_found_by_name_origin_and_view() -> None:
    assert list(PLAN.given) == ["ip", "bid", "site"]
    assert [column.name for column in PLAN.resolved] == ["ip", "bid", "site", "event_timestamp", "clicks", "last_click"]
    assert [(column.name, source.field) for column, source in PLAN.stored("ip_activity")] == [
        ("clicks", "clicks"),
        ("last_click", "last_click"),
    ]


@pytest.mark.parametrize("dtype", DType)
def test_what_stands_for_null_fits_the_array_of_its_type(dtype: DType) -> None:
    if dtype.missing is None:
        assert dtype is DType.INT64
        return
    (held,) = np.array([dtype.missing], dtype.numpy)
    assert held == "" if dtype is DType.STRING else math.isnan(held)


def with_column(name: str, **changes: Any) -> Plan:
    """The tiny plan with one column changed."""
    columns = tuple(replace(column, **changes) if column.name == name else column for column in PLAN.columns)
    return replace(PLAN, columns=columns)


def with_key(key: JoinKey) -> Plan:
    """The tiny plan with its view joined on another key."""
    return replace(PLAN, views=(replace(PLAN.views[0], join_keys=(key,)),))


REFUSED: dict[str, tuple[Callable[[], Plan], str]] = {
    "a column twice": (lambda: replace(PLAN, columns=(*PLAN.columns, PLAN.columns[0])), "'ip' appears twice"),
    "an unknown view": (
        lambda: with_column("clicks", source=Stored("ip_activty", "clicks")),
        "Did you mean 'ip_activity'",
    ),
    "a function before its argument": (lambda: replace(PLAN, columns=PLAN.columns[::-1]), "nothing before it provides"),
    "a function of nothing known": (
        lambda: with_column("site_length", source=Computed("site_length", ("sight",), "")),
        "'sight'.*Did you mean 'site'",
    ),
    "a time that is no timestamp": (lambda: with_column("event_timestamp", dtype=DType.INT64), "must be a timestamp"),
    "an unknown model input": (lambda: replace(PLAN, inputs=("bidd",)), "the model takes column 'bidd'"),
    "a timestamp as model input": (lambda: replace(PLAN, inputs=("last_click",)), "give it a function of it"),
    "a stored int64 without default": (
        lambda: with_column("clicks", dtype=DType.INT64, default=None),
        "int64 has no NULL",
    ),
    "a default of another type": (
        lambda: with_column("clicks", default="none"),
        "is float32, but its default is 'none'",
    ),
    "a fraction as default of an int64": (
        lambda: with_column("clicks", dtype=DType.INT64, default=0.5),
        "default is 0.5",
    ),
    "a truth as default": (lambda: with_column("clicks", default=True), "default is True"),
    "a default that JSON cannot hold": (lambda: with_column("clicks", default=math.inf), "default is inf"),
    "a join key that is no column": (lambda: with_key(JoinKey("ip", "ipp", DType.INT64)), "'ipp'.*Did you mean 'ip'"),
    "a join key that is stored": (
        lambda: with_key(JoinKey("ip", "clicks", DType.FLOAT32)),
        "does not come with the request",
    ),
    "a join key of another type": (
        lambda: with_key(JoinKey("ip", "ip", DType.STRING)),
        "'ip' as string, but .* is int64",
    ),
}


@pytest.mark.parametrize(("make", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_parts_that_do_not_fit_are_refused_by_name(make: Callable[[], Plan], problem: str) -> None:
    with pytest.raises(PlanRefused, match=problem):
        make()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda plain: plain.pop("views"), id="a part is missing"),
        pytest.param(lambda plain: plain["columns"][0].update(dtype="int7"), id="an unknown type"),
        pytest.param(lambda plain: plain["columns"][0]["source"].update(kind="oracle"), id="an unknown source"),
        pytest.param(lambda plain: plain["columns"][0]["source"].update(more=1), id="a field too many"),
        pytest.param(lambda plain: plain.update(columns=None), id="no columns"),
    ],
)
def test_json_that_is_no_plan_is_refused(spoil: Callable[[dict[str, Any]], None]) -> None:
    plain = PLAN.to_json()
    spoil(plain)
    with pytest.raises(PlanRefused, match="plan"):
        Plan.from_json(plain)


def test_a_view_without_entities_and_a_plan_without_views_are_plans() -> None:
    total = Plan("p", "s", (View("total", (), None, ""),), (Column("n", DType.FLOAT32, Stored("total", "n")),), ("n",))
    clock = Plan(
        "p", "s", (), (Column("t", DType.TIMESTAMP, Moment()), Column("x", DType.FLOAT32, Given("request"))), ("x",)
    )
    assert [list(plan.given) for plan in (total, clock)] == [[], ["x"]]
