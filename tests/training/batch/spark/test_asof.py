"""The join on Spark beside the one in DuckDB, on the same files: the same rule for time, for every form of a time."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockstep.errors import TablesRefused
from lockstep.stores.point_in_time import ViewTable, check_ties, connect
from lockstep.stores.point_in_time import join as join_in_duckdb
from lockstep.times import DAY, HOUR
from training.given import whole_us

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from training.batch.spark.tables import Table

# PySpark leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

UTC_US = pa.timestamp("us", tz="UTC")
START = 19_000 * DAY
ROWS, ASKING = 2_000, 500
ODD = "a `name`. of its own"


def moments(rng: np.random.Generator, count: int, step: int = HOUR) -> pa.Array:
    """Times of ten days, many of them equal to each other and to times of other tables; one in fifty NULL."""
    us = START + rng.integers(0, 10 * DAY // step, count) * step
    return pa.array(us, pa.int64(), mask=rng.random(count) < 0.02).cast(UTC_US)


def columns(rng: np.random.Generator) -> dict[str, pa.Array]:
    """What the tables are made of: keys with NULLs, event times, created times before and after them, values."""
    keys = pa.array(rng.integers(0, 12, ROWS), mask=rng.random(ROWS) < 0.02)
    texts = pa.array([f"user {number}" for number in rng.integers(0, 12, ROWS)])
    values = pa.array(rng.normal(size=ROWS), mask=rng.random(ROWS) < 0.1)
    return {"a": keys, "b": texts, "at": moments(rng, ROWS), "made": moments(rng, ROWS, HOUR // 7), "value": values}


def unique(table: pa.Table, *names: str) -> pa.Table:
    """Of rows with the same key and times the first: nothing says which of them counts."""
    numbered = table.append_column("n", pa.array(range(len(table))))
    first = numbered.group_by(list(names)).aggregate([("n", "min")])["n_min"]
    return table.take(first.sort())


def corrected(made: dict[str, pa.Array]) -> tuple[pa.Table, ViewTable]:
    table = pa.table({**made, ODD: made["value"]}).select(["a", "b", "at", "made", ODD])
    view = ViewTable("corrected", "", {"a": "asked_a", "b": "asked_b"}, {ODD: "corrected__value"}, "at", "made")
    return unique(table, "a", "b", "at", "made"), view


def nanoseconds(made: dict[str, pa.Array]) -> tuple[pa.Table, ViewTable]:
    ns = pa.timestamp("ns", tz="UTC")
    table = pa.table({"a": made["a"], "at": made["at"].cast(ns), "made": made["made"].cast(ns)})
    view = ViewTable("nano", "", {"a": "asked_a"}, {"made": "nano__made"}, "at", "made")
    return unique(table, "a", "at", "made"), view


def texts(made: dict[str, pa.Array]) -> tuple[pa.Table, ViewTable]:
    at = pa.array([None if one is None else one.isoformat() for one in made["at"].to_pylist()])
    view = ViewTable("text", "", {"b": "asked_b"}, {"value": "text__value"}, "at")
    return unique(pa.table({"b": made["b"], "at": at, "value": made["value"]}), "b", "at"), view


def days(made: dict[str, pa.Array]) -> tuple[pa.Table, ViewTable]:
    table = pa.table({"a": made["a"].cast(pa.int32()), "at": made["at"].cast(pa.date32()), "value": made["value"]})
    return unique(table, "a", "at"), ViewTable("day", "", {"a": "asked_a"}, {"value": "day__value"}, "at")


def keyless(made: dict[str, pa.Array]) -> tuple[pa.Table, ViewTable]:
    table = pa.table({"at": made["at"].cast(pa.timestamp("ms")), "value": made["value"]})
    return unique(table, "at"), ViewTable("whole", "", {}, {"value": "whole__value"}, "at")


def written(folder: Path, table: pa.Table, view: ViewTable) -> ViewTable:
    """A table in two files, of which the second was written before there was a column `value`."""
    path = folder / view.name
    path.mkdir()
    pq.write_table(table.slice(0, len(table) // 2), path / "0.parquet", version="2.6")
    older = [name for name in table.column_names if name != "value"]
    pq.write_table(table.slice(len(table) // 2).select(older), path / "1.parquet", version="2.6")
    return replace(view, relation=f"read_parquet('{path}/*.parquet', union_by_name = true)")


def opened(spark: "SparkSession", folder: Path, view: ViewTable) -> "Table":
    from training.batch.spark.session import RULES
    from training.batch.spark.tables import read

    session = spark.newSession()
    for name, value in RULES.items():
        session.conf.set(name, value)
    files = sorted((folder / view.name).glob("*.parquet"))
    return read(session, view, [str(path) for path in files], map(pq.read_schema, files))


def asking(rng: np.random.Generator) -> pa.Table:
    """Rows that ask at times of the tables and between them, one key in thirteen of which no table knows."""
    us = START - HOUR + rng.integers(0, 250, ASKING) * HOUR + rng.choice([0, -1, 1], ASKING)
    return pa.table(
        {
            "row": pa.array(range(ASKING), pa.int64()),
            "__t_us": pa.array(us, pa.int64()),
            "asked_a": pa.array(rng.integers(0, 13, ASKING)),
            "asked_b": pa.array([f"user {number}" for number in rng.integers(0, 13, ASKING)]),
        }
    )


def plain(rows: pa.Table) -> dict[str, list[Any]]:
    """Every column as Python's values, times as µs."""
    return {
        name: (whole_us(values) if pa.types.is_timestamp(values.type) else values).to_pylist()
        for name, values in zip(rows.column_names, rows.columns, strict=True)
    }


def test_the_join_finds_the_rows_that_duckdb_finds(spark: "SparkSession", tmp_path: Path) -> None:
    from training.batch.spark.asof import join

    rng = np.random.default_rng(7)
    forms: list[Callable[..., tuple[pa.Table, ViewTable]]] = [corrected, nanoseconds, texts, days, keyless]
    views = [written(tmp_path, *form(columns(rng))) for form in forms]
    spine = asking(rng)
    tables = [opened(spark, tmp_path, view) for view in views]
    asked = tables[0].frame.sparkSession.createDataFrame(spine)
    ours = plain(join(asked, tables).toArrow().sort_by("row"))
    connection = connect()
    connection.register("spine", spine.append_column("t", spine["__t_us"].cast(UTC_US)).drop_columns(["__t_us"]))
    theirs = plain(join_in_duckdb(connection, "spine", "t", views, timestamps=True, apply_ttl=False).to_arrow_table())
    for name in theirs.keys() - {"t"}:
        assert ours[name] == theirs[name], name
        assert sum(value is not None for value in theirs[name]) > ASKING / 5, f"{name} says something"
    assert any(value is None for value in theirs["corrected__event_timestamp"])


def test_rows_of_one_key_and_time_are_refused_in_the_same_words(spark: "SparkSession", tmp_path: Path) -> None:
    at = pa.array([START, START, START + HOUR, START, None, None], pa.int64()).cast(UTC_US)
    table = pa.table({"a": pa.array([1, 1, 1, None, 1, 1]), "at": at, "made": at})
    view = written(tmp_path, table, ViewTable("tied", "", {"a": "asked_a"}, {}, "at", "made"))
    with pytest.raises(TablesRefused, match=r"1 times more than one row has the same key .* \(2 rows\)") as theirs:
        check_ties(connect(), view)
    with pytest.raises(TablesRefused) as ours:
        opened(spark, tmp_path, view).check_ties()
    assert str(ours.value) == str(theirs.value)


def test_a_table_that_spark_cannot_read_as_one_is_refused(spark: "SparkSession", tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    for number, unit in enumerate(("ns", "us")):
        at = pa.array([START], pa.int64()).cast(UTC_US).cast(pa.timestamp(unit, tz="UTC"))
        pq.write_table(pa.table({"a": [1], "at": at}), tmp_path / "mixed" / f"{number}.parquet", version="2.6")
    with pytest.raises(TablesRefused, match="column 'at' has nanoseconds in some files and not in others"):
        opened(spark, tmp_path, ViewTable("mixed", "", {"a": "asked_a"}, {}, "at"))


def test_a_table_without_a_column_is_refused(spark: "SparkSession", tmp_path: Path) -> None:
    day = date(2022, 1, 1)
    table = pa.table({"a": [1, 2], "at": [day, day + timedelta(days=1)]})
    view = written(tmp_path, table, ViewTable("short", "", {"a": "asked_a"}, {"values": "v"}, "at"))
    with pytest.raises(TablesRefused, match="view 'short': its table has no column 'values'"):
        opened(spark, tmp_path, view)
