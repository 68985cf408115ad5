"""Rows that requests are drawn from: the columns of a command, or a spine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockstep.cli.columns import Values
from lockstep.errors import BadColumn, BadFile
from lockstep_client import Need

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Drawn", "Pool"]

EVENT_TIMESTAMP = "event_timestamp"
"""What Feast calls t in a spine."""

Drawn = tuple[Mapping[str, NDArray[Any]], NDArray[np.int64] | None]
"""Columns of a request and its times."""


@dataclass(frozen=True)
class Pool:
    """Rows to draw from. A column of length one is the same in every request."""

    columns: Mapping[str, NDArray[Any]]
    t_us: NDArray[np.int64] | None
    """µs; None: the server's clock."""

    @staticmethod
    def of_columns(columns: Mapping[str, Values], at_us: Sequence[int]) -> "Pool":
        """The values of a command line: those at one place in their lists belong together. Raises BadColumn."""
        lengths = {name: len(values) for name, values in columns.items()} | ({"at": len(at_us)} if at_us else {})
        longest = max(lengths, key=lambda name: lengths[name], default="")
        for name, length in lengths.items():
            if length not in (1, lengths[longest]):
                raise BadColumn(name, f"has {length} values, but {longest!r} has {lengths[longest]}.")
        arrays = {
            name: np.array(values, object if isinstance(values[0], str) else None) for name, values in columns.items()
        }
        return Pool(arrays, np.array(at_us, np.int64) if at_us else None)

    @staticmethod
    def of_spine(path: Path, needs: Sequence[Need], at_us: Sequence[int] = ()) -> "Pool":
        """The columns of a Parquet or CSV file that a model needs, and its event_timestamp; where it has none, one
        `at_us` is the t of all rows. Raises BadFile, and BadColumn for a t that cannot be meant.
        """
        table = _read(path)
        missing = [need.name for need in needs if not need.optional and need.name not in table.column_names]
        if missing:
            raise BadFile(path, f"the model needs it; the file has {', '.join(table.column_names)}.", column=missing[0])
        if not table.num_rows:
            raise BadFile(path, "has no rows to draw from.")
        columns = {need.name: _column(path, table, need) for need in needs if need.name in table.column_names}
        times = _times(path, table)
        if at_us and (times is not None or len(at_us) > 1):
            raise BadColumn("at", "name one t for all rows of a spine, and none where it has an event_timestamp.")
        return Pool(columns, np.array(at_us, np.int64) if at_us else times)

    def draw(self, rows: int, shared: frozenset[str], rng: np.random.Generator) -> Drawn:
        """A request of so many rows; a column that is `shared` has the first row's value for all of them."""
        size = max([1, *(values.size for values in self.columns.values()), 0 if self.t_us is None else self.t_us.size])
        places = rng.integers(size, size=rows)
        drawn = {name: _take(values, places[:1] if name in shared else places) for name, values in self.columns.items()}
        return drawn, None if self.t_us is None else _take(self.t_us, places)


def _take(values: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    return values if values.size == 1 else values[places]


def _read(path: Path) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        return csv.read_csv(path) if ".csv" in path.suffixes else parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadFile(path, f"cannot be read as {'CSV' if '.csv' in path.suffixes else 'Parquet'}: {error}") from error


def _column(path: Path, table: "pa.Table", need: Need) -> NDArray[Any]:
    """A column as the model takes it: int64, float64 with NaN for NULL, or strings with '' for NULL."""
    import pyarrow as pa

    arrow = {"int64": pa.int64(), "string": pa.string()}.get(need.dtype, pa.float64())
    column = table[need.name]
    if need.dtype == "int64" and column.null_count:
        row = column.is_null().to_numpy().argmax() + 1
        raise BadFile(path, "is NULL, and int64 has none; leave the row out.", row=int(row), column=need.name)
    try:
        typed = column.cast(arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadFile(path, f"is {column.type}, the model takes {need.dtype}: {error}", column=need.name) from error
    values: NDArray[Any] = (typed.fill_null("") if need.dtype == "string" else typed).to_numpy()
    return values


def _times(path: Path, table: "pa.Table") -> NDArray[np.int64] | None:
    """Event timestamps in µs UTC, None where the file has none."""
    import pyarrow as pa

    if EVENT_TIMESTAMP not in table.column_names:
        return None
    column = table[EVENT_TIMESTAMP]
    if not pa.types.is_timestamp(column.type) or column.null_count:
        problem = f"is {column.type} with {column.null_count} NULLs; expected a timestamp in every row."
        raise BadFile(path, problem, column=EVENT_TIMESTAMP)
    us: NDArray[np.int64] = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()).to_numpy()
    return us
