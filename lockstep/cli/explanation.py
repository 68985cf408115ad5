"""What a model was given for a row, and why: tables and sentences for a person."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from lockstep.plan import Column, Computed, DType, Given, Plan, Stored
from lockstep.times import DAY, HOUR, MINUTE, SECOND, format_time
from lockstep_client import Feature, Status

__all__ = ["MOST_ROWS", "Explanation", "age", "plain_features"]

MOST_ROWS = 10
"""So many rows are explained in tables; a program asks for JSON."""
_THERE = (Status.PRESENT, Status.NULL)


@dataclass(frozen=True)
class Explanation:
    """The features of an answer beside the plan that they belong to."""

    plan: Plan
    features: Mapping[str, Feature]
    """By name, in the order in which they are shown."""
    keys: Mapping[str, Any]
    """Columns of the request by name: one value per row, or one."""
    t_us: NDArray[np.int64]
    """Shape (rows,)."""

    def tables(self, titles: list[str]) -> Iterator[Table]:
        """One table a row, for the first rows; `titles` by row."""
        for row, title in enumerate(titles[:MOST_ROWS]):
            table = Table("feature", "value", "status", "age", "default used", "why", title=title)
            table.title_justify, table.columns[1].justify, table.columns[3].justify = "left", "right", "right"
            for feature in self.features.values():
                table.add_row(*self._cells(feature, row))
            yield table

    def _cells(self, feature: Feature, row: int) -> tuple[str, ...]:
        column = self.plan.by_name[feature.name]
        status = feature.status[row].name if feature.status else ""
        old = age(self._age_us(feature, row)) if self._dated(feature, row) else ""
        return (
            feature.name,
            shown(column, feature.values[row]),
            status,
            old,
            self._default(column, feature, row),
            (self.why(feature, row)),
        )

    def _dated(self, feature: Feature, row: int) -> bool:
        return bool(feature.event_us.size and feature.event_us[row])

    def _age_us(self, feature: Feature, row: int) -> int:
        return int(self.t_us[row] - feature.event_us[row])

    def _default(self, column: Column, feature: Feature, row: int) -> str:
        if not feature.status or feature.status[row] in (Status.PRESENT, Status.REQUEST):
            return ""
        return shown(column, column.default) if feature.defaulted[row] else "none: NULL"

    def why(self, feature: Feature, row: int) -> str:
        """Where a value came from, or what kept it away."""
        match self.plan.by_name[feature.name].source:
            case Computed(function=function, arguments=arguments):
                return f"{function}({', '.join(arguments)})"
            case Given():
                return "came with the request" if feature.status[row] is Status.REQUEST else "left out of the request"
            case Stored() as source:
                return self._why_stored(source, feature, row)
            case _:
                return "t, the time of the row"

    def _why_stored(self, source: Stored, feature: Feature, row: int) -> str:
        view = source.view
        match feature.status[row]:
            case Status.PRESENT:
                return f"the row of {self._key(view, row)} in {view}"
            case Status.NULL:
                return f"the row of {self._key(view, row)} in {view} holds NULL"
            case Status.NOT_FOUND if self._has_row(view, row):
                return f"the row of {self._key(view, row)} in {view} is of an older schema, without {source.field!r}"
            case Status.NOT_FOUND:
                return f"no row of {self._key(view, row)} in {view}: never written, or expired"
            case Status.STALE:
                return f"the newest row is older than the TTL of {view}, {age(self._ttl_us(view))}"
            case Status.FUTURE:
                return self._why_future(view, feature, row)
            case Status.UNREADABLE:
                return f"what {view} stores is of no schema or meaning that the model knows; the server's log says more"
            case _:
                return "the online store did not answer in its share of the deadline"

    def _why_future(self, view: str, feature: Feature, row: int) -> str:
        if self._age_us(feature, row) < 0:
            return f"the row of {view} is dated {format_time(int(feature.event_us[row]))}, after t"
        return f"the row of {view} was created after t"

    def _has_row(self, view: str, row: int) -> bool:
        return any(one.view == view and one.status[row] in _THERE for one in self.features.values())

    def _ttl_us(self, view: str) -> int:
        return next(one.ttl_us or 0 for one in self.plan.views if one.name == view)

    def _key(self, view: str, row: int) -> str:
        """The join keys of a row as a person writes them: ip=1, app=2."""
        keys = next(one.join_keys for one in self.plan.views if one.name == view)
        return ", ".join(f"{key.key}={self._sent(key.column, row)}" for key in keys) or "the only key"

    def _sent(self, column: str, row: int) -> Any:
        return at(self.keys[column], row) if column in self.keys else self.plan.by_name[column].default


def at(values: Any, row: int) -> Any:
    """The value of a row in a column that may hold one for all."""
    return values[row] if len(values) > 1 else values[0]


def shown(column: Column, value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, str):
        return repr(value)
    if value != value:
        return "NULL"
    if column.dtype is DType.TIMESTAMP:
        return format_time(int(value))
    return str(int(value)) if column.dtype is DType.INT64 else f"{value:.7g}"


def age(us: int) -> str:
    """A duration in its two largest units.

    >>> age(0), age(90 * SECOND), age(26 * HOUR), age(1_500), age(-5 * SECOND)
    ('0s', '1m 30s', '1d 2h', '0.0015s', '-5s')
    """
    if us < 0:
        return f"-{age(-us)}"
    if us < MINUTE:
        return f"{us / SECOND:.4g}s"
    units = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"))
    larger = next(place for place, (unit, _) in enumerate(units) if us >= unit)
    (unit, letter), (below, small) = units[larger], units[larger + 1]
    rest = us % unit // below
    return f"{us // unit}{letter}" + (f" {rest}{small}" if rest else "")


def plain_features(features: Mapping[str, Feature]) -> dict[str, Any]:
    """The features as plain data, with names in place of numbers and null for NaN; lists have one entry per row."""
    return {feature.name: _plain(feature) for feature in features.values()}


def _plain(feature: Feature) -> dict[str, Any]:
    return {
        "view": feature.view,
        "values": [None if value != value else value for value in feature.values.tolist()],
        "status": [status.name for status in feature.status],
        "defaulted": feature.defaulted.tolist(),
        "event_timestamp_us": feature.event_us.tolist(),
    }
