"""Fill Redis with the newest usable row of each key of one feature view.

What a run takes is decided by the watermark in Redis, not by what the run was called: see docs/materialize.md.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import duckdb
import pyarrow as pa
from feast import FeatureView, RepoConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.value_type import ValueType
from redis.exceptions import RedisClusterException, RedisError

from lockstep.errors import BadRequest, LockstepError, MaterializeFailed, WritesUnconfirmed
from lockstep.rows import pack_columns
from lockstep.schema import DType
from lockstep.stores.ahead import ahead
from lockstep.stores.newest import NewestRows, Taken
from lockstep.stores.online import LockstepOnlineStore
from lockstep.stores.point_in_time import connect
from lockstep.stores.records import Fill, begin_fill, raise_watermark
from lockstep.stores.redis_connect import Client
from lockstep.stores.redis_write import Prepared, Replace, RowWriter, WriteCounts
from lockstep.stores.values import opaque
from lockstep.stores.views import StoredView
from lockstep.stores.wanted import Wanted
from lockstep.times import format_time, now_us, parse_duration

__all__ = ["LATENESS_TAG", "Bar", "Job", "Report", "materialize"]

LATENESS_TAG: Final = "lockstep.lateness"
"""A tag of a feature view: how long after its event time a row may still turn up in the table, e.g. 2h."""

BATCH_ROWS: Final = 50_000
"""Rows of a batch: some MB of Arrow and of packed bytes each. Larger ones were not faster."""

_AHEAD: Final = 2
"""Batches packed before Redis asks for them: one to send, one for when DuckDB is slow."""

"""Columns beside the features, under names that no feature has."""

_FAILURES: Final = (LockstepError, RedisError, RedisClusterException, duckdb.Error, pa.ArrowException)


class Bar(Protocol):
    """A progress bar, as tqdm's."""

    def update(self, n: int) -> Any:
        """So many more rows are done."""
        ...

    def close(self) -> None:
        """Leave it as it stands."""
        ...


@dataclass(frozen=True)
class Job:
    """What is asked for: one view up to `end_us`, with the rows from `start_us` on in any case."""

    config: RepoConfig
    store: LockstepOnlineStore
    table: FeatureView
    start_us: int
    end_us: int
    command: str
    """What a person runs to go on after a failure."""
    replace: Replace = Replace.OLDER
    whole: bool = False
    """Take all rows, whatever the watermark says."""
    bar: Callable[[int], Bar] | None = None

    @property
    def view(self) -> StoredView:
        """The view as it lies in Redis."""
        return self.store.stored_view(self.config, self.table)


@dataclass(frozen=True)
class Report:
    """What a run did."""

    view: str
    counts: WriteCounts
    since_us: int | None
    """The watermark that it went on from; None where it took everything."""
    until_us: int
    seconds: float
    redefined: bool
    """Whether it took everything because the view's definition changed."""

    def __str__(self) -> str:
        """One line for a person."""
        named = {
            "written": self.counts.written,
            "same": self.counts.same,
            "older": self.counts.older,
            "future": self.counts.future,
            "keyless": self.counts.keyless,
        }
        sent = self.counts.written + self.counts.same + self.counts.older
        counted = ", ".join(f"{count:,} {name}" for name, count in named.items())
        rate = f"{self.seconds:.1f} s, {sent / max(self.seconds, 1e-3):,.0f} rows/s"
        return f"{self.view}: {counted} ({self._range}; {rate})"

    @property
    def _range(self) -> str:
        until = format_time(self.until_us)
        if self.since_us is not None:
            return f"since {format_time(self.since_us)} up to {until}"
        return f"{'its definition changed: ' if self.redefined else ''}whole up to {until}"


def materialize(job: Job) -> Report:
    """Write the rows that the job takes, and raise the view's watermark when all are confirmed.

    Kill it, run it again, run it twice at once: a row gives way only to a newer one. Raises TablesRefused before
    anything is written, MaterializeFailed where it ends halfway.
    """
    started, clock = time.monotonic(), now_us()
    client, record, until_us = job.store.client(job.config), job.view.record, min(job.end_us, clock)
    fill = _begin(job, client)
    redefined = fill.definition not in (None, record.definition)
    if redefined and job.replace is Replace.OLDER:
        job = replace(job, replace=Replace.SAME)
    taken = _all_rows(job, fill, until_us) if redefined or job.whole else _taken(job, fill.watermark_us, until_us)
    with closing(_connection(job.config)) as connection:
        rows = _newest(job, connection, taken)
        future = rows.counting_between(clock, job.end_us) if job.end_us > clock else 0
        writer = job.store.writer(job.config, job.view, job.replace)
        _write(job, rows, writer)
    _finish(job, client, fill, until_us, writer.counts.total)
    counts = writer.counts + WriteCounts(future=future, keyless=rows.keyless)
    return Report(record.view, counts, taken.since_us, until_us, time.monotonic() - started, redefined)


def _begin(job: Job, client: Client) -> Fill:
    try:
        return begin_fill(client, job.view.record)
    except (RedisError, RedisClusterException) as error:
        raise _failed(job, 0, None, error) from error


def _taken(job: Job, watermark_us: int | None, until_us: int) -> Taken:
    """Never past the clock: what is dated later is taken by a later run, whatever end this one was given."""
    since_us = None if watermark_us is None else watermark_us - _lateness_us(job.table)
    return Taken(job.start_us, until_us, since_us, _horizon_us(job, until_us))


def _all_rows(job: Job, fill: Fill, until_us: int) -> Taken:
    """Every row that may be in Redis by now."""
    last_us = until_us if fill.watermark_us is None else min(fill.watermark_us, until_us)
    return Taken(job.start_us, until_us, None, _horizon_us(job, last_us))


def _horizon_us(job: Job, t_us: int) -> int | None:
    """A row older than this would have expired by t, had it been written at its event time."""
    expire_ms = job.view.expire_ms(job.config.online_store.expire_grace_s)
    return None if expire_ms is None else t_us - expire_ms * 1000


def _lateness_us(table: FeatureView) -> int:
    given = (table.tags or {}).get(LATENESS_TAG)
    try:
        return parse_duration(given) if given else 0
    except BadRequest as error:
        raise BadRequest(f"view {table.name!r}, tag {LATENESS_TAG}: {error}") from error


def _connection(config: RepoConfig) -> duckdb.DuckDBPyConnection:
    offline = config.offline_store
    return connect(memory_limit=offline.memory_limit, temp_directory=offline.temp_directory, threads=offline.threads)


def _newest(job: Job, connection: duckdb.DuckDBPyConnection, taken: Taken) -> NewestRows:
    source, offline = job.table.batch_source, job.config.offline_store
    if not isinstance(source, FileSource):
        raise TypeError(f"{type(source).__name__} is read by Feast's own engine")
    features = {field.name: field.name for field in job.view.record.fields}
    repo_path = Path(job.config.repo_path) if job.config.repo_path else None
    table = Wanted(job.table, source, features).table(connection, repo_path)
    return NewestRows(connection, table, taken, created_rule=offline.created, refuse_ties=offline.refuse_ties)


def _write(job: Job, rows: NewestRows, writer: RowWriter) -> None:
    """Pack on one thread, send on another. Raises MaterializeFailed."""
    types = {field.name: field.dtype.to_value_type() for field in job.table.features}
    packed = (writer.prepare(*_packed(batch, job.view, types)) for batch in rows.batches(BATCH_ROWS))
    bar = job.bar(rows.total) if job.bar else None
    try:
        with closing(ahead(packed, _AHEAD)) as batches:
            _send(batches, writer, bar)
        rows.check_unchanged(writer.finish().total)
    except _FAILURES as error:
        counts = writer.counts
        raise _failed(job, counts.total - counts.unconfirmed, rows.total, error) from error
    finally:
        if bar:
            bar.close()


def _send(batches: Iterator[Prepared], writer: RowWriter, bar: Bar | None) -> None:
    """Until the end, or until the writer gives up."""
    for batch in batches:
        counts = writer.send(batch)
        if bar:
            bar.update(counts.total - counts.unconfirmed)
        if writer.gave_up:
            return


def _packed(
    batch: pa.RecordBatch, view: StoredView, types: dict[str, ValueType]
) -> tuple[pa.BinaryArray, pa.BinaryArray]:
    """Keys and packed rows of a batch whose columns are the join keys, the fields, event µs and created µs."""
    record, columns = view.record, iter(batch.columns)
    keys = {field.name: next(columns) for field in record.join_keys}
    features = {
        field.name: opaque(next(columns), types[field.name]) if field.dtype is DType.OPAQUE else next(columns)
        for field in record.fields
    }
    event, created = next(columns), next(columns, None)
    return record.key_space.encode(keys or {"": event}), pack_columns(features, event, created, record.schema)


def _finish(job: Job, client: Client, fill: Fill, until_us: int, written: int) -> None:
    """Say in Redis that everything up to `until_us` is there."""
    try:
        if raise_watermark(client, job.view.record, until_us, fill):
            return
    except (RedisError, RedisClusterException) as error:
        raise _failed(job, written, written, error) from error
    emptied = LockstepError("Redis was emptied, or the view deleted, while they were written")
    raise _failed(job, 0, written, emptied)


def _failed(job: Job, confirmed: int, total: int | None, error: Exception) -> MaterializeFailed:
    why = error.why if isinstance(error, WritesUnconfirmed) else str(error)
    return MaterializeFailed(job.view.record.view, confirmed, total, why, job.command)
