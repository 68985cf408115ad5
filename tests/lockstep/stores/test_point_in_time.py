"""The join against a reference so plain that it is obviously right, over drawn tables, spines and rules."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import BadColumn, TablesRefused
from lockstep.stores import point_in_time
from lockstep.stores.point_in_time import AsServed, CreatedRule, ViewTable, check_ties, columns_of, connect, join
from lockstep.times import HOUR, parse_time, to_datetime

T0 = parse_time("2017-11-09T04:00:00Z")
US = pa.timestamp("us", "UTC")


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return connect(threads=1)


@dataclass(frozen=True)
class Row:
    """One row of a feature table, times as offsets from T0 in µs."""

    key: int | None
    other: str | None
    event: int | None
    created: int | None
    value: int


@dataclass(frozen=True)
class Ask:
    """One row of a spine."""

    key: int | None
    other: str | None
    at: int | None


def us(offset: int | None) -> int | None:
    return None if offset is None else T0 + offset


def table_of(rows: Iterable[Row]) -> pa.Table:
    rows = list(rows)
    return pa.table(
        {
            "k": pa.array([row.key for row in rows], pa.int64()),
            "o": pa.array([row.other for row in rows], pa.string()),
            "at": pa.array([us(row.event) for row in rows], US),
            "made": pa.array([us(row.created) for row in rows], US),
            "value": pa.array([row.value for row in rows], pa.int64()),
        }
    )


def spine_of(asks: Iterable[Ask]) -> pa.Table:
    asks = list(asks)
    return pa.table(
        {
            "key": pa.array([ask.key for ask in asks], pa.int64()),
            "other": pa.array([ask.other for ask in asks], pa.string()),
            "t": pa.array([us(ask.at) for ask in asks], US),
        }
    )


VIEW = ViewTable(
    name="v",
    relation="rows",
    keys={"k": "key", "o": "other"},
    fields={"value": "v__value"},
    timestamp="at",
    created="made",
)


def run(
    connection: duckdb.DuckDBPyConnection, rows: list[Row], asks: list[Ask], view: ViewTable, **options: Any
) -> list[tuple[Any, ...]]:
    """(v__value, v__event_timestamp in µs from T0) for each spine row; None for a time that was not asked for."""
    connection.register("rows", table_of(rows))
    connection.register("spine", spine_of(asks))
    table = join(connection, "spine", "t", [view], **{"timestamps": True, **options}).to_arrow_table()
    assert table.select(["key", "other", "t"]).equals(spine_of(asks))
    named = "v__event_timestamp" in table.column_names
    times = table["v__event_timestamp"].cast(pa.int64()).to_pylist() if named else [None] * len(asks)
    return [
        (value, None if time is None else time - T0)
        for value, time in zip(table["v__value"].to_pylist(), times, strict=True)
    ]


def newest(row: Row) -> tuple[int, int]:
    assert row.event is not None
    return (row.event, -(10**18) if row.created is None else row.created)


def known(row: Row, view: ViewTable, rule: CreatedRule, upto: int) -> bool:
    """The row counts at a time: by its event time, and under `available` by its created time too."""
    if row.event is None or row.event > upto:
        return False
    return view.created is None or rule == "stock" or (row.created is not None and row.created <= upto)


def reference(rows: list[Row], ask: Ask, view: ViewTable, rule: CreatedRule, runs: list[int] | None) -> tuple[Any, ...]:
    if ask.at is None or (view.keys and (ask.key is None or ask.other is None)):
        return (None, None)
    upto = ask.at if runs is None else max((run for run in runs if run <= ask.at), default=None)
    same = [row for row in rows if not view.keys or (row.key, row.other) == (ask.key, ask.other)]
    usable = [row for row in same if upto is not None and known(row, view, rule, upto)]
    if not usable:
        return (None, None)
    best = max(usable, key=newest)
    fresh = view.ttl_us is None or ask.at - (best.event or 0) <= view.ttl_us
    return (best.value if fresh else None, best.event)


keys = st.sampled_from([1, 2, None])
others = st.sampled_from(["a", "b", None])
times = st.integers(0, 12)
maybe_time = st.one_of(times, st.none())
drawn_rows = st.lists(
    st.builds(Row, key=keys, other=others, event=maybe_time, created=maybe_time, value=st.integers(0, 99)), max_size=24
)
drawn_asks = st.lists(st.builds(Ask, key=keys, other=others, at=maybe_time), max_size=12)
views = st.builds(
    lambda ttl, created, keyed: replace(
        VIEW, ttl_us=ttl, created="made" if created else None, keys=VIEW.keys if keyed else {}
    ),
    ttl=st.one_of(st.none(), st.integers(0, 6)),
    created=st.booleans(),
    keyed=st.booleans(),
)
rules: st.SearchStrategy[CreatedRule] = st.sampled_from(["available", "stock"])


def without_ties(rows: list[Row], view: ViewTable) -> list[Row]:
    """One row a key, event and (where the view knows it) created time."""

    def identity(row: Row) -> tuple[Any, ...]:
        key = (row.key, row.other) if view.keys else ()
        return (*key, row.event, row.created if view.created else None)

    return list({identity(row): row for row in rows}.values())


@settings(max_examples=100, deadline=None)
@given(
    rows=drawn_rows,
    asks=drawn_asks,
    view=views,
    rule=rules,
    runs=st.one_of(st.none(), st.lists(times, max_size=4)),
    bounded=st.booleans(),
)
def test_the_join_is_the_reference_row_by_row(
    connection: duckdb.DuckDBPyConnection,
    rows: list[Row],
    asks: list[Ask],
    view: ViewTable,
    rule: CreatedRule,
    runs: list[int] | None,
    bounded: bool,
) -> None:
    rows = without_ties(rows, view)
    asked = [T0 + ask.at for ask in asks if ask.at is not None]
    between = (min(asked), max(asked)) if bounded and asked else None
    served = None if runs is None else AsServed([T0 + run for run in runs])
    expected = [reference(rows, ask, view, rule, runs) for ask in asks]
    for timestamps in (True, False):
        options = {"as_served": served, "created_rule": rule, "between_us": between, "timestamps": timestamps}
        found = run(connection, rows, asks, view, **options)
        assert found == (expected if timestamps else [(value, None) for value, _ in expected])


@settings(max_examples=60, deadline=None)
@given(rows=drawn_rows, view=views)
def test_ties_are_refused_and_nothing_else_is(
    connection: duckdb.DuckDBPyConnection, rows: list[Row], view: ViewTable
) -> None:
    joinable = [
        row
        for row in rows
        if row.event is not None and (not view.keys or (row.key is not None and row.other is not None))
    ]
    connection.register("rows", table_of(rows))
    if len(without_ties(joinable, view)) == len(joinable):
        check_ties(connection, view)
    else:
        with pytest.raises(TablesRefused, match="more than one row has the same key"):
            check_ties(connection, view)


def test_ties_are_named_with_key_and_times(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("rows", table_of([Row(7, "a", 0, HOUR, 1), Row(7, "a", 0, HOUR, 2), Row(7, "b", 0, HOUR, 3)]))
    with pytest.raises(TablesRefused) as refused:
        join(connection, "(SELECT 7 AS key, 'a' AS other, TIMESTAMP '2017-11-09' AS t)", "t", [VIEW])
    assert "k=7, o='a', at=2017-11-09T04:00:00Z, made=2017-11-09T05:00:00Z (2 rows)" in str(refused.value)
    assert "o='b'" not in str(refused.value)


def test_ties_are_found_in_several_passes(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(point_in_time, "ROWS_PER_PASS", 3)
    rows = [Row(key, "a", 0, 0, key) for key in range(20)]
    connection.register("rows", table_of(rows))
    check_ties(connection, VIEW)
    connection.register("rows", table_of([*rows, rows[11]]))
    with pytest.raises(TablesRefused, match="k=11"):
        check_ties(connection, VIEW)


@pytest.mark.parametrize(
    ("at", "found"),
    [(9, (None, None)), (10, (1, 10)), (15, (1, 10)), (16, (None, 10))],
    ids=["a microsecond before the row", "at the row", "at the bound of the TTL", "a microsecond past it"],
)
def test_time_and_ttl_are_exact_to_the_microsecond(
    connection: duckdb.DuckDBPyConnection, at: int, found: tuple[int | None, int | None]
) -> None:
    rows, view = [Row(1, "a", 10, None, 1)], replace(VIEW, created=None, ttl_us=5)
    assert run(connection, rows, [Ask(1, "a", at)], view) == [found]


def test_a_late_correction_counts_from_the_time_it_arrived(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [Row(1, "a", 10, 10, 1), Row(1, "a", 10, 20, 2), Row(1, "a", 5, 30, 3)]
    asks = [Ask(1, "a", at) for at in (10, 19, 20, 30)]
    assert [value for value, _ in run(connection, rows, asks, VIEW)] == [1, 1, 2, 2]
    assert [value for value, _ in run(connection, rows, asks, VIEW, created_rule="stock")] == [2, 2, 2, 2]


@pytest.mark.parametrize("rule", ["available", "stock"])
def test_of_each_key_and_time_at_most_one_row_begins_to_count_and_it_is_the_newest(
    connection: duckdb.DuckDBPyConnection, rule: CreatedRule
) -> None:
    shuffled = np.random.default_rng(3).permutation(4 * 40 * 40).tolist()
    rows = [Row(n % 4, "a", n // 4 % 40, n // 160, n) for n in shuffled]
    connection.register("rows", table_of(rows))
    sql = point_in_time.rows_sql(VIEW, columns_of(connection, "rows"), rule)
    kept = connection.execute(f"SELECT k, __from_us - {T0}, value FROM ({sql})").fetchall()

    def expected(key: int, since: int) -> int:
        there = [row for row in rows if row.key == key and known(row, VIEW, rule, since)]
        return max(there, key=newest).value

    assert sorted(kept) == [(key, since, expected(key, since)) for key in range(4) for since in range(40)]


def test_stale_values_come_back_where_the_caller_judges_them(connection: duckdb.DuckDBPyConnection) -> None:
    rows, view = [Row(1, "a", 0, 0, 9)], replace(VIEW, ttl_us=5)
    assert run(connection, rows, [Ask(1, "a", 6)], view, apply_ttl=False) == [(9, 0)]


def test_as_served_takes_each_view_by_its_own_runs(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("rows", table_of([Row(1, "a", 0, 0, 1), Row(1, "a", 10, 10, 2)]))
    connection.register("spine", spine_of([Ask(1, "a", 12)]))
    views = [VIEW, replace(VIEW, name="w", fields={"value": "w__value"})]
    served = AsServed([T0 + 5], by_view={"w": [T0 + 11]})
    table = join(connection, "spine", "t", views, as_served=served).to_arrow_table()
    assert table.select(["v__value", "w__value"]).to_pylist() == [{"v__value": 1, "w__value": 2}]


def test_a_period_gives_runs_up_to_and_with_its_end() -> None:
    assert AsServed.every(10, 0, 20).of("any") == (0, 10, 20)


@pytest.mark.parametrize(
    "column", ["TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ", "VARCHAR", "DATE"]
)
@pytest.mark.parametrize(
    "spine", ["TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ", "VARCHAR", "DATE"]
)
def test_times_of_every_type_are_read_as_utc(connection: duckdb.DuckDBPyConnection, column: str, spine: str) -> None:
    view = ViewTable("v", f"(SELECT '2017-11-09'::{column} AS at, 1 AS value)", {}, {"value": "value"}, "at")
    asks = f"(SELECT unnest(['2017-11-08', '2017-11-09'])::{spine} AS t)"
    table = join(connection, asks, "t", [view], timestamps=True).to_arrow_table()
    assert table["value"].to_pylist() == [None, 1]
    assert table["v__event_timestamp"].to_pylist() == [None, datetime(2017, 11, 9, tzinfo=UTC)]
    assert table.schema.field("v__event_timestamp").type == US


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_arrow_times_of_every_unit_and_zone_are_one_moment(
    connection: duckdb.DuckDBPyConnection, unit: str, zone: str | None
) -> None:
    times = pa.array([to_datetime(T0)]).cast(pa.timestamp(unit, zone))
    connection.register("rows", pa.table({"at": times, "value": [1]}))
    connection.register("spine", pa.table({"t": pa.array([T0 - 1, T0], US)}))
    view = ViewTable("v", "rows", {}, {"value": "value"}, "at")
    assert join(connection, "spine", "t", [view]).to_arrow_table()["value"].to_pylist() == [None, 1]


@pytest.mark.parametrize(
    "column", ["TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ", "VARCHAR"]
)
def test_known_bounds_of_the_spine_lose_no_row(connection: duckdb.DuckDBPyConnection, column: str) -> None:
    times = ["2017-11-08 22:59:59", "2017-11-08 23:00:00", "2017-11-09 00:00:00", "2017-11-09 00:00:01"]
    rows = f"(SELECT unnest({times})::{column} AS at, unnest([1, 2, 3, 4]) AS k, 1 AS value)"
    view = ViewTable("v", rows, {"k": "k"}, {"value": "value"}, "at", ttl_us=HOUR)
    spine = "(SELECT unnest([1, 2, 3, 4]) AS k, TIMESTAMP '2017-11-09' AS t)"
    at = parse_time("2017-11-09")
    found = join(connection, spine, "t", [view], between_us=(at, at)).to_arrow_table()
    assert found["value"].to_pylist() == [None, 1, 1, None]


def test_a_nanosecond_after_the_last_t_is_cut_to_it(connection: duckdb.DuckDBPyConnection) -> None:
    view = ViewTable(
        "v", "(SELECT make_timestamp_ns(1_510_000_000_000_000_999) AS at, 1 AS value)", {}, {"value": "value"}, "at"
    )
    at = 1_510_000_000_000_000
    for between in (None, (at, at)):
        found = join(connection, f"(SELECT make_timestamptz({at}) AS t)", "t", [view], between_us=between)
        assert found.to_arrow_table()["value"].to_pylist() == [1]


def test_rows_keep_their_order_and_their_duplicates(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("rows", table_of([Row(key, "a", 0, 0, key) for key in range(1000)]))
    wanted = [(number * 7919) % 500 for number in range(5000)]
    connection.register("spine", spine_of([Ask(key, "a", 1) for key in wanted]))
    table = join(connection, "spine", "t", [VIEW]).to_arrow_table()
    assert table["key"].to_pylist() == wanted
    assert table["v__value"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (replace(VIEW, fields={"valu": "x"}), "view 'v': its table has no column 'valu'. Did you mean 'value'?"),
        (replace(VIEW, timestamp="value"), "view 'v': column 'value' is BIGINT, not a time."),
    ],
    ids=["unknown column", "a number as time"],
)
def test_tables_that_cannot_be_joined_are_refused(
    connection: duckdb.DuckDBPyConnection, view: ViewTable, message: str
) -> None:
    connection.register("rows", table_of([]))
    connection.register("spine", spine_of([]))
    with pytest.raises(TablesRefused) as refused:
        join(connection, "spine", "t", [view])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("spine", "message"),
    [
        (
            "(SELECT 1 AS ke, 'a' AS other, now() AS t)",
            "view 'v' joins on it and the spine does not have it. Did you mean 'key'?",
        ),
        ("(SELECT '1' AS key, 'a' AS other, now() AS t)", "it is VARCHAR in the spine and BIGINT in view 'v'"),
        ("(SELECT 1 AS key, 'a' AS other, 5 AS t)", "the spine needs a timestamp here"),
        ("(SELECT 1 AS key, 'a' AS other, now() AS t, 1 AS v__value)", "both the spine and view 'v' give this column"),
        ("(SELECT 1 AS key, 'a' AS other, now() AS t, 1 AS __row)", "the join needs this name for itself"),
    ],
    ids=["missing key", "text against a number", "no time", "same name", "reserved name"],
)
def test_spines_that_cannot_be_joined_are_refused(
    connection: duckdb.DuckDBPyConnection, spine: str, message: str
) -> None:
    connection.register("rows", table_of([]))
    with pytest.raises(BadColumn) as refused:
        join(connection, spine, "t", [VIEW])
    assert message.split(" Did")[0] in str(refused.value)


def test_a_limit_on_memory_makes_the_join_spill_and_not_fail(tmp_path: Any) -> None:
    small = connect(memory_limit="120MB", temp_directory=str(tmp_path), threads=1)
    columns = "range % 1000 AS k, make_timestamptz(range * 1000) AS at, range AS value, hash(range) AS more"
    rows = f"(SELECT {columns} FROM range(3_000_000))"
    spine = "(SELECT range % 1000 AS k, make_timestamptz(range * 30000) AS t FROM range(100_000))"
    view = ViewTable("v", rows, {"k": "k"}, {"value": "value", "more": "more"}, "at")
    sql = join(small, spine, "t", [view], refuse_ties=False)
    assert sql.aggregate("count(value) AS found").fetchall() == [(100_000,)]
