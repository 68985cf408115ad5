"""A retrieval that runs when its result is wanted: as a data frame, as Arrow, as a stream, or into Parquet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from typing import Any, TypeAlias
from uuid import uuid4

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from feast.data_format import DeltaFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from lockstep.errors import BadRequest, TablesRefused
from lockstep.files import whole_file, whole_folder
from lockstep.stores.point_in_time import AsServed
from lockstep.stores.queries import Historical, Query
from lockstep.stores.sources import (
    delta,
    delta_options,
    file_source,
    filesystem_of,
    is_remote,
    local_path,
)

__all__ = ["HistoricalJob", "LockstepRetrievalJob", "Result"]

Column: TypeAlias = "pa.ChunkedArray[Any]"
BATCH_ROWS = 100_000
"""Rows of a batch where the caller names no number: some tens of MB at 40 columns."""


@dataclass(frozen=True)
class Result:
    """How a query's rows become the answer."""

    open: Callable[[], duckdb.DuckDBPyConnection]
    """A new connection with the limits of the configuration."""
    repo_path: Path | None
    types: Mapping[str, pa.DataType]
    """Column -> the type its values are cast to."""
    staging: str | None = None
    """Folder or URL for `to_remote_storage`."""
    on_demand: Sequence[OnDemandFeatureView] = ()
    full_names: bool = False
    metadata: Callable[[], RetrievalMetadata] | None = None


class LockstepRetrievalJob(RetrievalJob):
    """A query and what becomes of its rows. Each call runs the query anew, on a connection of its own."""

    def __init__(self, query: Query, result: Result) -> None:
        self.query = query
        self.result = result

    def to_arrow(self, validation_reference: Any = None, timeout: int | None = None) -> pa.Table:
        """All rows. Raises TimeoutError after `timeout` seconds, TablesRefused for a value its type cannot hold."""
        return cast(super().to_arrow(validation_reference, timeout), self.result.types)

    def to_batches(self, rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """The rows as a stream, with on-demand features; about `rows` of them are in memory at a time.

        On-demand functions see one batch at a time: they are functions of a row.
        """
        tables = self._tables(rows)
        first = next(tables)
        return pa.RecordBatchReader.from_batches(first.schema, _batches(first, tables))

    def write_parquet(self, path: str | Path, rows: int = BATCH_ROWS) -> int:
        """Write the rows to a file that is whole or absent; never more than a batch of them is in memory."""
        with whole_file(Path(path)) as beside:
            return _write(self.to_batches(rows), str(beside))

    def to_sql(self) -> str:
        """The query that DuckDB runs. A spine from memory is called `spine` in it."""
        return str(self.query.run(self.result.open()).sql_query())

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write a saved dataset: a Parquet file where the path ends so, else a folder, or a Delta table.

        Raises Feast's SavedDatasetLocationAlreadyExists where there is one and `allow_overwrite` is off.
        """
        target = file_source(storage.to_data_source(), "the saved dataset")
        if isinstance(target.file_format, DeltaFormat):
            self._persist_delta(target, allow_overwrite)
        elif is_remote(target.path):
            self._persist_remote(target, allow_overwrite)
        else:
            self._persist_local(local_path(target.path, self.result.repo_path), allow_overwrite)

    def supports_remote_storage_export(self) -> bool:
        """Where the configuration names a staging_location."""
        return self.result.staging is not None

    def to_remote_storage(self) -> list[str]:
        """Write Parquet files to a new folder below staging_location; returns their paths."""
        if self.result.staging is None:
            raise BadRequest("set staging_location under offline_store in feature_store.yaml to export a retrieval.")
        target = FileSource(path=f"{self.result.staging.rstrip('/')}/{uuid4()}/part-0.parquet")
        self._persist_remote(target, False) if is_remote(target.path) else self.write_parquet(target.path)
        return [target.path]

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are called `<view>__<feature>`."""
        return self.result.full_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The on-demand views whose features are computed from the rows."""
        return list(self.result.on_demand)

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for; reads the spine's bounds. None for a pull from one table."""
        return self.result.metadata() if self.result.metadata else None

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        connection = self.result.open()
        with _interrupted_after(connection, timeout):
            return cast(self.query.run(connection).to_arrow_table(), self.result.types)

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    def _tables(self, rows: int) -> Iterator[pa.Table]:
        """The result in parts, at least one, which is empty where there are no rows."""
        reader = self.query.run(self.result.open()).to_arrow_reader(rows)
        empty = True
        for batch in reader:
            empty = False
            yield self._finished(pa.Table.from_batches([batch]))
        if empty:
            yield self._finished(reader.schema.empty_table())

    def _finished(self, part: pa.Table) -> pa.Table:
        finished = _Part(cast(part, self.result.types), self.result).to_arrow() if self.result.on_demand else part
        return cast(finished, self.result.types)

    def _persist_local(self, path: Path, allow_overwrite: bool) -> None:
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        if path.suffix == ".parquet":
            self.write_parquet(path)
            return
        with whole_folder(path) as folder:
            self.write_parquet(folder / "part-0.parquet")

    def _persist_remote(self, target: FileSource, allow_overwrite: bool) -> None:
        filesystem, path = filesystem_of(target)
        if filesystem.get_file_info(path).type != pa.fs.FileType.NotFound and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=target.path)
        _write(self.to_batches(), path, filesystem)

    def _persist_delta(self, target: FileSource, allow_overwrite: bool) -> None:
        path = target.path if is_remote(target.path) else str(local_path(target.path, self.result.repo_path))
        mode = "overwrite" if allow_overwrite else "error"
        delta().write_deltalake(path, self.to_batches(), mode=mode, storage_options=delta_options(target))


class HistoricalJob(LockstepRetrievalJob):
    """A point-in-time join, which can also be asked for as the online store served it."""

    query: Historical

    def as_served(self, served: AsServed) -> "HistoricalJob":
        """The same retrieval, with what the online store held at each t instead of what was available then.

        >>> from lockstep.times import HOUR, parse_time
        >>> served = AsServed.every(HOUR, parse_time("2017-11-06"), parse_time("2017-11-10"))
        >>> # store.get_historical_features(spine, features=[...]).as_served(served).to_arrow()
        """
        return HistoricalJob(replace(self.query, as_served=served), self.result)

    def with_event_timestamps(self) -> "HistoricalJob":
        """The same retrieval with a column `<view>__event_timestamp` for each view: the newest row's, stale or not."""
        return HistoricalJob(replace(self.query, timestamps=True), self.result)


class _Part(RetrievalJob):
    """A part of a result, so that Feast's own code computes its on-demand features."""

    def __init__(self, part: pa.Table, result: Result) -> None:
        self._part = part
        self._result = result

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._part

    @property
    def full_feature_names(self) -> bool:
        return self._result.full_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return list(self._result.on_demand)

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._result.metadata() if self._result.metadata else None


def cast(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """The table with its columns in their declared types. Raises TablesRefused for a value they cannot hold."""
    for index, field in enumerate(table.schema):
        declared = types.get(field.name, field.type)
        if not field.type.equals(declared):
            table = table.set_column(index, field.name, _cast(field.name, table.column(index), declared))
    return table


def _cast(name: str, values: Column, declared: pa.DataType) -> Column:
    is_time = pa.types.is_timestamp(values.type) and pa.types.is_timestamp(declared)
    try:
        return values.cast(declared, safe=not is_time)  # nanoseconds are cut to the microsecond
    except pa.ArrowInvalid as error:
        raise TablesRefused(
            f"feature {name!r} is declared {declared} and its table holds {values.type}: {error}"
        ) from error


def _batches(first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    yield from first.to_batches()
    for table in others:
        yield from table.cast(first.schema).to_batches()


def _write(batches: pa.RecordBatchReader, path: str, filesystem: pa.fs.FileSystem | None = None) -> int:
    rows = 0
    with pq.ParquetWriter(path, batches.schema, filesystem=filesystem) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


@contextmanager
def _interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: int | None) -> Iterator[None]:
    timer = Timer(seconds or 0, connection.interrupt)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise TimeoutError(f"the retrieval took longer than {seconds} s.") from error
    finally:
        timer.cancel()
