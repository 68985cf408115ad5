"""What a model is given for some rows: every column with its value, what was found, and how old it is."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockstep.functions import Function, all_columns
from lockstep.plan import Array, Column, Plan, Stored
from lockstep.resolve import Resolved
from lockstep.status import Status

__all__ = ["FeatureColumn", "explained"]

log = logging.getLogger(__name__)

_THERE = [int(status) for status in (Status.PRESENT, Status.NULL, Status.STALE, Status.FUTURE)]
"""What is found where there is a row."""


@dataclass(frozen=True)
class FeatureColumn:
    """One column of a plan."""

    column: Column
    values: Array
    """What the model gets. Shape (rows,)."""
    status: NDArray[np.int8] | None
    """What was found, before any default; None for a computed column."""
    defaulted: NDArray[np.bool_] | None
    """None for a computed column."""
    event_us: NDArray[np.int64] | None
    """Event timestamps of the stored rows, 0 where there is none; None for a column that was not read."""

    @property
    def view(self) -> str:
        """The view it was read from; '' for others."""
        return self.column.source.view if isinstance(self.column.source, Stored) else ""


def explained(
    plan: Plan, functions: Mapping[str, Function], resolved: Resolved, rows: int, names: Iterable[str]
) -> list[FeatureColumn]:
    """The columns named, in their order. Where a function fails, what it would have made is left out."""
    wanted = [plan.by_name[name] for name in names]
    try:
        columns = all_columns(plan, functions, resolved.columns, rows, [column.name for column in wanted])
    except Exception:  # functions are the user's: anything can come out of them
        log.exception("a function failed", extra={"reason": "function failed"})
        columns = resolved.columns
    return [
        FeatureColumn(
            column,
            columns[column.name],
            resolved.status.get(column.name),
            resolved.defaulted.get(column.name),
            _event_us(plan, column, resolved),
        )
        for column in wanted
        if column.name in columns
    ]


def _event_us(plan: Plan, column: Column, resolved: Resolved) -> NDArray[np.int64] | None:
    if not isinstance(column.source, Stored):
        return None
    stored = plan.stored_columns
    found = resolved.event_us[stored.view_of[stored.names.index(column.name)]]
    status = resolved.status[column.name]
    return np.where(np.isin(status, _THERE), found, 0)
