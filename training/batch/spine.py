"""The rows to score: a Parquet file, a folder or a glob of them, or the result of a query. Read a part at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lockstep.errors import BadColumn, BadFile, BadRequest, did_you_mean
from lockstep.files import whole_file
from lockstep.plan import Column, DType, Given, Plan
from lockstep.stores.point_in_time import connect
from training.plans import EVENT_TIMESTAMP

__all__ = ["Spine", "check_columns", "is_query", "keep_query"]

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
