"""Of each key the newest row that a run takes, beside the same said row by row in Python."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import TablesRefused
from lockstep.stores.newest import NewestRows, Taken
from lockstep.stores.point_in_time import CreatedRule, ViewTable, connect
from lockstep.times import HOUR

Row = tuple[int | None, int, int | None]
"""Key, event hour, created hour."""

T0 = 1_510_000_000_000_000
HOURS = st.integers(0, 9)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(threads=1) as found:
        yield found


def table(rows: list[Row], created: bool) -> pa.Table:
    """Rows as Arrow; n is the row's number."""
    columns = {"k": pa.array([row[0] for row in rows], pa.int64()), "n": range(len(rows))}
    columns["at"] = stamps([row[1] for row in rows])
    return pa.table({**columns, **({"written": stamps([row[2] for row in rows])} if created else {})})


def hour_us(hour: int | None) -> int | None:
    return None if hour is None else T0 + hour * HOUR


def stamps(hours: Sequence[int | None]) -> pa.Array:
    return pa.array([hour_us(hour) for hour in hours], pa.int64()).cast(pa.timestamp("us", "UTC"))


def view(relation: str, created: bool) -> ViewTable:
    return ViewTable("clicks", relation, {"k": "k"}, {"n": "n"}, "at", "written" if created else None)


def found(rows: NewestRows) -> dict[int, int]:
    """Key -> number of its row."""
    batches = list(rows.batches(3))
    keys, numbers = ([value for batch in batches for value in batch.column(place).to_pylist()] for place in (0, 1))
    assert len(keys) == len(set(keys)) == rows.total
    rows.check_unchanged(len(keys))
    return dict(zip(keys, numbers, strict=True))


def takes(taken: Taken, event_us: int, created_us: int | None, rule: CreatedRule, created: bool) -> bool:
    """The rule of docs/materialize.md for one row."""
    if created and rule == "available" and created_us is None:
        return False
    changed = max(event_us, created_us if created and created_us is not None else event_us)
    if (changed if rule == "available" else event_us) > taken.until_us:
        return False
    fresh = taken.horizon_us is None or event_us >= taken.horizon_us
    return event_us >= taken.start_us or (fresh and (taken.since_us is None or changed > taken.since_us))


@given(
    rows=st.lists(
        st.tuples(st.none() | st.integers(0, 3), HOURS, st.none() | HOURS),
        max_size=14,
        unique_by=lambda row: (row[0], row[1], row[2]),
    ),
    bounds=st.tuples(HOURS, HOURS, st.none() | HOURS, st.none() | HOURS),
    created=st.booleans(),
    rule=st.sampled_from(["available", "stock"]),
)
@settings(max_examples=150, deadline=None)
def test_the_newest_row_taken_is_the_one_that_the_rule_names(
    connection: duckdb.DuckDBPyConnection,
    rows: list[Row],
    bounds: tuple[int, int, int | None, int | None],
    created: bool,
    rule: CreatedRule,
) -> None:
    if not created:
        rows = list({row[:2]: row for row in rows}.values())
    start, until, since, horizon = bounds
    taken = Taken(T0 + start * HOUR, T0 + until * HOUR, hour_us(since), hour_us(horizon))
    expected: dict[int, tuple[Any, int]] = {}
    keyless = 0
    for number, (key, event, written) in enumerate(rows):
        event_us, created_us = T0 + event * HOUR, hour_us(written)
        if takes(taken, event_us, created_us, rule, created):
            keyless += key is None
            order = (event_us, -(2**63) if created_us is None or not created else created_us)
            if key is not None and (key not in expected or order > expected[key][0]):
                expected[key] = (order, number)
    connection.register("source", table(rows, created))
    connection.execute("DROP TABLE IF EXISTS newest")
    newest = NewestRows(connection, view("source", created), taken, created_rule=rule, refuse_ties=True)
    assert found(newest) == {key: number for key, (_, number) in expected.items()}
    assert newest.keyless == keyless


def rows_of(path: Path, connection: duckdb.DuckDBPyConnection, **given_: Any) -> NewestRows:
    everything = Taken(T0, T0 + 99 * HOUR, None, None)
    settings_: dict[str, Any] = {"created_rule": "available", "refuse_ties": True, **given_}
    return NewestRows(connection, view(f"'{path}'", False), everything, **settings_)


def test_ties_are_refused_unless_one_may_be_picked(tmp_path: Path) -> None:
    pq.write_table(table([(1, 2, None), (1, 2, None), (2, 1, None)], False), tmp_path / "t.parquet")
    with connect() as one, pytest.raises(TablesRefused, match="k=1"):
        rows_of(tmp_path / "t.parquet", one)
    with connect() as two:
        assert set(found(rows_of(tmp_path / "t.parquet", two, refuse_ties=False))) == {1, 2}


def test_a_table_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table([(1, 1, None), (2, 1, None)], False), path)
    with connect() as connection:
        rows = rows_of(path, connection)
        pq.write_table(table([(1, 2, None), (2, 1, None)], False), path)
        read = sum(batch.num_rows for batch in rows.batches(10))
        with pytest.raises(TablesRefused, match=r"2 keys were found, and then 1 rows"):
            rows.check_unchanged(read)


def test_a_table_without_the_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(table([(1, 1, None)], False), tmp_path / "t.parquet")
    wrong = replace(view(f"'{tmp_path / 't.parquet'}'", False), fields={"m": "m"})
    with connect() as connection, pytest.raises(TablesRefused, match="no column 'm'"):
        NewestRows(connection, wrong, Taken(T0, T0, None, None), created_rule="available", refuse_ties=False)


def test_a_table_larger_than_the_memory_limit_is_spilled(tmp_path: Path) -> None:
    keys = pa.array(range(400_000), pa.int64())
    times = pa.array([T0] * len(keys), pa.int64()).cast(pa.timestamp("us", "UTC"))
    wide = {f"text_{n}": pa.array([f"{n}-{key:040d}" for key in range(len(keys))]) for n in range(2)}
    pq.write_table(pa.table({"k": keys, "n": keys, "at": times, **wide}), tmp_path / "t.parquet")
    with connect(memory_limit="40MB", temp_directory=str(tmp_path / "spill"), threads=1) as connection:
        rows = rows_of(tmp_path / "t.parquet", connection)
        assert sum(batch.num_rows for batch in rows.batches(10_000)) == rows.total == len(keys)
