"""Columns from what a caller in this process has: numpy arrays, lists, pandas Series, single values.

The rules are those of `lockstep_client`, which makes messages of them and needs gRPC: a column is whole numbers, floats
or strings by the types of its values, times become microseconds, and None is no value (NULL is NaN among floats).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BadColumn
from lockstep.plan import Array
from lockstep.times import from_datetime

__all__ = ["Columns", "arrays", "times_us"]

Columns = Mapping[str, object]
"""By name: an array, a list or one value; of whole numbers, floats, strings or times. All have one value per row, or
one for all rows."""
AT = "at"
"""What a caller calls t."""
_INT, _FLOAT, _TEXT, _TIME = (int, np.integer, np.bool_), (float, np.floating), (str,), (datetime, np.datetime64)


def arrays(columns: Columns) -> dict[str, Array]:
    """Each column as int64, float64 or objects that are str, shape (rows,) or (1,). Raises BadColumn naming the row."""
    return {name: _column(name, values) for name, values in columns.items()}


def times_us(at: object) -> NDArray[np.int64] | None:
    """The t of each row in µs UTC, from datetimes (UTC where they name no zone), datetime64s or whole
    microseconds; None stays None.

    Raises BadColumn for anything else: for floats, because seconds are not meant.
    """
    if at is None:
        return None
    array = _column(AT, at)
    if array.dtype.kind == "i":
        return array
    if array.dtype.kind != "f" or not _are_times(at) or np.isnan(array).any():
        raise BadColumn(AT, "expected datetimes or whole microseconds since 1970 UTC, one for all rows or one per row.")
    return array.astype(np.int64)


def _are_times(at: object) -> bool:
    first = at[0] if isinstance(at, Sequence) else at
    return isinstance(first, _TIME) or getattr(getattr(first, "dtype", None), "kind", "") == "M"


def _column(name: str, values: object) -> Array:
    if hasattr(values, "__array__") and not isinstance(values, np.generic):
        array = np.asarray(values)
        if array.ndim > 1:
            raise BadColumn(name, f"has {array.ndim} dimensions; expected one, a value per row.")
        return _of_array(name, array.reshape(-1))
    several = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    return _of_objects(name, list(values) if several else [values])  # type: ignore[call-overload]


def _of_array(name: str, array: Array) -> Array:
    match array.dtype.kind:
        case "O" | "u":
            return _of_objects(name, array.tolist())
        case "M":
            us = array.astype("datetime64[us]")
            return np.where(np.isnat(us), np.nan, us.astype(np.int64).astype(np.float64))
        case "U":
            return array.astype(object)
        case "b" | "i":
            return array.astype(np.int64)
        case "f":
            return array.astype(np.float64)
    raise BadColumn(name, f"holds {array.dtype}; expected whole numbers, floats, strings or times.")


def _of_objects(name: str, values: list[Any]) -> Array:
    kinds = set(map(type, values))
    if _all(kinds, _INT):
        return _whole(name, values)
    if _all(kinds, _INT + _FLOAT):
        return np.array(values, np.float64)
    if _all(kinds, _TEXT):
        return np.array(values, object)
    if _all(kinds, _TIME):
        return np.array([_micros(value) for value in values], np.float64)
    row = next(row for row, value in enumerate(values) if not isinstance(value, _family(values[0])))
    raise BadColumn(
        name,
        f"is a {type(values[row]).__name__} among others; a column is whole numbers, floats, strings or times. "
        "NULL is nan among floats, '' among strings.",
        row=row,
    )


def _all(kinds: set[type], family: tuple[type, ...]) -> bool:
    return all(issubclass(kind, family) for kind in kinds)


def _family(value: object) -> tuple[type, ...]:
    """The types that may stand beside a value; none where no column can hold it."""
    families = (_INT + _FLOAT, _TEXT, _TIME)
    return next((family for family in families if isinstance(value, family)), ())


def _whole(name: str, values: list[Any]) -> NDArray[np.int64]:
    for row, value in enumerate(values):
        if not -(2**63) <= value < 2**63:
            raise BadColumn(name, f"{value} is no 64-bit whole number.", row=row)
    return np.array(values, np.int64)


def _micros(moment: datetime | np.datetime64) -> float:
    if isinstance(moment, datetime):
        return from_datetime(moment)
    return np.nan if np.isnat(moment) else float(moment.astype("datetime64[us]").astype(np.int64))
