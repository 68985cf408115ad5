"""The one function that turns what was found into what the model gets, in training and in serving alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array, Column, Plan, Stored, View
from lockstep.status import NULL, PRESENT, Rung, Status

__all__ = ["Resolved", "ViewFound", "ViewRows", "resolve", "row_status"]

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ViewRows:
    """What a store returned for one view: one entry per row of the request, in its order."""

    found: NDArray[np.int8]
    """Shape (rows,): PRESENT where a row was found, else NOT_FOUND, UNREADABLE or UNREACHABLE."""
    event_us: NDArray[np.int64]
    """Shape (rows,): event_timestamp of the row found, in µs; any number where none was found."""
    values: Mapping[str, Array]
    """By field of the view: shape (rows,), in the dtype of the plan's column; any value where the state is not PRESENT.
    Empty where nothing was found for any row."""
    states: NDArray[np.int8]
    """Shape (fields, rows), fields in the order of `values`: PRESENT, NULL, NOT_FOUND (the row is of a schema without
    this field) or UNREADABLE (of one that has it with another type). What stands where no row was found is ignored."""
    created_us: NDArray[np.int64] | None = None
    """Shape (rows,): created timestamp in µs where the source has one; None where it has none."""

    @staticmethod
    def missing(rows: int, status: Status) -> "ViewRows":
        """No row found for any key, all for the same reason."""
        return ViewRows(np.full(rows, status, np.int8), np.zeros(rows, np.int64), {}, np.empty((0, rows), np.int8))

    @staticmethod
    def of(
        found: NDArray[np.int8],
        event_us: NDArray[np.int64],
        values: Mapping[str, Array],
        valid: Mapping[str, NDArray[np.bool_]],
    ) -> "ViewRows":
        """Rows whose fields all have the plan's types: each is a value where `valid`, else NULL."""
        states = [np.where(valid[name], PRESENT, NULL) for name in values]
        return ViewRows(found, event_us, values, np.array(states, np.int8).reshape(len(values), len(found)))


@dataclass(frozen=True)
class ViewFound:
    """What was found for the columns that a plan reads from one view."""

    names: tuple[str, ...]
    """The columns."""
    status: NDArray[np.int8]
    """The Status of each value before any default. Shape (columns, rows)."""
    defaulted: NDArray[np.bool_]
    """True where the plan's default took the place of a value. Shape (columns, rows)."""
    event_us: NDArray[np.int64]
    """Shape (rows,): event_timestamp of the row found; any number where none was."""


@dataclass(frozen=True)
class Resolved:
    """The plan's columns before any function has run."""

    columns: dict[str, Array] = field(default_factory=dict)
    """By column: shape (rows,), in the column's dtype, with nothing left undecided."""
    status: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    """By stored or given column: the Status of each row, before any default."""
    defaulted: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By stored or given column: True where the plan's default took the place of a value."""
    views: dict[str, ViewFound] = field(default_factory=dict)
    """By view of which the plan reads columns: the same for all of them at once."""

    @property
    def stored(self) -> list[str]:
        """The columns that were read from a store."""
        return [name for view in self.views.values() for name in view.names]

    def rungs(self, rows: int) -> NDArray[np.int8]:
        """The rung that each row stands on. Shape (rows,)."""
        rungs = np.full(rows, Rung.FRESH, np.int8)
        if not self.views:
            return rungs
        for view in self.views.values():
            rungs[(view.status > NULL).any(axis=0)] = Rung.DEFAULTS
        if rungs.any():
            unread = [(view.status == Status.UNREACHABLE).all(axis=0) for view in self.views.values()]
            rungs[np.logical_and.reduce(unread)] = Rung.ALL_DEFAULTS
        return rungs


def row_status(rows: ViewRows, t: NDArray[np.int64], ttl_us: int | None) -> NDArray[np.int8]:
    """The rule for time: a row is usable at t when event <= t, created <= t and t − event <= ttl; µs, bounds included.

    Returns shape (rows,): PRESENT where the row is usable, FUTURE or STALE where time forbids it, else as found.
    """
    future = rows.event_us > t
    if rows.created_us is not None:
        future |= rows.created_us > t
    stale = t - rows.event_us > (_NEVER if ttl_us is None else ttl_us)
    if not (future.any() or stale.any()):
        return rows.found
    status = rows.found.copy()
    present = status == PRESENT
    status[present & stale] = Status.STALE
    status[present & future] = Status.FUTURE
    return status


def resolve(plan: Plan, found: Mapping[str, ViewRows], given: Mapping[str, Array], t: NDArray[np.int64]) -> Resolved:
    """Fill every column of the plan that is not computed: value, else the plan's default, else NULL.

    `found` by view name; `given` by column name, arrays of shape (rows,) in the plan's dtypes, a column with a default
    may be absent; `t` in µs, shape (rows,). A default is used wherever there is no usable value, NULL included.
    Raises KeyError where a view or a given column without default is absent: the caller checks the request before.
    """
    resolved = Resolved()
    for view in plan.views:
        if plan.reads[view.name]:
            _fill_view(resolved, view, plan.reads[view.name], found[view.name], t)
    for column in plan.given.values():
        _fill_given(resolved, column, given, len(t))
    for name in plan.moments:
        resolved.columns[name] = t.astype(np.float64)
    return resolved


def _fill_view(
    resolved: Resolved, view: View, reads: Sequence[tuple[Column, Stored]], rows: ViewRows, t: NDArray[np.int64]
) -> None:
    """All columns of one view: what is the same for all is decided once."""
    row = row_status(rows, t, view.ttl_us)
    if rows.values:
        status = np.where(row == PRESENT, _in_order(rows, reads), row)
    else:
        status = np.repeat(row[None], len(reads), axis=0)
    absent = status != PRESENT
    some = bool(absent.any())
    defaulted = absent if all(column.default is not None for column, _ in reads) else absent.copy()
    for place, (column, source) in enumerate(reads):
        values = rows.values[source.field] if rows.values else np.empty(len(t), column.dtype.numpy)
        resolved.columns[column.name] = _filled(column, values, absent[place]) if some else values
        if column.default is None:
            defaulted[place] = False
        resolved.status[column.name], resolved.defaulted[column.name] = status[place], defaulted[place]
    names = tuple(column.name for column, _ in reads)
    resolved.views[view.name] = ViewFound(names, status, defaulted, rows.event_us)


def _in_order(rows: ViewRows, reads: Sequence[tuple[Column, Stored]]) -> NDArray[np.int8]:
    """The states of the fields that the columns read, in the columns' order."""
    fields = list(rows.values)
    wanted = [source.field for _, source in reads]
    return rows.states if fields == wanted else rows.states[[fields.index(name) for name in wanted]]


def _filled(column: Column, values: Array, absent: NDArray[np.bool_]) -> Array:
    filled: Array = np.where(absent, column.instead, values)
    return filled


def _fill_given(resolved: Resolved, column: Column, given: Mapping[str, Array], rows: int) -> None:
    sent = column.name in given or column.default is None
    values = given[column.name] if sent else np.full(rows, column.instead)
    resolved.columns[column.name] = values
    resolved.status[column.name] = np.full(rows, Status.REQUEST if sent else Status.NULL, np.int8)
    resolved.defaulted[column.name] = np.full(rows, not sent)
