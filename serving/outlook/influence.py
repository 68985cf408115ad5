"""How much each feature moved a score: the score again, each time without one of them.

Leave-one-out on the model as it serves: a column is replaced by what stands where there is no value, the plan's default
or NULL, the functions that use it run again, and the model scores. That is a fact about this model and this row, not a
share of the score: what two features say together is counted for both, or for none.
"""

from collections.abc import Mapping

import numpy as np

from lockstep.bundle import Bundle
from lockstep.plan import Array, Column, Computed, DType

__all__ = ["scores_without"]


def scores_without(bundle: Bundle, columns: Mapping[str, Array]) -> dict[str, float]:
    """By column of the plan the score without it; `columns` holds all of one row, each of shape (1,).

    Left out are int64 columns without a default: they have no NULL. Raises what functions and models raise.
    """
    replaced = [column for column in bundle.plan.columns if _can_be_missing(column)]
    rows = len(replaced)
    if not rows:
        return {}
    resolved = {column.name: np.repeat(columns[column.name], rows) for column in bundle.plan.resolved}
    for row, column in enumerate(replaced):
        if column.name in resolved:
            resolved[column.name][row] = column.instead.item()
    inputs = bundle.inputs(resolved, rows)
    for row, column in enumerate(replaced):
        if isinstance(column.source, Computed) and column.name in inputs:
            inputs[column.name] = _with(inputs[column.name], row, column)
    scores = bundle.score_inputs(inputs).tolist()
    return {column.name: score for column, score in zip(replaced, scores, strict=True) if np.isfinite(score)}


def _with(values: Array, row: int, column: Column) -> Array:
    """A copy: a function may have returned one of its arguments."""
    made = values.copy()
    made[row] = column.instead.item()
    return made


def _can_be_missing(column: Column) -> bool:
    return column.default is not None or column.dtype is not DType.INT64
