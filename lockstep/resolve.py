"""The one function that turns what was found into what the model gets, in training and in serving alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array, Column, Given, Moment, Plan, Stored, View
from lockstep.status import Rung, Status

__all__ = ["Resolved", "ViewRows", "resolve", "row_status"]

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ViewRows:
    """What a store returned for one view: one entry per row of the request, in its order."""

    found: NDArray[np.int8]
    """Shape (rows,): PRESENT where a row was found, else NOT_FOUND, UNREADABLE or UNREACHABLE."""
    event_us: NDArray[np.int64]
    """Shape (rows,): event_timestamp of the row found, in µs; any number where none was found."""
    values: Mapping[str, Array]
    """By field of the view: shape (rows,), in the dtype of the plan's column; any value where `valid` is False."""
    valid: Mapping[str, NDArray[np.bool_]]
    """By field of the view: False where the value is NULL or no row was found."""
    created_us: NDArray[np.int64] | None = None
    """Shape (rows,): created timestamp in µs where the source has one; None where it has none."""

    @staticmethod
    def missing(rows: int, status: Status) -> "ViewRows":
        """No row found for any key, all for the same reason."""
        return ViewRows(np.full(rows, status, np.int8), np.zeros(rows, np.int64), {}, {})


@dataclass(frozen=True)
class Resolved:
    """The plan's columns before any function has run."""

    columns: dict[str, Array] = field(default_factory=dict)
    """By column: shape (rows,), in the column's dtype, with nothing left undecided."""
    status: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    """By stored or given column: the Status of each row, before any default."""
    defaulted: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By stored or given column: True where the plan's default took the place of a value."""
    stored: list[str] = field(default_factory=list)
    """The columns that were read from a store."""

    def rung(self) -> Rung:
        """The worst rung that any row stands on."""
        if not self.stored:
            return Rung.FRESH
        status = np.stack([self.status[name] for name in self.stored])
        if (status == Status.UNREACHABLE).all(axis=0).any():
            return Rung.ALL_DEFAULTS
        usable = (status == Status.PRESENT) | (status == Status.NULL)
        return Rung.FRESH if usable.all() else Rung.DEFAULTS


def row_status(rows: ViewRows, t: NDArray[np.int64], ttl_us: int | None) -> NDArray[np.int8]:
    """The rule for time: a row is usable at t when event <= t, created <= t and t − event <= ttl; µs, bounds included.

    Returns shape (rows,): PRESENT where the row is usable, FUTURE or STALE where time forbids it, else as found.
    """
    status = rows.found.astype(np.int8)
    present = status == Status.PRESENT
    future = rows.event_us > t
    if rows.created_us is not None:
        future |= rows.created_us > t
    stale = t - rows.event_us > (_NEVER if ttl_us is None else ttl_us)
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
    usable = {view.name: _view_status(view, found[view.name], t) for view in plan.views}
    for column in plan.resolved:
        match column.source:
            case Stored(view=view, field=name):
                _fill_stored(resolved, column, found[view], name, usable[view])
            case Given():
                _fill_given(resolved, column, given, len(t))
            case Moment():
                resolved.columns[column.name] = t.astype(np.float64)
    return resolved


def _view_status(view: View, rows: ViewRows, t: NDArray[np.int64]) -> NDArray[np.int8]:
    return row_status(rows, t, view.ttl_us)


def _fill_stored(resolved: Resolved, column: Column, rows: ViewRows, name: str, row: NDArray[np.int8]) -> None:
    resolved.stored.append(column.name)
    present = row == Status.PRESENT
    if not present.any():
        _fill(resolved, column, np.empty(len(row), column.dtype.numpy), present, row)
        return
    valid = rows.valid[name] & present
    status = np.where(present & ~valid, np.int8(Status.NULL), row)
    _fill(resolved, column, rows.values[name], valid, status)


def _fill_given(resolved: Resolved, column: Column, given: Mapping[str, Array], rows: int) -> None:
    if column.name in given or column.default is None:
        resolved.columns[column.name] = given[column.name]
        resolved.status[column.name] = np.full(rows, Status.REQUEST, np.int8)
        resolved.defaulted[column.name] = np.zeros(rows, np.bool_)
        return
    nothing = np.zeros(rows, np.bool_)
    _fill(resolved, column, np.empty(rows, column.dtype.numpy), nothing, np.full(rows, Status.NULL, np.int8))


def _fill(
    resolved: Resolved, column: Column, values: Array, valid: NDArray[np.bool_], status: NDArray[np.int8]
) -> None:
    instead = column.dtype.missing if column.default is None else column.default
    filled = values if valid.all() else np.where(valid, values, np.array(instead, column.dtype.numpy))
    resolved.columns[column.name] = filled.astype(column.dtype.numpy, copy=False)
    resolved.status[column.name] = status
    resolved.defaulted[column.name] = ~valid if column.default is not None else np.zeros(len(valid), np.bool_)
