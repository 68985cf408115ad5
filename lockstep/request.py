"""Check the columns of a request against a plan: names, types, lengths, values. The same for every interface.

A column of length one is broadcast over the others: one user, a hundred candidates.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BadColumn, BadRequest, UnknownColumn
from lockstep.plan import Array, Column, DType, Given, Plan

__all__ = ["Query", "check"]

MAX_STRING_BYTES = 1024
TIMES = "event_timestamp_us"
"""What a caller calls t."""
LAST_TIME = 2**53
"""Times are exact as float64 up to here, and differences of times cannot overflow."""

Query = tuple[dict[str, Array], NDArray[np.int64]]
"""The given columns by name, each of shape (rows,) in the plan's dtype, and t in µs of shape (rows,)."""


def check(plan: Plan, columns: Mapping[str, Array], t: NDArray[np.int64], *, max_rows: int) -> Query:
    """The request as the plan wants it, its columns in the plan's order.

    `columns` by name, one-dimensional arrays: int64, float64 or object arrays of str; `t` of length one or of the rows.
    Raises UnknownColumn, BadColumn or BadRequest, naming the column, the row and what was expected.
    """
    for name in columns:
        if name not in plan.given:
            raise UnknownColumn(name, plan.given)
    for name, column in plan.given.items():
        if name not in columns and column.default is None:
            raise BadColumn(name, f"missing; the model needs it as {_needed_as(column)}.")
    rows = _rows([*((name, len(values)) for name, values in columns.items()), (TIMES, len(t))], max_rows)
    _check_times(t)
    typed = {name: _typed(column, columns[name]) for name, column in plan.given.items() if name in columns}
    return {name: _broadcast(values, rows) for name, values in typed.items()}, _broadcast(t, rows)


def _needed_as(column: Column) -> str:
    assert isinstance(column.source, Given)
    return f"{column.dtype.value} ({column.source.role.replace('_', ' ')})"


def _rows(lengths: Sequence[tuple[str, int]], max_rows: int) -> int:
    longest, rows = max(lengths, key=lambda one: one[1])
    for name, length in lengths:
        if length == 0:
            raise BadColumn(name, "has no rows; send at least one value.")
        if length not in (1, rows):
            raise BadColumn(
                name, f"has {length} values, but {longest!r} has {rows}; every column has one value, or one per row."
            )
    if rows > max_rows:
        raise BadRequest(
            f"{rows} rows in one request; this server takes at most {max_rows}. Send them in several requests."
        )
    return rows


def _check_times(t: NDArray[np.int64]) -> None:
    outside = np.flatnonzero((t > LAST_TIME) | (t < -LAST_TIME))
    if outside.size:
        row = int(outside[0])
        raise BadColumn(TIMES, f"{t[row]} is no time in microseconds since 1970 (after the year 2255).", row=row)


def _broadcast(values: Array, rows: int) -> Array:
    return values if len(values) == rows else np.repeat(values, rows)


def _typed(column: Column, values: Array) -> Array:
    wanted = column.dtype
    if wanted is DType.STRING:
        return _strings(column.name, values)
    if wanted is DType.INT64:
        if values.dtype.kind not in "iu":
            raise BadColumn(column.name, f"holds {_kind(values)}; expected int64.")
        return values.astype(np.int64, copy=False)
    if values.dtype.kind not in "iuf":
        raise BadColumn(column.name, f"holds {_kind(values)}; expected {wanted.value}.")
    with np.errstate(over="ignore"):
        typed = values.astype(wanted.numpy)
    infinite = np.isinf(typed)
    if infinite.any():
        row = int(np.flatnonzero(infinite)[0])
        raise BadColumn(
            column.name, f"{values[row]} is no {wanted.value}; send a finite number, or NaN for NULL.", row=row
        )
    return typed


def _kind(values: Array) -> str:
    return {"O": "strings", "U": "strings", "f": "floating-point numbers", "i": "integers", "b": "booleans"}.get(
        values.dtype.kind, str(values.dtype)
    )


def _strings(name: str, values: Array) -> Array:
    if values.dtype.kind not in "OU":
        raise BadColumn(name, f"holds {_kind(values)}; expected strings.")
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise BadColumn(name, f"holds a {type(value).__name__}; expected a string.", row=row)
        if len(value.encode()) > MAX_STRING_BYTES:
            raise BadColumn(
                name, f"a string of {len(value.encode())} bytes; at most {MAX_STRING_BYTES} are taken.", row=row
            )
    return values.astype(object, copy=False)
