"""Feature views of every key shape and time form, rows drawn for them, and the rule for time in plain Python."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast import Entity, FeatureView, Field, FileSource
    from feast import types as ft
    from feast.value_type import ValueType

from lockstep.times import HOUR, MINUTE, parse_time, to_datetime

__all__ = ["ENTITIES", "KEYS", "SHAPES", "Row", "Shape", "newest", "rows_of", "stored_of", "table_of"]

START: Final = parse_time("2024-05-01")
STEP: Final = 30 * MINUTE


@dataclass(frozen=True)
class Key:
    """A join key and the values that rows and requests draw from; the last is never written."""

    feast: Any
    value_type: ValueType
    arrow: pa.DataType
    values: tuple[Any, ...]


KEYS: Final = {
    "ip": Key(ft.Int64, ValueType.INT64, pa.int64(), (2**53 + 1, -7, 2**63 - 1)),
    "os": Key(ft.Int32, ValueType.INT32, pa.int32(), (0, -(2**31), 5)),
    "site": Key(ft.String, ValueType.STRING, pa.string(), ("é", "", "x")),
    "blob": Key(ft.Bytes, ValueType.BYTES, pa.binary(), (b"\x00\xff", b"a", b"b")),
    "hour": Key(
        ft.UnixTimestamp,
        ValueType.UNIX_TIMESTAMP,
        pa.timestamp("us", "UTC"),
        tuple(to_datetime(START + hours * HOUR) for hours in (0, -1, 1)),
    ),
}
ENTITIES: Final = {name: Entity(name=name, join_keys=[name], value_type=key.value_type) for name, key in KEYS.items()}


@dataclass(frozen=True)
class Row:
    """One row of a feature table. `key` holds a value for each join key; times in µs."""

    key: tuple[Any, ...]
    event: int
    created: int | None
    n: int | None
    s: str | None

    @property
    def order(self) -> tuple[int, float]:
        """What makes one row replace another."""
        return self.event, -float("inf") if self.created is None else self.created


@dataclass(frozen=True)
class Shape:
    """A feature view: its join keys, the type of its table's times, its TTL."""

    name: str
    keys: tuple[str, ...]
    times: pa.DataType
    ttl: int | None
    created: bool

    @property
    def unit(self) -> int:
        """The least step of its times, µs."""
        return 1000 if self.times.unit == "ms" else 1

    @property
    def features(self) -> list[str]:
        """References of its features."""
        return [f"{self.name}:n", f"{self.name}:s"]

    def view(self, folder: Path) -> FeatureView:
        """As Feast takes it."""
        source = FileSource(
            name=f"{self.name}_table",
            path=str(folder / self.name / "*.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created" if self.created else "",
        )
        keys = [Field(name=key, dtype=KEYS[key].feast) for key in self.keys]
        return FeatureView(
            name=self.name,
            entities=[ENTITIES[key] for key in self.keys],
            schema=[*keys, Field(name="n", dtype=ft.Int64), Field(name="s", dtype=ft.String)],
            ttl=None if self.ttl is None else timedelta(microseconds=self.ttl),
            source=source,
        )


SHAPES: Final = (
    Shape("by_ip", ("ip",), pa.timestamp("us", "UTC"), 2 * STEP, created=True),
    Shape("by_os", ("os",), pa.timestamp("ns"), 2 * STEP, created=False),
    Shape("by_site", ("site",), pa.timestamp("ms", "UTC"), None, created=True),
    Shape("by_blob", ("blob",), pa.timestamp("us"), STEP, created=False),
    Shape("by_ip_site", ("ip", "site"), pa.timestamp("ns", "UTC"), 3 * STEP, created=True),
    Shape("by_hour", ("hour",), pa.timestamp("us", "UTC"), 2 * STEP, created=False),
    Shape("overall", (), pa.timestamp("us", "UTC"), 2 * STEP, created=False),
)


def moments(unit: int, steps: int = 5) -> st.SearchStrategy[int]:
    """Times that meet each other, and each other's TTLs, to the least step of a clock."""
    return st.builds(lambda a, b: START + a * STEP + b * unit, st.integers(0, steps), st.integers(-1, 1))


def rows_of(shape: Shape, *, null_keys: bool = True) -> st.SearchStrategy[list[Row]]:
    """Rows of a table without ties; a key, a created time and a feature may be NULL."""
    parts = [st.sampled_from(KEYS[key].values[:2]) for key in shape.keys]
    keys = st.tuples(*(st.none() | part for part in parts) if null_keys else parts)
    created = st.none() | moments(shape.unit, 7) if shape.created else st.none()
    # Small beside NULL: large integers are another test's.
    row = st.builds(
        Row, keys, moments(shape.unit), created, st.none() | st.integers(-9, 9), st.none() | st.sampled_from(["a", ""])
    )
    return st.lists(row, max_size=10, unique_by=lambda one: (one.key, one.order))


def table_of(shape: Shape, rows: Sequence[Row]) -> pa.Table:
    """The rows as a source's table."""
    columns: dict[str, Any] = {
        key: pa.array([row.key[i] for row in rows], KEYS[key].arrow) for i, key in enumerate(shape.keys)
    }
    columns["event_timestamp"] = _times([row.event for row in rows], shape.times)
    if shape.created:
        columns["created"] = _times([row.created for row in rows], shape.times)
    columns["n"] = pa.array([row.n for row in rows], pa.int64())
    columns["s"] = pa.array([row.s for row in rows], pa.string())
    return pa.table(columns)


def _times(us: Sequence[int | None], dtype: pa.DataType) -> pa.Array:
    return pa.array(us, pa.int64()).cast(pa.timestamp("us", dtype.tz)).cast(dtype)


def newest(shape: Shape, rows: Iterable[Row], key: tuple[Any, ...], t: int, *, created: bool = True) -> Row | None:
    """The row that counts at t; `created=False` is Feast's rule, which sees a correction before it was written."""
    usable = [row for row in rows if row.key == key and None not in key and _is_usable(shape, row, t, created)]
    return max(usable, key=lambda row: row.order, default=None)


def _is_usable(shape: Shape, row: Row, t: int, created: bool) -> bool:
    fresh = row.event <= t and (shape.ttl is None or t - row.event <= shape.ttl)
    known = not (shape.created and created) or (row.created is not None and row.created <= t)
    return fresh and known


def stored_of(rows: Iterable[Row], key: tuple[Any, ...], order: Callable[[Row], Any]) -> Row | None:
    """The row that stays of those written one after the other, where only a greater one replaces another."""
    found: Row | None = None
    for row in rows:
        if row.key == key and None not in key and (found is None or order(row) > order(found)):
            found = row
    return found
