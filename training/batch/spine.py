"""The rows to score: a Parquet file, a folder or a glob of them, or the result of a query. Read a part at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lockstep import request
from lockstep.errors import BadColumn, BadFile, BadRequest, did_you_mean
from lockstep.files import whole_file
from lockstep.plan import Array, Column, DType, Given, Plan
from lockstep.stores.point_in_time import connect
from training.frame import micros
from training.plans import EVENT_TIMESTAMP

__all__ = ["Spine", "check_columns", "given_and_times", "is_query", "keep_query"]

BATCH_ROWS = 65_536
OTHERWISE = "A spine is a Parquet file, a folder of them, or SQL that starts with SELECT or WITH, e.g. over a CSV file."


@dataclass(frozen=True)
class Spine:
    """Rows in Parquet files of equal columns, in the order of the files."""

    files: Sequence[Path]

    @staticmethod
    def at(path: Path) -> "Spine":
        """The files at a path. Raises TablesRefused where there is none, BadFile for one that is not Parquet."""
        from lockstep.stores.sources import parquet_files  # imports Feast

        made = Spine(parquet_files(path, OTHERWISE))
        made._check_alike()
        return made

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of every file."""
        return _open(self.files[0]).schema_arrow.remove_metadata()

    @cached_property
    def starts(self) -> list[int]:
        """Number of the first row of each file, and that of all rows at the end."""
        return [0, *np.cumsum([_open(path).metadata.num_rows for path in self.files]).tolist()]

    def __len__(self) -> int:
        return self.starts[-1]

    def rows(self, start: int, count: int) -> pa.Table:
        """`count` rows from row `start` on; what else lies in the files passes by in small batches."""
        batches = [
            batch
            for path, first in zip(self.files, self.starts, strict=False)
            for batch in _between(path, start - first, start + count - first)
        ]
        return pa.Table.from_batches(batches, self.schema)

    def _check_alike(self) -> None:
        for path in self.files:
            if not _open(path).schema_arrow.equals(self.schema):
                raise BadFile(path, f"its columns are not those of {self.files[0]}. Bring them together in a query.")


def is_query(text: str) -> bool:
    """Whether a spine is given as SQL."""
    from lockstep.stores.spine import SQL  # imports Feast

    return SQL.match(text) is not None


def keep_query(query: str, path: Path) -> None:
    """Run a query and keep its rows as Parquet: a query need not return them in the same order again.

    Raises BadRequest with DuckDB's words where it cannot be run.
    """
    try:
        with whole_file(path) as beside:
            connect().sql(query.strip().rstrip(";")).write_parquet(str(beside))
    except duckdb.Error as error:
        raise BadRequest(f"the spine's SQL cannot be run: {error}") from error


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise BadFile(path, f"is not Parquet. {OTHERWISE}") from error


def _between(path: Path, start: int, end: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file from `start` to `end` (exclusive), either of which may lie outside."""
    file, at = _open(path), 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if at + rows > start and at < end:
            here = at
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group]):
                low, high = max(start - here, 0), min(end - here, batch.num_rows)
                if low < high:
                    yield batch.slice(low, high - low)
                here += batch.num_rows
        at += rows


def check_columns(plan: Plan, schema: pa.Schema, *, latest: bool) -> None:
    """Raise BadColumn unless a spine has what the plan needs, in types that it takes."""
    for name, column in plan.given.items():
        if name in schema.names:
            _check_type(column, schema.field(name).type)
        elif column.default is None:
            assert isinstance(column.source, Given)
            what = f"{column.dtype.value}, {column.source.role.replace('_', ' ')}"
            raise BadColumn(
                name, f"missing in the spine; the model needs it ({what}).{did_you_mean(name, schema.names)}"
            )
    if latest and EVENT_TIMESTAMP in schema.names:
        raise BadColumn(EVENT_TIMESTAMP, "the spine has times of its own; leave out --latest, or leave out the column.")
    if not latest and EVENT_TIMESTAMP not in schema.names:
        hint = did_you_mean(EVENT_TIMESTAMP, schema.names)
        raise BadColumn(EVENT_TIMESTAMP, f"missing in the spine: the time of each row; or score at --latest.{hint}")
    if not latest and not pa.types.is_timestamp(schema.field(EVENT_TIMESTAMP).type):
        raise BadColumn(EVENT_TIMESTAMP, f"is {schema.field(EVENT_TIMESTAMP).type}; expected a timestamp.")


def _check_type(column: Column, found: pa.DataType) -> None:
    taken = _TAKEN[column.dtype]
    if not any(is_one(found) for is_one in taken):
        raise BadColumn(column.name, f"is {found} in the spine; expected {column.dtype.value}.")


def _is_text(found: pa.DataType) -> bool:
    return (
        pa.types.is_string(found)
        or pa.types.is_large_string(found)
        or (pa.types.is_dictionary(found) and _is_text(found.value_type))
    )


_NUMBERS = (pa.types.is_integer, pa.types.is_floating)
_TAKEN = {
    DType.INT64: (pa.types.is_integer,),
    DType.FLOAT32: _NUMBERS,
    DType.FLOAT64: _NUMBERS,
    DType.STRING: (_is_text,),
    DType.TIMESTAMP: (*_NUMBERS, pa.types.is_timestamp),
}


def given_and_times(plan: Plan, rows: pa.Table, moment_us: int | None) -> request.Query:
    """The columns of a request and t, by the rules of every request; with `moment_us` it is t of all rows.

    Raises BadColumn naming the row, counted from the first of these.
    """
    columns = {name: _array(name, rows[name]) for name in plan.given if name in rows.column_names}
    if moment_us is not None:
        t = np.full(len(rows), moment_us)
    else:
        _check_no_null(EVENT_TIMESTAMP, rows[EVENT_TIMESTAMP], "a row without a time cannot be scored")
        t = micros(rows[EVENT_TIMESTAMP])
    return request.check(plan, columns, t, max_rows=len(rows))


def _array(name: str, values: pa.ChunkedArray) -> Array:
    """Missing is NaN or ''; whole numbers cannot be missing."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        whole = pc.cast(values, pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64())
        values, kind = whole.cast(pa.float64()), pa.float64()
    if pa.types.is_floating(kind):
        return np.asarray(pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy())
    if pa.types.is_integer(kind):
        _check_no_null(name, values, "whole numbers have no NULL")
        return _whole(name, values)
    return np.asarray(pc.fill_null(values.cast(pa.string()), "").to_numpy(), object)


def _whole(name: str, values: pa.ChunkedArray) -> Array:
    try:
        return np.asarray(values.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid as error:
        raise BadColumn(name, f"holds numbers that are no int64: {error}.") from error


def _check_no_null(name: str, values: pa.ChunkedArray, why: str) -> None:
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy())[0])
        raise BadColumn(name, f"is NULL; {why}. Leave such rows out, e.g. by a query.", row=row)
