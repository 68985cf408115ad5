"""The one function that turns what was found into what the model gets, in training and in serving alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.compiled import core
from lockstep.plan import Array, Column, DType, Plan, StoredColumns
from lockstep.status import NULL, PRESENT, Rung, Status

__all__ = ["PlanRows", "Resolved", "ViewRows", "resolve", "row_status"]

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
class PlanRows:
    """What was found for all views that a plan reads. Views and columns are in the order of `Plan.stored_columns`."""

    found: NDArray[np.int8]
    """As in ViewRows. Shape (views, rows)."""
    event_us: NDArray[np.int64]
    """Shape (views, rows)."""
    created_us: NDArray[np.int64] | None
    """Shape (views, rows); the least int64 where a row has none; None where no view has any."""
    states: NDArray[np.int8]
    """As in ViewRows, of the columns. Shape (columns, rows)."""
    values: Mapping[DType, Array]
    """The values of all columns of one dtype, in the order of `Plan.stored_columns`. Shape (columns, rows)."""

    @staticmethod
    def missing(plan: Plan, rows: int, status: Status) -> "PlanRows":
        """No row found for any key of any view, all for the same reason."""
        return PlanRows.of(plan, {view.name: ViewRows.missing(rows, status) for view in plan.views}, rows)

    @staticmethod
    def of(plan: Plan, views: Mapping[str, ViewRows], rows: int) -> "PlanRows":
        """The same of what was found for each view."""
        used = [views[view.name] for view in plan.stored_columns.views]
        made = PlanRows(
            found=np.array([view.found for view in used], np.int8).reshape(len(used), rows),
            event_us=np.array([view.event_us for view in used], np.int64).reshape(len(used), rows),
            created_us=_created(used, rows),
            states=np.zeros((len(plan.stored_columns.columns), rows), np.int8),
            values={
                dtype: np.empty((len(places), rows), dtype.numpy)
                for dtype, places in plan.stored_columns.places.items()
            },
        )
        for view, found in zip(plan.stored_columns.views, used, strict=True):
            made.put(plan, view.name, found)
        return made

    def put(self, plan: Plan, view: str, rows: ViewRows) -> None:
        """Let the columns of one view hold these values and states."""
        fields = {name: place for place, name in enumerate(rows.values)}
        for place, group, row, source in plan.stored_columns.of_view[view]:
            if rows.values:
                self.states[place] = rows.states[fields[source]]
                self.values[group][row] = rows.values[source]


def _created(views: list[ViewRows], rows: int) -> NDArray[np.int64] | None:
    if all(view.created_us is None for view in views):
        return None
    none = np.full(rows, np.iinfo(np.int64).min)
    return np.array([none if view.created_us is None else view.created_us for view in views], np.int64)


@dataclass(frozen=True)
class Resolved:
    """The plan's columns before any function has run."""

    plan: Plan
    columns: dict[str, Array]
    """By column: shape (rows,), in the column's dtype, with nothing left undecided."""
    found: NDArray[np.int8]
    """The Status of each stored value, before any default. Shape (columns, rows), as `Plan.stored_columns`."""
    replaced: NDArray[np.bool_]
    """Where the plan's default took the place of a stored value. Shape (columns, rows)."""
    event_us: NDArray[np.int64]
    """Event timestamps of the rows found; any number where none was. Shape (views, rows)."""
    unsent: frozenset[str]
    """The given columns that the request left out."""
    known_rungs: NDArray[np.int8] | None = None
    """What `rungs` returns, where that is known."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns that were read from a store."""
        return self.plan.stored_columns.names

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.found.shape[1])

    @cached_property
    def status(self) -> dict[str, NDArray[np.int8]]:
        """By stored or given column: the Status of each row, before any default."""
        given = {
            name: np.full(self.rows, Status.NULL if name in self.unsent else Status.REQUEST, np.int8)
            for name in self.plan.given
        }
        return {**dict(zip(self.stored, self.found, strict=True)), **given}

    @cached_property
    def defaulted(self) -> dict[str, NDArray[np.bool_]]:
        """By stored or given column: True where the plan's default took the place of a value."""
        given = {name: np.full(self.rows, name in self.unsent) for name in self.plan.given}
        return {**dict(zip(self.stored, self.replaced, strict=True)), **given}

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Resolved":
        """Some rows, by index, mask or slice."""
        return Resolved(
            self.plan,
            {name: values[rows] for name, values in self.columns.items()},
            self.found[:, rows],
            self.replaced[:, rows],
            self.event_us[:, rows],
            self.unsent,
        )

    def rungs(self) -> NDArray[np.int8]:
        """The rung that each row stands on. Shape (rows,)."""
        return _rungs(self.found) if self.known_rungs is None else self.known_rungs


_UNREACHABLE = np.int8(Status.UNREACHABLE)


def _rungs(found: NDArray[np.int8]) -> NDArray[np.int8]:
    """Of each row; `found` as in Resolved."""
    if not len(found):
        return np.full(found.shape[1], Rung.FRESH, np.int8)
    unusable = found > NULL
    rungs: NDArray[np.int8] = np.asarray(unusable.any(axis=0)).view(np.int8)  # FRESH is 0, DEFAULTS is 1
    if np.count_nonzero(rungs):
        rungs[(found == _UNREACHABLE).all(axis=0)] = Rung.ALL_DEFAULTS
    return rungs


def row_status(
    found: NDArray[np.int8],
    event_us: NDArray[np.int64],
    created_us: NDArray[np.int64] | None,
    t: NDArray[np.int64],
    ttl_us: NDArray[np.int64] | int | None,
) -> NDArray[np.int8]:
    """The rule for time: a row is usable at t when event <= t, created <= t and t − event <= ttl; µs, bounds included.

    Arrays of shape (rows,), or (views, rows) with a TTL per view of shape (views, 1); None: rows do not age. Returns
    the shape of `found`: PRESENT where the row is usable, FUTURE or STALE where time forbids it, else as found.
    """
    future = event_us > t
    if created_us is not None:
        future |= created_us > t
    stale = t - event_us > (_NEVER if ttl_us is None else ttl_us)
    if not (np.count_nonzero(future) or np.count_nonzero(stale)):
        return found
    status = found.copy()
    present = status == PRESENT
    status[present & stale] = Status.STALE
    status[present & future] = Status.FUTURE
    return status


def resolve(
    plan: Plan, found: Mapping[str, ViewRows] | PlanRows, given: Mapping[str, Array], t: NDArray[np.int64]
) -> Resolved:
    """Fill every column of the plan that is not computed: value, else the plan's default, else NULL.

    `found` by view name, or of all views; `given` by column name, arrays of shape (rows,) in the plan's dtypes, a
    column with a default may be absent; `t` in µs, shape (rows,). A default is used wherever there is no usable value,
    NULL included. Raises KeyError where a view or a given column without default is absent: the caller checks the
    request before.
    """
    rows = found if isinstance(found, PlanRows) else PlanRows.of(plan, found, len(t))
    stored = plan.stored_columns
    settled = (_settled if core is None else _settled_in_c)(stored, rows, t)
    columns: dict[str, Array] = {}
    for dtype, values in settled.values.items():
        columns.update(zip(stored.names_of[dtype], values, strict=True))
    for column in plan.given.values():
        columns[column.name] = _given(column, given, len(t))
    for name in plan.moments:
        columns[name] = t.astype(np.float64)
    unsent = frozenset(name for name in plan.given if name not in given)
    return Resolved(plan, columns, settled.status, settled.replaced, rows.event_us, unsent, settled.rungs)


class _Settled(NamedTuple):
    """What is made of the rows of a plan; all but `rungs` as in Resolved."""

    status: NDArray[np.int8]
    replaced: NDArray[np.bool_]
    values: Mapping[DType, Array]
    """By dtype, with the defaults. Shape (columns of the dtype, rows)."""
    rungs: NDArray[np.int8] | None = None


def _settled(stored: StoredColumns, rows: PlanRows, t: NDArray[np.int64]) -> _Settled:
    row = row_status(rows.found, rows.event_us, rows.created_us, t, stored.ttl_us)[stored.view_of]
    status = np.where(row == PRESENT, rows.states, row)
    absent = status != PRESENT
    if not np.count_nonzero(absent):
        return _Settled(status, absent, rows.values)
    values = {
        dtype: np.where(absent[places], stored.instead[dtype], rows.values[dtype])
        for dtype, places in stored.places.items()
    }
    return _Settled(status, absent & stored.has_default, values)


def _settled_in_c(stored: StoredColumns, rows: PlanRows, t: NDArray[np.int64]) -> _Settled:
    status, replaced, rungs, values = core.settle(
        rows.found,
        rows.event_us,
        rows.created_us,
        rows.states,
        t if t.flags.c_contiguous else t.copy(),
        stored.ttl_us,
        stored.view_of,
        stored.has_default,
        tuple([rows.values[dtype] for dtype in stored.places]),
        tuple(stored.instead.values()),
        tuple(stored.places.values()),
    )
    return _Settled(status, replaced, dict(zip(stored.places, values, strict=True)), rungs)


def _given(column: Column, given: Mapping[str, Array], rows: int) -> Array:
    if column.name in given or column.default is None:
        return given[column.name]
    return np.full(rows, column.instead)
