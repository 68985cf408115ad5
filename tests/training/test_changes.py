"""What changed in a schema: two plans, and the tables of a home of which one was made again otherwise."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from feast import FeatureStore

from lockstep.home import Home
from lockstep.plan import Column, Computed, DType, Given, JoinKey, Moment, Plan, Stored, View
from lockstep.stores.repo import open_store
from lockstep.times import DAY
from tests.homes import apply
from training.changes import Change, changes, table_types
from training.plans import build_plan
from training.specs.install import SPEC

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

VIEW = View("ip_activity", (JoinKey("ip", "ip", DType.INT64),), DAY, "as it was")
PLAN = Plan(
    project="demo",
    service="install_v1",
    views=(VIEW,),
    columns=(
        Column("ip", DType.INT64, Given("join_key")),
        Column("os", DType.INT64, Given("request")),
        Column("t", DType.TIMESTAMP, Moment()),
        Column("clicks", DType.FLOAT32, Stored("ip_activity", "clicks"), 0.0),
        Column("seconds", DType.FLOAT32, Computed("seconds", ("t",), "abc")),
    ),
    inputs=("os", "clicks", "seconds"),
)


def without(name: str) -> Plan:
    kept = tuple(column for column in PLAN.columns if column.name != name)
    return replace(PLAN, columns=kept, inputs=tuple(each for each in PLAN.inputs if each != name))


def with_column(name: str, **facts: Any) -> Plan:
    columns = (replace(column, **facts) if column.name == name else column for column in PLAN.columns)
    return replace(PLAN, columns=tuple(columns))


def with_view(**facts: Any) -> Plan:
    return replace(PLAN, views=(replace(VIEW, **facts),))


def test_a_plan_beside_itself_has_not_changed() -> None:
    types = {"ip_activity": {"ip": "BIGINT", "clicks": "BIGINT"}}
    assert changes(PLAN, PLAN, types, types) == []


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (PLAN, without("clicks"), Change("clicks", "it is no longer in the feature plan", True)),
        (without("clicks"), PLAN, Change("clicks", "it is new", False)),
        (without("os"), PLAN, Change("os", "it is new, and every request must bring it", True)),
        (PLAN, with_column("os", dtype=DType.STRING), Change("os", "it is string, and was int64", True)),
        (PLAN, with_column("clicks", default=1.0), Change("clicks", "its default is 1.0, and was 0.0", False)),
        (
            PLAN,
            with_column("seconds", source=Computed("seconds", ("t",), "other")),
            Change("seconds", "its function is another", False),
        ),
        (PLAN, with_view(ttl_us=2 * DAY), Change("view ip_activity", "its TTL is another", False)),
        (PLAN, with_view(definition="new"), Change("view ip_activity", "its definition is another", False)),
    ],
    ids=["gone", "new", "new in the request", "type", "default", "function", "TTL", "definition"],
)
def test_what_differs_is_told_by_column(before: Plan, now: Plan, expected: Change) -> None:
    assert changes(before, now, {}, {}) == [expected]


def test_a_column_that_comes_from_elsewhere_is_told_with_both_places() -> None:
    (change,) = changes(PLAN, with_column("clicks", source=Stored("ip_activity", "clicks_6h")), {}, {})
    assert (change.column, change.breaks) == ("clicks", False)
    assert "clicks_6h" in change.what


@pytest.fixture
def remade(home: Home, tmp_path: Path) -> Callable[[str], FeatureStore]:
    """Feast on a copy of the small home, its table of addresses made again with other columns."""

    def remake(columns: str) -> FeatureStore:
        copy = Home(tmp_path / "home")
        shutil.copytree(home.features, copy.features)
        for path in (copy.features / "ip_activity").rglob("*.parquet"):
            made = duckdb.sql(
                f"SELECT {columns} FROM read_parquet('{path}', hive_partitioning = false)"
            ).to_arrow_table()
            duckdb.from_arrow(made).write_parquet(str(path))
        apply(copy)
        return open_store(copy)

    return remake


def test_a_table_whose_columns_changed_is_told_by_column(
    feast_store: FeatureStore, remade: Callable[[str], FeatureStore]
) -> None:
    plan, _ = build_plan(feast_store, SPEC)
    before = table_types(feast_store, plan)
    assert before["ip_activity"]["ip"] == "BIGINT"
    other = remade("* EXCLUDE (clicks_1h_by_ip) REPLACE (clicks_6h_by_ip::VARCHAR AS clicks_6h_by_ip)")
    was = before["ip_activity"]
    assert changes(plan, plan, before, table_types(other, plan)) == [
        Change(
            "clicks_1h_by_ip",
            f"it is absent in the table of view ip_activity, and was {was['clicks_1h_by_ip']}",
            True,
        ),
        Change(
            "clicks_6h_by_ip",
            f"it is VARCHAR in the table of view ip_activity, and was {was['clicks_6h_by_ip']}",
            True,
        ),
    ]
