"""Columns of a request from what people have: numpy arrays, lists, pandas Series, single values.

A column becomes int64s, doubles or strings by the type of its values alone, never by what they happen to be, so that a
request means the same on every day. Whole arrays are converted at once; Python sees single values only on the way to an
error.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep_client.errors import InvalidArgument
from lockstep_client.wire import doubles_field
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["TIMES", "fill", "times_us"]

TIMES = "at"
"""What a caller calls t."""
WHOLE, FLOAT, TEXT, MOMENT = "whole numbers", "floats", "strings", "times"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def fill(column: pb.Column, values: object) -> int:
    """Put values into a column that has its name; returns how many. Raises InvalidArgument, naming column and row."""
    if type(values) is list:
        return _fill_list(column, values)
    if isinstance(values, np.ndarray):
        return _fill_array(column, values)
    if isinstance(values, bool | int | float | str | datetime | np.generic):
        return _fill_list(column, [values])
    return _fill_other(column, values)


def _fill_other(column: pb.Column, values: object) -> int:
    """Whatever can become an array or a list: a pandas Series, an Arrow or polars column, a tuple, a range."""
    if hasattr(values, "__array__"):
        return _fill_array(column, np.asarray(values))
    if isinstance(values, Sequence) and not isinstance(values, bytes | bytearray | memoryview):
        return _fill_list(column, list(values))
    raise _bad(column.name, values)


def _bad(name: str, values: object) -> InvalidArgument:
    expected = "expected an array, a list, or one value, of whole numbers, floats, strings or times."
    return InvalidArgument.of(name, f"is a {type(values).__name__}; {expected}")


def _fill_array(column: pb.Column, array: NDArray[Any]) -> int:
    _check_shape(column.name, array)
    filler = _ARRAYS.get(array.dtype.kind)
    if filler is None:
        raise InvalidArgument.of(column.name, f"holds {array.dtype}; expected whole numbers, floats, strings or times.")
    filler(column, array)
    return array.size


def _check_shape(name: str, array: NDArray[Any]) -> None:
    if array.ndim > 1:
        raise InvalidArgument.of(name, f"has {array.ndim} dimensions {array.shape}; expected one, a value per row.")
    if not array.size:
        raise InvalidArgument.of(name, "has no rows; send at least one value.")
    if type(array) is not np.ndarray and np.ma.is_masked(array):
        raise InvalidArgument.of(name, "has masked values; fill them: nan is NULL among floats, '' among strings.")


def _fill_whole_array(column: pb.Column, array: NDArray[Any]) -> None:
    _fill_whole(column, array.reshape(-1).tolist())


def _fill_bool_array(column: pb.Column, array: NDArray[Any]) -> None:
    _fill_whole_array(column, array.astype(np.int8))


def _fill_float_array(column: pb.Column, array: NDArray[Any]) -> None:
    column.doubles.MergeFromString(doubles_field(array))


def _fill_text_array(column: pb.Column, array: NDArray[Any]) -> None:
    _fill_text(column, array.reshape(-1).tolist())


def _fill_moment_array(column: pb.Column, array: NDArray[Any]) -> None:
    us = array.astype("datetime64[us]")
    _fill_float_array(column, np.where(np.isnat(us), np.nan, us.astype(np.int64).astype(np.float64)))


def _fill_object_array(column: pb.Column, array: NDArray[Any]) -> None:
    _fill_list(column, array.reshape(-1).tolist())


_ARRAYS: dict[str, Callable[[pb.Column, NDArray[Any]], None]] = {
    "b": _fill_bool_array,
    "i": _fill_whole_array,
    "u": _fill_whole_array,
    "f": _fill_float_array,
    "U": _fill_text_array,
    "M": _fill_moment_array,
    "O": _fill_object_array,
}
"""By numpy's kind of dtype."""


def _fill_list(column: pb.Column, values: list[Any]) -> int:
    if not values:
        raise InvalidArgument.of(column.name, "has no rows; send at least one value.")
    types = set(map(type, values))
    family = _family(column.name, values, types)
    if bool in types:  # 0 and 1; protobuf would not take them for numbers
        values = list(map(int, values)) if family == WHOLE else values
    _LISTS[family](column, values)
    return len(values)


def _family(name: str, values: list[Any], types: set[type]) -> str:
    """What a list holds. Raises InvalidArgument where it holds more than one thing, or something else."""
    families = {_family_of(each) for each in types}
    if len(families) == 1 and None not in families:
        return families.pop() or ""
    if families == {WHOLE, FLOAT}:
        _check_no_nan(name, values)
        return FLOAT
    raise _mixed(name, values)


def _family_of(kind: type) -> str | None:
    for family, kinds in _FAMILIES.items():
        if issubclass(kind, kinds):
            return family
    return None


_FAMILIES: dict[str, tuple[type, ...]] = {
    WHOLE: (int, np.integer, np.bool_),
    FLOAT: (float, np.floating),
    TEXT: (str,),
    MOMENT: (datetime, np.datetime64),
}


def _check_no_nan(name: str, values: list[Any]) -> None:
    """Whole numbers beside a NaN: of a key the row is unusable, of a float column the type was not meant."""
    for row, value in enumerate(values):
        if value != value:
            raise InvalidArgument.of(
                name, "is NaN among whole numbers, which have no NULL. Of a float column, send floats only.", row=row
            )


def _mixed(name: str, values: list[Any]) -> InvalidArgument:
    """The first row that is not like the first one, or is of a type that no column has."""
    first = _family_of(type(values[0]))
    for row, value in enumerate(values):
        family = _family_of(type(value))
        if family is None:
            what = type(value).__name__
            return InvalidArgument.of(name, f"is a {what}.{_NULL if what in _MISSING else _EXPECTED}", row=row)
        if family != first and {family, first} != {WHOLE, FLOAT}:
            return InvalidArgument.of(name, f"is one of {family}, but row 0 is one of {first}.", row=row)
    raise AssertionError("a list of one kind is not mixed")


_EXPECTED = " Expected a whole number, a float, a string or a time."
_NULL = " NULL is nan among floats and '' among strings."
_MISSING = ("NoneType", "NAType", "NaTType")
"""None, and by their names what pandas, which is not imported here, puts where nothing is."""


def _fill_whole(column: pb.Column, values: list[Any]) -> None:
    try:
        column.int64s.values.extend(values)
    except (ValueError, OverflowError) as error:
        row = next(row for row, value in enumerate(values) if not -(2**63) <= value < 2**63)
        raise InvalidArgument.of(column.name, f"{values[row]} is no 64-bit whole number.", row=row) from error


def _fill_float(column: pb.Column, values: list[Any]) -> None:
    column.doubles.MergeFromString(doubles_field(np.array(values, np.float64)))


def _fill_text(column: pb.Column, values: list[Any]) -> None:
    try:
        column.strings.values.extend(values)
    except UnicodeEncodeError as error:
        row = values.index(error.object)
        raise InvalidArgument.of(column.name, f"{error.object!r} cannot be written as UTF-8.", row=row) from error


def _fill_moment(column: pb.Column, values: list[Any]) -> None:
    _fill_float(column, _us_of(column.name, values, null=float("nan")))


_LISTS: dict[str, Callable[[pb.Column, list[Any]], None]] = {
    WHOLE: _fill_whole,
    FLOAT: _fill_float,
    TEXT: _fill_text,
    MOMENT: _fill_moment,
}


def times_us(at: object) -> NDArray[np.int64]:
    """The t of each row, in µs UTC, from datetimes, datetime64s or whole numbers that are µs; one, or one per row.

    A datetime without a time zone is UTC, as everywhere in Lockstep and in Feast. Raises InvalidArgument for anything
    else: for floats, because seconds are not meant, for a missing time, and for naive and aware datetimes side by side.
    """
    if type(at) is int:
        return _whole_times([at])
    if isinstance(at, np.ndarray) or hasattr(at, "__array__"):
        array = np.asarray(at)
        _check_shape(TIMES, array)
        if array.dtype.kind == "M":
            return _moments(array.reshape(-1))
        if array.dtype.kind == "i":
            return array.reshape(-1).astype(np.int64)
        values = array.reshape(-1).tolist()
    else:
        values = list(at) if isinstance(at, Sequence) and not isinstance(at, str | bytes) else [at]
    return _listed_times(values)


def _listed_times(values: list[Any]) -> NDArray[np.int64]:
    if not values:
        raise InvalidArgument.of(TIMES, "has no rows; leave it out for the server's clock.")
    families = {_family_of(each) for each in set(map(type, values))}
    if families == {WHOLE}:
        return _whole_times(values)
    if families == {MOMENT}:
        return np.array(_us_of(TIMES, values, null=None), np.int64)
    wanted = MOMENT if _family_of(type(values[0])) == MOMENT else WHOLE
    row, value = next((row, value) for row, value in enumerate(values) if _family_of(type(value)) != wanted)
    raise InvalidArgument.of(
        TIMES, f"is a {type(value).__name__}; expected a datetime, or a whole number of microseconds UTC.", row=row
    )


def _whole_times(values: list[int]) -> NDArray[np.int64]:
    try:
        return np.array(values, np.int64)
    except OverflowError as error:
        row = next(row for row, value in enumerate(values) if not -(2**63) <= value < 2**63)
        raise InvalidArgument.of(TIMES, f"{values[row]} is no time in microseconds.", row=row) from error


def _moments(array: NDArray[np.datetime64]) -> NDArray[np.int64]:
    missing = np.flatnonzero(np.isnat(array))
    if missing.size:
        raise InvalidArgument.of(TIMES, "is missing; every row has a time.", row=int(missing[0]))
    return array.astype("datetime64[us]").astype(np.int64)


def _us_of(name: str, values: list[Any], *, null: float | None) -> list[float]:
    """Microseconds of datetimes and datetime64s; what is missing is `null`, or refused where that is None."""
    aware = {value.tzinfo is not None for value in values if isinstance(value, datetime) and value == value}
    if len(aware) > 1:
        raise InvalidArgument.of(name, "has times with and without a time zone; those without would be taken as UTC.")
    return [_us(name, row, value, null) for row, value in enumerate(values)]


def _us(name: str, row: int, value: Any, null: float | None) -> float:
    if value != value:  # numpy's and pandas' NaT
        if null is None:
            raise InvalidArgument.of(name, "is missing; every row has a time.", row=row)
        return null
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[us]").astype(np.int64))
    return int(((value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND)
