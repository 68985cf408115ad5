"""Check the columns of a request against a plan: names, types, lengths, values. The same for every interface.

A column of length one is broadcast over the others: one user, a hundred candidates.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BadColumn, LockstepError, TooManyRows, UnknownColumn
from lockstep.plan import Array, Column, DType, Given, Plan, Stored

__all__ = ["Floats", "Ints", "Query", "Texts", "Values", "check"]

MAX_STRING_BYTES = 1024
TIMES = "event_timestamp_us"
"""What a caller calls t."""
MOST_BYTES = 4
"""Of a character in UTF-8."""
LAST_TIME = 2**53
"""Times are exact as float64 up to here, and differences of times cannot overflow."""

Query = tuple[dict[str, Array], NDArray[np.int64]]
"""The given columns by name, each of shape (rows,) in the plan's dtype, and t in µs of shape (rows,)."""


class Values(list[Any]):
    """A column as a wire format holds it: Python values of one kind, not yet an array."""

    __slots__ = ()
    kind: ClassVar[str]
    """As numpy calls it."""


class Ints(Values):
    """Within int64."""

    __slots__ = ()
    kind = "i"


class Floats(Values):
    """As Python has them."""

    __slots__ = ()
    kind = "f"


class Texts(Values):
    """Objects that are str."""

    __slots__ = ()
    kind = "O"


def check(plan: Plan, columns: Mapping[str, Array | Values], t: Array | Values, *, max_rows: int) -> Query:
    """The request as the plan wants it, its columns in the plan's order.

    `columns` by name, one-dimensional arrays: int64, float64 or object arrays of str, or Values of these; `t` in µs,
    integers, of length one or of the rows. Raises UnknownColumn, BadColumn or TooManyRows, naming the column, the row
    and what was expected.
    """
    for name in columns:
        if name not in plan.given:
            raise _not_given(plan, name)
    wanted = [(name, column, columns[name]) for name, column in plan.given.items() if name in columns]
    if len(wanted) < len(plan.given):
        _check_missing(plan, columns)
    rows = _rows([(TIMES, len(t)), *((name, len(values)) for name, _, values in wanted)], max_rows)
    times = _times(t)
    return {name: _broadcast(_typed(column, values), rows) for name, column, values in wanted}, _broadcast(times, rows)


def _not_given(plan: Plan, name: str) -> LockstepError:
    column = plan.by_name.get(name)
    if column is None or not isinstance(column.source, Stored):
        return UnknownColumn(name, plan.given)
    view = column.source.view
    return BadColumn(name, f"is read from view {view!r}; to send it instead, name it among the features.")


def _check_missing(plan: Plan, columns: Mapping[str, Array | Values]) -> None:
    for name, column in plan.given.items():
        if name not in columns and column.default is None:
            raise BadColumn(name, f"missing; the model needs it as {_needed_as(column)}.")


def _needed_as(column: Column) -> str:
    assert isinstance(column.source, Given)
    return f"{column.dtype.value} ({column.source.role.replace('_', ' ')})"


def _rows(lengths: Sequence[tuple[str, int]], max_rows: int) -> int:
    rows = max([length for _, length in lengths])
    for name, length in lengths:
        if length not in (1, rows) or not length:
            raise BadColumn(name, _wrong_length(lengths, length, rows))
    if rows > max_rows:
        raise TooManyRows(rows, max_rows)
    return rows


def _wrong_length(lengths: Sequence[tuple[str, int]], length: int, rows: int) -> str:
    if not length:
        return "has no rows; send at least one value."
    longest = next(name for name, other in lengths if other == rows)
    return f"has {length} values, but {longest!r} has {rows}; every column has one value, or one per row."


def _times(found: Array | Values) -> NDArray[np.int64]:
    t = np.asarray(found, np.int64)
    wrong = (t > LAST_TIME) | (t < -LAST_TIME)
    if np.count_nonzero(wrong):
        row = int(np.flatnonzero(wrong)[0])
        raise BadColumn(TIMES, f"{t[row]} is no time in microseconds since 1970 (after the year 2255).", row=row)
    return t


def _broadcast(values: Array, rows: int) -> Array:
    return values if len(values) == rows else np.repeat(values, rows)


def _typed(column: Column, found: Array | Values) -> Array:
    wanted = column.dtype
    kind = found.kind if isinstance(found, Values) else found.dtype.kind
    if kind not in _KINDS[wanted]:
        what = "strings" if wanted is DType.STRING else wanted.value
        raise BadColumn(column.name, f"holds {_kind(kind)}; expected {what}.")
    if wanted is DType.STRING:
        return _strings(column.name, found)
    if kind != "f":
        return np.asarray(found, wanted.numpy)
    typed = found if not isinstance(found, Values) and found.dtype == wanted.numpy else _floats(found, wanted)
    infinite = np.isinf(typed)
    if np.count_nonzero(infinite):
        row = int(np.flatnonzero(infinite)[0])
        raise BadColumn(
            column.name, f"{found[row]} is no {wanted.value}; send a finite number, or NaN for NULL.", row=row
        )
    return typed


def _floats(found: Array | Values, wanted: DType) -> Array:
    """As the plan has them; what is beyond float32 is infinity."""
    with np.errstate(over="ignore"):
        floats: Array = np.asarray(found, np.float64).astype(wanted.numpy)
    return floats


_KINDS = {
    DType.INT64: "iu",
    DType.FLOAT32: "iuf",
    DType.FLOAT64: "iuf",
    DType.TIMESTAMP: "iuf",
    DType.STRING: "OU",
}
"""What a column takes, as numpy calls it."""


def _kind(kind: str) -> str:
    names = {"O": "strings", "U": "strings", "f": "floating-point numbers", "i": "integers", "b": "booleans"}
    return names.get(kind, f"values of kind {kind!r}")


def _strings(name: str, values: Sequence[Any] | Array) -> Array:
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise BadColumn(name, f"holds a {type(value).__name__}; expected a string.", row=row)
        if len(value) * MOST_BYTES > MAX_STRING_BYTES and len(value.encode()) > MAX_STRING_BYTES:
            raise BadColumn(
                name, f"a string of {len(value.encode())} bytes; at most {MAX_STRING_BYTES} are taken.", row=row
            )
    return np.asarray(values, object)
