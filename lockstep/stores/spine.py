"""The spine of a retrieval: the rows to find features for, as a data frame, an Arrow table, a Parquet path or SQL."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from lockstep.errors import BadColumn, BadRequest
from lockstep.stores.point_in_time import columns_of, quoted, time_us
from lockstep.stores.sources import parquet
from lockstep.times import to_datetime

__all__ = ["EVENT_TIMESTAMP", "Spine", "spine_of", "timestamp_of"]

EVENT_TIMESTAMP = "event_timestamp"
"""Feast's name for the column with t."""
SQL = re.compile(r"\s*(\(|--|(select|with|from|values|table|pivot|unpivot)\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Spine:
    """Rows in memory, or SQL that can stand after FROM. Nothing is read before a query runs."""

    rows: pa.Table | None = None
    sql: str = "spine"

    def on(self, connection: duckdb.DuckDBPyConnection) -> str:
        """The relation on a connection."""
        if self.rows is not None:
            connection.register(self.sql, self.rows)
        return self.sql

    def between_us(self, connection: duckdb.DuckDBPyConnection) -> tuple[int, int] | None:
        """The first and last t; None where there is no row, and for SQL, which would have to run twice."""
        return None if self.sql.startswith("(") else self._range(connection)

    def bounds(self, connection: duckdb.DuckDBPyConnection) -> tuple[list[str], datetime | None, datetime | None]:
        """The columns without t, and the first and last t; None where there is no row."""
        columns = columns_of(connection, self.on(connection))
        others = [name for name in columns if name != timestamp_of(columns)]
        found = self._range(connection)
        return (others, to_datetime(found[0]), to_datetime(found[1])) if found else (others, None, None)

    def _range(self, connection: duckdb.DuckDBPyConnection) -> tuple[int, int] | None:
        relation = self.on(connection)
        columns = columns_of(connection, relation)
        name = timestamp_of(columns)
        time = time_us(quoted(name), columns[name])
        ((first, last),) = connection.execute(f"SELECT min({time}), max({time}) FROM {relation}").fetchall()
        return None if first is None else (first, last)


def timestamp_of(columns: Mapping[str, str]) -> str:
    """The column with t: `event_timestamp`, else the only timestamp. Raises BadRequest where neither is there."""
    if EVENT_TIMESTAMP in columns:
        return EVENT_TIMESTAMP
    times = [name for name, sql_type in columns.items() if sql_type.startswith("TIMESTAMP")]
    if len(times) != 1:
        raise BadRequest(
            f"the spine has {len(times)} timestamp columns and none named {EVENT_TIMESTAMP!r}: name the one with t so."
        )
    return times[0]


def spine_of(given: pd.DataFrame | pa.Table | Path | str) -> Spine:
    """The spine that a caller gave. A string that starts like a query is SQL, any other is a Parquet path.

    Raises BadRequest for anything else, TablesRefused for a path without files, BadColumn where the text in
    `event_timestamp` is no time.
    """
    if isinstance(given, pa.Table):
        return Spine(rows=given)
    if isinstance(given, pd.DataFrame):
        return Spine(rows=pa.Table.from_pandas(_with_times(given), preserve_index=False))
    if isinstance(given, str) and SQL.match(given):
        return Spine(sql=f"({given.strip().rstrip(';')})")
    if isinstance(given, str | Path):
        return Spine(sql=parquet(Path(given), "A spine is a path or a query; a query starts with SELECT or WITH."))
    raise BadRequest(f"a spine is a DataFrame, an Arrow table, a Parquet path or SQL, not a {type(given).__name__}.")


def _with_times(frame: pd.DataFrame) -> pd.DataFrame:
    """Times that came as text or as Python objects become timestamps; naive ones are UTC."""
    if EVENT_TIMESTAMP not in frame or pd.api.types.is_datetime64_any_dtype(frame[EVENT_TIMESTAMP]):
        return frame
    try:
        return frame.assign(**{EVENT_TIMESTAMP: pd.to_datetime(frame[EVENT_TIMESTAMP], utc=True, format="ISO8601")})
    except (ValueError, TypeError) as error:
        raise BadColumn(
            EVENT_TIMESTAMP, f"{str(error).splitlines()[0]} Write times as 2017-11-09T04:00:00Z."
        ) from error
