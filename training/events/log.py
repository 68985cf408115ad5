"""The click log on disk: one Parquet file a UTC day of click_time, `day=2017-11-06/clicks.parquet`, sorted."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lockstep.errors import BadFile
from lockstep.files import whole_folder
from lockstep.times import DAY

__all__ = [
    "IDS",
    "SCHEMA",
    "SORT",
    "TIME",
    "check_day_file",
    "date_of",
    "day_files",
    "log_span",
    "read_log",
    "sort_log",
    "times_us",
    "write_log",
]

TIME = pa.timestamp("us", tz="UTC")
IDS = ("ip", "app", "device", "os", "channel")
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.int64(), nullable=False) for name in IDS),
        pa.field("click_time", TIME, nullable=False),
        pa.field("attributed_time", TIME),
        pa.field("is_attributed", pa.int8(), nullable=False),
    ]
)
SORT = ("click_time", *IDS)

_FILE = "clicks.parquet"
_EPOCH = date(1970, 1, 1)


def date_of(us: int) -> date:
    """The UTC day of a time in microseconds."""
    return _EPOCH + timedelta(days=us // DAY)


def times_us(column: "pa.ChunkedArray[Any]") -> NDArray[np.int64]:
    """The values of a timestamp column without nulls, int64 microseconds, shape (rows,)."""
    times: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    return times


def sort_log(table: pa.Table) -> pa.Table:
    """The rows in the log's order; rows that share a click time and all ids are ordered by attributed_time."""
    return table.sort_by([(name, "ascending") for name in (*SORT, "attributed_time")])


def day_files(folder: Path) -> dict[date, Path]:
    """The day files of a log, first day first. Raises BadFile for a folder whose name is no day."""
    return {_day_of(path): path for path in sorted(folder.glob(f"day=*/{_FILE}"))}


def _day_of(path: Path) -> date:
    try:
        return date.fromisoformat(path.parent.name.removeprefix("day="))
    except ValueError as error:
        raise BadFile(path, "its folder must be named after a day, as in day=2017-11-06.") from error


def write_log(table: pa.Table, folder: Path, *, add: bool = False) -> list[date]:
    """Write a click log (columns of SCHEMA, any order of rows) and return the days that were written.

    By default it takes the place of the whole log in `folder`. With `add`, days that are absent are added, days that
    are present and identical are left alone, and one that differs raises BadFile. On any error nothing is changed.
    """
    days = dict(_days(sort_log(table.select(SCHEMA.names).cast(SCHEMA))))
    if add:
        return _add_days(days, folder)
    with whole_folder(folder) as beside:
        for day, part in days.items():
            _write_day(part, beside / f"day={day}")
    return list(days)


def _days(table: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    days = times_us(table["click_time"]) // DAY
    starts = np.unique(days, return_index=True)[1]
    for start, end in zip(starts, [*starts[1:], len(days)], strict=True):
        yield date_of(int(days[start]) * DAY), table.slice(start, end - start)


def _write_day(part: pa.Table, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(part, folder / _FILE, compression="zstd")


def _add_days(days: dict[date, pa.Table], folder: Path) -> list[date]:
    present = day_files(folder)
    new = [day for day in days if day not in present]
    for day in days.keys() - set(new):
        if not _read(present[day], None).equals(days[day]):
            raise BadFile(
                present[day],
                f"the log already has other clicks of {day}. To replace the whole log, load all files together "
                "without --add; to replace this day alone, remove its folder first.",
            )
    with ExitStack() as stack:
        for day in new:
            _write_day(days[day], stack.enter_context(whole_folder(folder / f"day={day}")))
    return new


def read_log(
    folder: Path,
    columns: Sequence[str] | None = None,
    first_day: date | None = None,
    last_day: date | None = None,
) -> pa.Table:
    """The clicks of the days from `first_day` to `last_day`, both included, in the log's order.

    Raises BadFile where `folder` holds no log, or a day file that is none. No day in the range gives no rows.
    """
    wanted = [
        path
        for day, path in _some_log(folder).items()
        if (first_day is None or day >= first_day) and (last_day is None or day <= last_day)
    ]
    schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    return pa.concat_tables([_read(path, columns) for path in wanted]) if wanted else schema.empty_table()


def log_span(folder: Path) -> tuple[int, int]:
    """The first and the last click time of a log, µs. Raises BadFile where `folder` holds no log."""
    files = list(_some_log(folder).values())
    first, last = (_read(path, ["click_time"])["click_time"].cast(pa.int64()) for path in (files[0], files[-1]))
    return pc.min(first).as_py(), pc.max(last).as_py()


def _some_log(folder: Path) -> dict[date, Path]:
    files = day_files(folder)
    if not files:
        raise BadFile(folder, "no click log here. Run `lockstep events generate` or `lockstep events load FILE`.")
    return files


def check_day_file(path: Path) -> None:
    """Raise BadFile where a file is not a day of a click log, judged by its columns and their types."""
    try:
        schema = pq.read_schema(path).remove_metadata()
    except pa.ArrowException as error:
        raise BadFile(path, f"not a readable Parquet file ({error}).") from error
    if not schema.equals(SCHEMA):
        raise BadFile(path, "not a day of a click log; bring other files in with `lockstep events load FILE`.")


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    check_day_file(path)
    return pq.read_table(path, columns=list(columns) if columns is not None else None, partitioning=None)
