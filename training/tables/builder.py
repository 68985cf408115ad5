"""Building the feature tables day by day: a day whose inputs have not changed is kept as it is.

Each file carries the fingerprint of what it was made from in its own Parquet metadata, so that the two are replaced
together, in one rename, and can never disagree.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lockstep.files import whole_file
from lockstep.home import Home
from lockstep.progress import bar
from lockstep.times import DAY, from_datetime
from training.events.log import check_day_file, date_of, day_files, log_span
from training.tables.check import check_unique, connected
from training.tables.specs import TABLES, TableSpec, definition

__all__ = ["BuildReport", "build", "table_files"]

_FILE = "part.parquet"
_FINGERPRINT = b"lockstep.fingerprint"
_ROWS_AT_ONCE = 500_000
_DAYS_AT_ONCE = 8


@dataclass
class BuildReport:
    """What a build did, by table."""

    built: dict[str, dict[date, int]] = field(default_factory=lambda: {name: {} for name in TABLES})
    """Rows written, by day."""
    kept: dict[str, list[date]] = field(default_factory=lambda: {name: [] for name in TABLES})
    """Days that were up to date."""
    removed: dict[str, list[date]] = field(default_factory=lambda: {name: [] for name in TABLES})
    """Days that the log no longer reaches."""


@dataclass(frozen=True)
class _Log:
    """The log as a build sees it."""

    files: dict[date, Path]
    hashes: dict[date, str]
    first_day: date
    horizon: int
    """The last instant at which the log says anything, µs: one after the last click. No row is dated later."""

    def days(self) -> list[date]:
        """Every day from the first click to the horizon, days without clicks included."""
        count = (date_of(self.horizon) - self.first_day).days + 1
        return [self.first_day + timedelta(days=number) for number in range(count)]

    def inputs(self, spec: TableSpec, day: date) -> list[date]:
        """The days of the log that can matter to one day of a table."""
        oldest = date_of(_start(day) - spec.lookback)
        return [other for other in self.files if oldest <= other <= day]


@dataclass(frozen=True)
class _Task:
    """One day of one table."""

    day: date
    inputs: list[date]
    fingerprint: str
    path: Path


def _start(day: date) -> int:
    return from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC))


def table_files(home: Home, table: str) -> dict[date, Path]:
    """The files of one table, first day first; none where it was never built."""
    found = sorted((home.features / table).glob(f"day=*/{_FILE}"))
    return {date.fromisoformat(path.parent.name.removeprefix("day=")): path for path in found}


def build(home: Home, full: bool = False) -> BuildReport:
    """Bring every feature table up to date with the click log; with `full`, build every day anew.

    A day is built when the days of the log that it looks back on, its part of the horizon or the table's definition
    changed; the result equals a full build value for value. Days that the log no longer reaches are removed.
    Raises BadFile where there is no log, TablesRefused where a table has two rows with one key and time.
    """
    log = _read_log(home)
    report = BuildReport()
    days = log.days()
    with connected() as db, bar("feature tables", len(TABLES) * len(days)) as advance:
        for spec in TABLES.values():
            tasks = [_task(home, log, spec, day) for day in days]
            stale = [task for task in tasks if full or _fingerprint(task.path) != task.fingerprint]
            report.kept[spec.name] = sorted(set(days) - {task.day for task in stale})
            advance(len(report.kept[spec.name]))
            for run in _runs(stale):
                report.built[spec.name] |= _build_run(db, log, spec, run)
                advance(len(run))
    _remove_old_days(home, set(days), report)
    return report


def _read_log(home: Home) -> _Log:
    files = day_files(home.events)
    for path in files.values():
        check_day_file(path)
    first, last = log_span(home.events)
    return _Log(files, {day: _sha256(path) for day, path in files.items()}, date_of(first), last + 1)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _task(home: Home, log: _Log, spec: TableSpec, day: date) -> _Task:
    inputs = log.inputs(spec, day)
    horizon = min(log.horizon, _start(day) + DAY - 1)
    facts = [definition(spec.name), str(day), horizon, [[str(other), log.hashes[other]] for other in inputs]]
    fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return _Task(day, inputs, fingerprint, home.features / spec.name / f"day={day}" / _FILE)


def _runs(tasks: Sequence[_Task]) -> Iterator[list[_Task]]:
    """Days that follow one another, at most _DAYS_AT_ONCE: one query reads what they look back on once for all."""
    run: list[_Task] = []
    for task in tasks:
        if run and (len(run) == _DAYS_AT_ONCE or task.day - run[-1].day > timedelta(days=1)):
            yield run
            run = []
        run.append(task)
    if run:
        yield run


def _fingerprint(path: Path) -> str | None:
    """What a day's file was made from; None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
        return metadata.get(_FINGERPRINT, b"").decode()
    except pa.ArrowException:  # no Parquet file: it is built anew
        return None


def _build_run(db: duckdb.DuckDBPyConnection, log: _Log, spec: TableSpec, run: Sequence[_Task]) -> dict[date, int]:
    """Compute, check and write some days of one table; returns their rows. The old files stay until all are checked."""
    with ExitStack() as files:
        beside = {task.day: files.enter_context(whole_file(task.path)) for task in run}
        with ExitStack() as open_files:
            writers = {task.day: open_files.enter_context(_writer(beside[task.day], spec, task)) for task in run}
            rows = dict.fromkeys(writers, 0)
            for day, part in _by_day(_compute(db, log, spec, run)):
                writers[day].write_table(part.cast(spec.schema))
                rows[day] += part.num_rows
        check_unique(spec.name, list(beside.values()), spec.keys, db=db)
    return rows


def _writer(path: Path, spec: TableSpec, task: _Task) -> pq.ParquetWriter:
    schema = spec.schema.with_metadata({_FINGERPRINT: task.fingerprint.encode()})
    return pq.ParquetWriter(path, schema, compression="zstd")


def _compute(
    db: duckdb.DuckDBPyConnection, log: _Log, spec: TableSpec, run: Sequence[_Task]
) -> Iterator[pa.RecordBatch]:
    """The rows of some days that follow one another, in order of event_timestamp."""
    inputs = sorted({day for task in run for day in task.inputs})
    if not inputs:
        return
    clicks = db.read_parquet([str(log.files[day]) for day in inputs], hive_partitioning=False)
    clicks.project(
        "ip, app, device, os, channel, epoch_us(click_time) AS click_us, epoch_us(attributed_time) AS attributed_us"
    ).create_view("clicks", replace=True)
    bounds = {"start": _start(run[0].day), "stop": _start(run[-1].day) + DAY, "horizon": log.horizon}
    yield from db.execute(definition(spec.name), bounds).to_arrow_reader(_ROWS_AT_ONCE)


def _by_day(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[date, pa.Table]]:
    """The same rows, cut where the day of event_timestamp changes."""
    for batch in batches:
        days = batch["event_timestamp"].cast(pa.int64()).to_numpy() // DAY
        starts = np.unique(days, return_index=True)[1]
        for start, end in zip(starts, [*starts[1:], len(days)], strict=True):
            yield date_of(int(days[start]) * DAY), pa.Table.from_batches([batch.slice(start, end - start)])


def _remove_old_days(home: Home, days: set[date], report: BuildReport) -> None:
    for name in TABLES:
        for day, path in table_files(home, name).items():
            if day not in days:
                shutil.rmtree(path.parent)
                report.removed[name].append(day)
