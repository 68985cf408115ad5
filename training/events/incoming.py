"""Reading click files that people bring: the TalkingData AdTracking columns as CSV (plain, gzip, zip) or Parquet.

Every check names file, row and column. A CSV is read as text first, so that a value is judged as it was written.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

import duckdb
import pyarrow as pa

from lockstep.errors import BadFile, did_you_mean
from training.events.log import IDS, SCHEMA, sort_log

__all__ = ["LoadedEvents", "load"]

SUFFIXES = (".csv", ".csv.gz", ".zip", ".parquet")

_TIMES = ("click_time", "attributed_time")
_DIGITS = "[0-9]{1,18}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+]00(:?00)?)?"


@dataclass(frozen=True)
class LoadedEvents:
    """A click log made from files, and what was put right on the way."""

    table: pa.Table
    """Columns of training.events.SCHEMA, in the log's order, no two rows equal."""
    rows: int
    """Rows read from all files."""
    duplicates: int
    """Rows dropped because another one equals them in every column."""
    out_of_order: int
    """Rows whose click time lies before that of a row above them in the same file."""


class _Check(NamedTuple):
    """One thing that can be wrong with a row: where in it, an SQL condition on the raw row, and the sentence."""

    column: str
    wrong: str
    problem: str


def load(paths: Sequence[Path]) -> LoadedEvents:
    """Read click files into one log: rows sorted, exact duplicates dropped, both counted.

    Times without an offset are UTC; digits below the microsecond are cut. Raises BadFile with file, row and column for
    a file that is missing, empty or of no known kind, a missing column, an id that is no whole number, a time that is
    none, an install before its click, and an `is_attributed` that says otherwise than `attributed_time`.
    """
    parts = [_load_one(path) for path in paths]
    every = pa.concat_tables([table for table, _ in parts])
    table = sort_log(_distinct(every))
    return LoadedEvents(table, every.num_rows, every.num_rows - table.num_rows, sum(late for _, late in parts))


def _distinct(clicks: pa.Table) -> pa.Table:
    return clicks.group_by(SCHEMA.names).aggregate([]).select(SCHEMA.names).cast(SCHEMA)


def _load_one(path: Path) -> tuple[pa.Table, int]:
    """The clicks of one file in its order, and how many of them are out of order."""
    if not path.is_file():
        raise BadFile(path, "no such file.")
    with duckdb.connect() as db, _plain(path) as plain:
        db.execute("SET TimeZone = 'UTC'")
        try:
            types = _read_raw(db, plain)
        except duckdb.Error as error:
            raise BadFile(path, f"cannot be read: {str(error).splitlines()[0]}") from error
        _check_some(db, path)
        _check_columns(path, types)
        _check_rows(db, path, types)
        return _clicks(db, types), _out_of_order(db, types)


@contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """A path that DuckDB can read: `path` itself, or the one CSV file of a zip, unpacked for the while."""
    if not path.name.lower().endswith(SUFFIXES):
        raise BadFile(path, f"its name must end in one of {', '.join(SUFFIXES)}.")
    if path.suffix.lower() != ".zip":
        yield path
        return
    with TemporaryDirectory(prefix="lockstep-") as folder:
        yield _unzip(path, Path(folder) / "clicks.csv")


def _unzip(path: Path, target: Path) -> Path:
    try:
        with ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if len(names) != 1 or not names[0].lower().endswith(".csv"):
                raise BadFile(path, f"a zip must hold one .csv file; it holds: {', '.join(names) or 'nothing'}.")
            with archive.open(names[0]) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
    except BadZipFile as error:
        raise BadFile(path, f"not a readable zip file ({error}).") from error
    return target


def _read_raw(db: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Read a file into the table `raw` with its row numbers; returns the DuckDB type of each of its columns."""
    if path.suffix.lower() == ".parquet":
        source = "read_parquet(?)"
    else:
        # The dialect is fixed: a guessed one would take a file of another kind for one with a single odd column.
        source = "read_csv(?, all_varchar = true, header = true, delim = ',', quote = '\"', nullstr = '')"
    db.execute(f'CREATE TEMP TABLE raw AS SELECT row_number() OVER () AS "row number", * FROM {source}', [str(path)])
    described = db.execute("DESCRIBE raw").fetchall()
    return {name: kind for name, kind, *_ in described if name != "row number"}


def _check_some(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    if db.execute("SELECT count(*) FROM raw").fetchone() == (0,):
        raise BadFile(path, "there are no rows in it.")


def _check_columns(path: Path, types: dict[str, str]) -> None:
    for name in SCHEMA.names:
        if name not in types:
            raise BadFile(path, f"the column is missing.{did_you_mean(name, types)}", column=name)


def _check_rows(db: duckdb.DuckDBPyConnection, path: Path, types: dict[str, str]) -> None:
    """Raise BadFile for the first row that breaks a check; of several checks on one row the first in the list."""
    found = [_first_wrong(db, check) for check in _checks(types)]
    broken = [(row, place) for place, row in enumerate(found) if row is not None]
    if broken:
        row, place = min(broken)
        raise _bad_row(db, path, row, _checks(types)[place])


def _first_wrong(db: duckdb.DuckDBPyConnection, check: _Check) -> int | None:
    answer = db.execute(f'SELECT min("row number") FROM raw WHERE {check.wrong}').fetchone()
    return None if answer is None else answer[0]


def _bad_row(db: duckdb.DuckDBPyConnection, path: Path, row: int, check: _Check) -> BadFile:
    fields = f'"{check.column}"::VARCHAR, "click_time"::VARCHAR, "attributed_time"::VARCHAR'
    values = db.execute(f'SELECT {fields} FROM raw WHERE "row number" = ?', [row]).fetchone()
    value, click, install = ("nothing" if each is None else f"'{each}'" for each in values or (None, None, None))
    problem = check.problem.format(value=value, click=click, install=install)
    return BadFile(path, problem, row=row, column=check.column)


def _checks(types: dict[str, str]) -> list[_Check]:
    click, install = (_time_us(name, types[name]) for name in _TIMES)
    flag = _flag(types["is_attributed"])
    return [
        *(_Check(name, f"{_id(name, types[name])} IS NULL", "{value} is not a whole number from 0.") for name in IDS),
        _Check("click_time", f"{click} IS NULL", "{value} is not a time. Write it as 2017-11-07 09:30:38, in UTC."),
        _Check(
            "attributed_time",
            f"{_some('attributed_time', types['attributed_time'])} AND {install} IS NULL",
            "{value} is not a time. Write it as 2017-11-07 09:30:38, in UTC, or leave it empty.",
        ),
        _Check("is_attributed", f"{flag} IS NULL", "{value} is neither 0 nor 1."),
        _Check("attributed_time", f"{install} < {click}", "the install at {install} lies before its click at {click}."),
        _Check("is_attributed", f"{flag} = 1 AND {install} IS NULL", "{value}, but there is no attributed_time."),
        _Check("is_attributed", f"{flag} = 0 AND {install} IS NOT NULL", "{value}, but attributed_time is {install}."),
    ]


def _some(name: str, kind: str) -> str:
    """SQL that is true where the column holds something."""
    return f"coalesce(trim(\"{name}\"), '') <> ''" if kind == "VARCHAR" else f'"{name}" IS NOT NULL'


def _id(name: str, kind: str) -> str:
    """SQL for an id as BIGINT, NULL where it is none."""
    text = f'trim("{name}"::VARCHAR)'
    return f"CASE WHEN regexp_full_match({text}, '{_DIGITS}') THEN {text}::BIGINT END"


def _flag(kind: str) -> str:
    """SQL for is_attributed as TINYINT, NULL where it is neither 0 nor 1."""
    text = "is_attributed::INTEGER::VARCHAR" if kind == "BOOLEAN" else "trim(is_attributed::VARCHAR)"
    return f"CASE {text} WHEN '0' THEN 0::TINYINT WHEN '1' THEN 1::TINYINT END"


def _time_us(name: str, kind: str) -> str:
    """SQL for a time as microseconds UTC, NULL where it is none. Text with another offset than UTC is none."""
    if kind.startswith("TIMESTAMP"):
        return f'CASE WHEN isfinite("{name}") THEN epoch_us("{name}") END'
    text = f'trim("{name}"::VARCHAR)'
    plain = f"regexp_replace({text}, '(Z|[+]00(:?00)?)$', '')"
    return f"CASE WHEN regexp_full_match({text}, '{_TIME}') THEN epoch_us(TRY_CAST({plain} AS TIMESTAMP)) END"


def _clicks(db: duckdb.DuckDBPyConnection, types: dict[str, str]) -> pa.Table:
    columns = [
        *(_id(name, types[name]) for name in IDS),
        *(_time_us(name, types[name]) for name in _TIMES),
        _flag(types["is_attributed"]),
    ]
    table = db.execute(f'SELECT {", ".join(columns)} FROM raw ORDER BY "row number"').to_arrow_table()
    return table.rename_columns(SCHEMA.names).cast(SCHEMA)


def _out_of_order(db: duckdb.DuckDBPyConnection, types: dict[str, str]) -> int:
    click = _time_us("click_time", types["click_time"])
    answer = db.execute(
        f"""SELECT count(*) FROM (
                SELECT {click} AS click,
                       max(click) OVER above AS newest
                FROM raw
                WINDOW above AS (ORDER BY "row number" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))
            WHERE click < newest"""
    ).fetchone()
    return 0 if answer is None else int(answer[0])
