"""What stands in a spine as a request would say it: the same values in training, in batch scoring and in a request.

A NULL that no request can say, in a whole number or in the time, is an error of the spine, not a zero.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lockstep import request
from lockstep.errors import BadColumn
from lockstep.plan import Array, Plan
from training.plans import EVENT_TIMESTAMP

__all__ = ["given_and_times", "given_columns", "micros", "whole_us"]


def given_columns(plan: Plan, rows: pa.Table) -> dict[str, Array]:
    """The columns that a request carries, by the rules of every request, in the plan's dtypes.

    A column with a default may be absent. Raises BadColumn naming the row, counted from 0.
    """
    given, _ = _checked(plan, rows, np.zeros(len(rows), np.int64))
    return given


def given_and_times(plan: Plan, rows: pa.Table, moment_us: int | None) -> request.Query:
    """The same and t; with `moment_us` it is t of all rows."""
    if moment_us is not None:
        return _checked(plan, rows, np.full(len(rows), moment_us))
    _check_no_null(EVENT_TIMESTAMP, rows[EVENT_TIMESTAMP], "a row without a time cannot be scored")
    return _checked(plan, rows, micros(rows[EVENT_TIMESTAMP]))


def _checked(plan: Plan, rows: pa.Table, t: NDArray[np.int64]) -> request.Query:
    columns = {name: _array(name, rows[name]) for name in plan.given if name in rows.column_names}
    if not len(rows):  # a request has rows, a spine may have none
        return {name: values.astype(plan.given[name].dtype.numpy) for name, values in columns.items()}, t
    return request.check(plan, columns, t, max_rows=len(rows))


def micros(times: pa.ChunkedArray) -> NDArray[np.int64]:
    """A timestamp column without NULL as int64 µs; nanoseconds are cut."""
    us: NDArray[np.int64] = whole_us(times).to_numpy()
    return us


def whole_us(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times of any unit as int64 µs, NULL where they were."""
    return pc.cast(times, pa.timestamp("us", tz=times.type.tz), safe=False).cast(pa.int64())


def _array(name: str, values: pa.ChunkedArray) -> Array:
    """Missing is NaN or ''; whole numbers cannot be missing."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        values, kind = whole_us(values).cast(pa.float64()), pa.float64()
    if pa.types.is_boolean(kind):
        values, kind = values.cast(pa.int8()), pa.int8()
    if pa.types.is_floating(kind):
        return np.asarray(pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy())
    if pa.types.is_integer(kind):
        _check_no_null(name, values, "whole numbers have no NULL")
        return _whole(name, values)
    return np.asarray(pc.fill_null(values.cast(pa.string()), "").to_numpy(), object)


def _whole(name: str, values: pa.ChunkedArray) -> Array:
    try:
        return np.asarray(values.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid as error:
        raise BadColumn(name, f"holds numbers that are no int64: {error}.") from error


def _check_no_null(name: str, values: pa.ChunkedArray, why: str) -> None:
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy())[0])
        raise BadColumn(name, f"is NULL; {why}. Leave such rows out, e.g. by a query.", row=row)
