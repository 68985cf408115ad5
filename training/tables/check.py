"""A rule that every table must keep before a point-in-time join may read it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from lockstep.errors import TablesRefused

__all__ = ["check_unique", "connected"]


def check_unique(
    name: str,
    source: pa.Table | Sequence[Path],
    keys: Sequence[str],
    times: Sequence[str] = ("event_timestamp",),
    db: duckdb.DuckDBPyConnection | None = None,
) -> None:
    """Raise TablesRefused where two rows of a table share their key and all of `times`.

    `source` is a table in memory or its Parquet files; `times` are event_timestamp and, where there is one, the
    created timestamp. The message names the table, one such key and its times. `db` is a connection to work in, for
    those who check many tables: opening one costs more than a small check.
    """
    columns = [*keys, *times]
    with connected() if db is None else nullcontext(db) as cursor:
        twice = _twice(cursor, source, columns)
    if twice is not None:
        raise TablesRefused(_sentence(name, columns, *twice))


@contextmanager
def connected() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of its own, in memory, that reads and shows times in UTC."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        yield db


def _twice(
    db: duckdb.DuckDBPyConnection, source: pa.Table | Sequence[Path], columns: Sequence[str]
) -> tuple[Any, ...] | None:
    """How often the first repeated combination of columns occurs, and its values as text; None where there is none."""
    rows = db.from_arrow(source) if isinstance(source, pa.Table) else _parquet(db, source)
    fields = ", ".join(f'"{column}"' for column in columns)
    texts = ", ".join(f'"{column}"::VARCHAR' for column in columns)
    found: tuple[Any, ...] | None = rows.query(
        "rows", f"SELECT count(*), {texts} FROM rows GROUP BY {fields} HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    ).fetchone()
    return found


def _parquet(db: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> duckdb.DuckDBPyRelation:
    return db.read_parquet([str(path) for path in paths], hive_partitioning=False)


def _sentence(name: str, columns: Sequence[str], count: int, *values: str | None) -> str:
    where = ", ".join(f"{column} = {value}" for column, value in zip(columns, values, strict=True))
    return (
        f"table {name!r} has {count} rows with {where}. Which of them a join takes would be a coin toss: keep one, "
        "or tell them apart by a created timestamp."
    )
