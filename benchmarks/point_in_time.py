"""The point-in-time join: Feast through our offline store, beside Feast's DuckDB store and a join written by hand.

    python -m benchmarks.point_in_time [--json] [--scale 0.05] [--pairs 5] [--large]

500,000 spine rows against three views of 11 features each, of 3 million, 150,000 and 60,000 rows; the result as Arrow.
The tables have the shape and the TTLs of feature_repo: the large one a row per change of a key, the others a row per
key and 10-minute tick. All keys are as frequent as any other. Feast's join pairs each spine row with every row of its
key within the TTL, about 5 and twice 72 here, so its time grows with the TTL and with skew; ours does not.

Each run is a process of its own, which first joins 100 rows to be warm. Seconds go from the call with a data frame to
the Arrow table, bytes are the peak of the whole process, the import of Feast included. The first runs of all sides are
compared value by value. The floor is one statement of ASOF joins, with the TTL and in the spine's order, in a process
without Feast. The last line is one JSON object; --large adds a spine of 5 million rows over 30 million, with a memory
limit of 4 GB, into a Parquet file.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import facts
from lockstep.times import DAY, HOUR, MINUTE, from_datetime

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

__all__ = ["main"]

START_US = from_datetime(datetime(2017, 11, 6, tzinfo=UTC))
SPAN_US = 4 * DAY
TICK_US = 10 * MINUTE
SPINE_ROWS = 500_000


@dataclass(frozen=True)
class View:
    """The shape of a feature table."""

    rows: int
    keys: int
    ttl_us: int
    ticks: bool
    """A row per key and tick; else a row per change, at any time."""


VIEWS = {
    "ip": View(3_000_000, 300_000, 2 * DAY, ticks=False),
    "app": View(150_000, 150_000 * TICK_US // SPAN_US, 12 * HOUR, ticks=True),
    "channel": View(60_000, 60_000 * TICK_US // SPAN_US, 12 * HOUR, ticks=True),
}
"""By the name of the view, which is its join key too."""
FLOATS, INTEGERS = 6, 5
CHUNK = 1_000_000
SIDES = ("stock", "floor", "ours")
STORES: dict[str, dict[str, Any]] = {
    "stock": {"type": "duckdb"},
    "ours": {"type": "lockstep.stores.offline.LockstepOfflineStore"},
    "limited": {"type": "lockstep.stores.offline.LockstepOfflineStore", "memory_limit": "4GB"},
}


def features_of(view: str) -> list[str]:
    """The 11 features of a view."""
    return [f"{view}_rate_{n}" for n in range(FLOATS)] + [f"{view}_count_{n}" for n in range(INTEGERS)]


# ---- the tables


def drawn_times(random: np.random.Generator, first: int, rows: int, total: int) -> "np.ndarray[Any, Any]":
    """Rows first … first + rows of `total` ascending times in µs, no two equal."""
    step = SPAN_US // total
    return START_US + (first + np.arange(rows)) * step + random.integers(0, step, rows)


def view_chunk(random: np.random.Generator, name: str, first: int, rows: int, total: int) -> pa.Table:
    """A part of a feature table, in the order of time."""
    view, number = VIEWS[name], first + np.arange(rows)
    keys = number % view.keys if view.ticks else random.integers(0, view.keys, rows)
    times = START_US + number // view.keys * TICK_US if view.ticks else drawn_times(random, first, rows, total)
    columns: dict[str, Any] = {name: keys, "event_timestamp": pa.array(times, pa.timestamp("us", "UTC"))}
    for feature in features_of(name):
        columns[feature] = random.random(rows, np.float32) if "rate" in feature else random.integers(0, 10_000, rows)
    return pa.table(columns)


def spine_chunk(random: np.random.Generator, first: int, rows: int, total: int) -> pa.Table:
    """A part of the spine."""
    columns: dict[str, Any] = {name: random.integers(0, view.keys, rows) for name, view in VIEWS.items()}
    columns["event_timestamp"] = pa.array(drawn_times(random, first, rows, total), pa.timestamp("us", "UTC"))
    return pa.table({**columns, "row": first + np.arange(rows)})


def write_chunks(path: Path, total: int, chunk: Callable[..., pa.Table]) -> None:
    """Write a table of `total` rows a million at a time."""
    parts = (chunk(first=first, rows=min(CHUNK, total - first)) for first in range(0, total, CHUNK))
    first = next(parts)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


def write_tables(folder: Path, spine_rows: int, scale: float) -> None:
    """The spine and the tables of the views; `scale` multiplies the rows of the large view, a row per change."""
    random = np.random.default_rng(2017)
    write_chunks(folder / "spine.parquet", spine_rows, partial(spine_chunk, random, total=spine_rows))
    for name, view in VIEWS.items():
        total = view.rows if view.ticks else int(view.rows * scale)
        write_chunks(folder / f"{name}.parquet", total, partial(view_chunk, random, name, total=total))


# ---- the sides, each in a process of its own


def open_store(folder: Path, side: str) -> "FeatureStore":
    """A FeatureStore on the tables."""
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"{side}.db"),
        online_store={"type": "sqlite", "path": str(folder / f"{side}.sqlite")},
        offline_store={**STORES[side], **({"temp_directory": str(folder / "spill")} if side == "limited" else {})},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply(definitions(folder))
    return store


def definitions(folder: Path) -> list[Any]:
    """Entities and views."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float32, Int64

    made: list[Any] = []
    for name, view in VIEWS.items():
        entity = Entity(name=name, join_keys=[name], value_type=ValueType.INT64)
        fields = [Field(name=one, dtype=Float32 if "rate" in one else Int64) for one in features_of(name)]
        source = FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")
        ttl = timedelta(microseconds=view.ttl_us)
        schema = [Field(name=name, dtype=Int64), *fields]
        made += [entity, FeatureView(name=f"{name}_view", entities=[entity], ttl=ttl, source=source, schema=schema)]
    return made


def references() -> list[str]:
    """All 33 features."""
    return [f"{view}_view:{name}" for view in VIEWS for name in features_of(view)]


def floor_sql(folder: Path) -> str:
    """What one would write by hand for this output."""
    outputs, joins = [], []
    for name, view in VIEWS.items():
        fresh = f"epoch_us(s.event_timestamp) - epoch_us({name}.event_timestamp) <= {view.ttl_us}"
        outputs += [f"CASE WHEN {fresh} THEN {name}.{feature} END AS {feature}" for feature in features_of(name)]
        on = f"s.{name} = {name}.{name} AND s.event_timestamp >= {name}.event_timestamp"
        joins.append(f"ASOF LEFT JOIN '{folder}/{name}.parquet' {name} ON {on}")
    return f"SELECT s.*, {', '.join(outputs)} FROM spine s {' '.join(joins)} ORDER BY s.row"


def retrieval(folder: Path, side: str) -> "Callable[[pd.DataFrame], pa.Table]":
    """The function that is timed."""
    if side != "floor":
        store = open_store(folder, side)
        return lambda spine: store.get_historical_features(spine, references()).to_arrow()
    return lambda spine: by_hand(folder, spine)


def by_hand(folder: Path, spine: "pd.DataFrame") -> pa.Table:
    """The floor: a connection, and one statement."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET asof_loop_join_threshold = 0")  # else DuckDB plans nested loops and does not end
    return connection.register("spine", spine).sql(floor_sql(folder)).to_arrow_table()


def run_side(folder: Path, side: str) -> dict[str, float]:
    """Seconds of one retrieval and the peak of this process in bytes; the result is left in the folder."""
    import pandas as pd

    spine = pd.read_parquet(folder / "spine.parquet")
    retrieve = retrieval(folder, side)
    warnings.simplefilter(
        "ignore"
    )  # ibis, under Feast's store, calls what DuckDB has renamed; importing Feast resets -W
    retrieve(spine.head(100))
    start = perf_counter()
    table = retrieve(spine)
    seconds = perf_counter() - start
    peak = peak_bytes()
    if not (folder / f"{side}.parquet").exists():
        pq.write_table(table, folder / f"{side}.parquet")
    return {"seconds": seconds, "peak": peak}


def run_large(folder: Path) -> dict[str, float]:
    """Seconds and peak of a retrieval from a Parquet spine into a Parquet file, within the memory limit."""
    from lockstep.stores.retrieval import HistoricalJob

    store = open_store(folder, "limited")
    start = perf_counter()
    job = store.get_historical_features(str(folder / "spine.parquet"), references())
    if not isinstance(job, HistoricalJob):
        raise TypeError("the store is not ours")
    rows = job.write_parquet(folder / "large.parquet")
    return {"seconds": perf_counter() - start, "peak": peak_bytes(), "rows": rows}


def peak_bytes() -> int:
    """The largest resident size of this process so far; Linux counts it in KiB, macOS in bytes."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * 1024 if sys.platform == "linux" else largest


# ---- the parent


def in_process(folder: Path, side: str) -> dict[str, float]:
    """One run in a process of its own. Raises CalledProcessError where it fails; its errors are shown."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "benchmarks.point_in_time",
        "--side",
        side,
        "--folder",
        str(folder),
    ]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


@contextmanager
def tables(spine_rows: int, scale: float, where: str | None) -> Iterator[Path]:
    """A folder with the tables, removed at the end."""
    with TemporaryDirectory(prefix="point-in-time-", dir=where) as name:
        write_tables(Path(name), spine_rows, scale)
        yield Path(name)


def check_equal(folder: Path) -> int:
    """Compare all values of the three results, row by row; returns the number of values."""
    results = {side: pq.read_table(folder / f"{side}.parquet").sort_by("row") for side in SIDES}
    for side, table in results.items():
        for name in results["ours"].column_names:
            if not table[name].cast(results["ours"][name].type).equals(results["ours"][name]):
                raise ValueError(f"{side} and ours differ in column {name}")
    return int(results["ours"].num_rows * results["ours"].num_columns)


def compare(scale: float, pairs: int, where: str | None) -> dict[str, Any]:
    """The figures of the join that fits in memory."""
    with tables(int(SPINE_ROWS * scale), scale, where) as folder:
        runs = [{side: in_process(folder, side) for side in SIDES} for _ in range(pairs)]
        values = check_equal(folder)
    seconds = {side: [run[side]["seconds"] for run in runs] for side in SIDES}
    peak = {side: median(run[side]["peak"] for run in runs) for side in SIDES}
    return {
        "speedup": round(median(a / b for a, b in zip(seconds["stock"], seconds["ours"], strict=True)), 2),
        "over_floor": round(median(a / b for a, b in zip(seconds["ours"], seconds["floor"], strict=True)), 3),
        "memory_ratio": round(peak["ours"] / peak["stock"], 3),
        **{f"{side}_seconds": round(median(seconds[side]), 3) for side in SIDES},
        **{f"{side}_peak_gb": round(peak[side] / 1e9, 2) for side in SIDES},
        "values_equal": values,
        "pairs": pairs,
        "scale": scale,
    }


def large(scale: float, where: str | None) -> dict[str, Any]:
    """The figures of the join that does not fit in 4 GB."""
    with tables(int(5_000_000 * scale), 10 * scale, where) as folder:
        result = in_process(folder, "limited")
        rows = pq.ParquetFile(folder / "large.parquet").metadata.num_rows
    if rows != int(5_000_000 * scale):
        raise ValueError(f"{rows} rows were written")
    return {
        "large_seconds": round(result["seconds"], 1),
        "large_peak_gb": round(result["peak"] / 1e9, 2),
        "large_rows": rows,
    }


def sentences(figures: dict[str, Any]) -> Iterator[str]:
    """The figures for a person."""
    yield f"Feast DuckDB {figures['stock_seconds']} s, {figures['stock_peak_gb']} GB"
    yield f"by hand      {figures['floor_seconds']} s, {figures['floor_peak_gb']} GB"
    yield f"ours         {figures['ours_seconds']} s, {figures['ours_peak_gb']} GB"
    yield f"ours / Feast: {figures['speedup']} times as fast, {figures['memory_ratio']} of the memory"
    yield f"ours / by hand: {figures['over_floor']} of the time"
    if "large_seconds" in figures:
        yield f"{figures['large_rows']} rows in {figures['large_seconds']} s, {figures['large_peak_gb']} GB"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Point-in-time join: ours, Feast's DuckDB store and a join by hand.")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the rows of spine and large view (default 1)")
    parser.add_argument("--pairs", type=int, default=5, help="paired runs of which the median is taken (default 5)")
    parser.add_argument("--large", action="store_true", help="also 5 million rows over 30 million within 4 GB")
    parser.add_argument(
        "--folder", help="where to put the tables; with --large 4 GB of disk (default: a temporary folder)"
    )
    parser.add_argument("--side", choices=[*SIDES, "limited"], help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure, and print the figures."""
    given = arguments().parse_args()
    if given.side:
        folder = Path(given.folder).absolute()
        os.chdir(folder)  # where DuckDB spills to, unless it is told otherwise
        print(json.dumps(run_large(folder) if given.side == "limited" else run_side(folder, given.side)))
        return
    figures = compare(given.scale, given.pairs, given.folder)
    if given.large:
        figures |= large(given.scale, given.folder)
    figures["machine"] = facts("feast", "duckdb", "pyarrow", "pandas")
    if not given.json:
        print("\n".join(sentences(figures)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
