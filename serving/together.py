"""Several requests as one: their columns end to end, checked once.

To check a column and to make an array of it costs about the same for one value as for a hundred. So the requests of a
batch are laid end to end as they came; only where something is wrong with one of them is each looked at by itself.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep import request
from lockstep.compiled import core
from lockstep.errors import LockstepError
from lockstep.plan import Array, Plan
from lockstep.request import Values

__all__ = ["Joined", "Unchecked", "one_by_one", "together"]

Column = Array | Values
_DTYPE = attrgetter("dtype")


class Unchecked:
    """A request as its caller sent it, as `lockstep.request.check` takes it."""

    __slots__ = ("columns", "rows", "t")

    def __init__(self, columns: Mapping[str, Column], t: Column) -> None:
        self.columns, self.t = columns, t
        self.rows = max(len(t), *map(len, columns.values())) if columns else len(t)
        """How many rows it has, if nothing is wrong with it."""


class Joined(NamedTuple):
    """The rows of several requests, those of the first one first, checked."""

    given: Mapping[str, Array]
    """By column, in the plan's dtypes. Shape (rows of all requests,)."""
    t: NDArray[np.int64]
    """µs. Shape (rows of all requests,)."""
    lengths: Sequence[int]
    """The rows of each request."""


def together(plan: Plan, requests: Sequence[Unchecked], *, max_rows: int) -> Joined | None:
    """All requests; they name the same columns in the same order, and each has at most `max_rows`.

    None where something is wrong with one of them, or where they sent a column in different types.
    """
    lengths = [one.rows for one in requests]
    if core is not None:
        whole = core.collect(
            plan.given_types, [one.columns for one in requests], [one.t for one in requests], lengths, max_rows
        )
        if whole is not None:
            given, t = whole
            return Joined(given, t, lengths)
    return _together(plan, requests, lengths, max_rows)


def _together(plan: Plan, requests: Sequence[Unchecked], lengths: list[int], max_rows: int) -> Joined | None:
    if max(lengths) > max_rows:
        return None
    columns = {name: _end_to_end([one.columns[name] for one in requests], lengths) for name in requests[0].columns}
    t = _end_to_end([one.t for one in requests], lengths)
    whole = {name: column for name, column in columns.items() if column is not None}
    if t is None or len(whole) < len(columns):
        return None
    try:
        given, times = request.check(plan, whole, t, max_rows=sum(lengths))
    except LockstepError:
        return None
    return Joined(given, times, lengths)


def one_by_one(
    plan: Plan, requests: Sequence[Unchecked], *, max_rows: int
) -> tuple[Joined | None, list[LockstepError | None]]:
    """The requests with which nothing is wrong, None where there is none, and of each what is wrong."""
    checked, errors = list[request.Query](), list[LockstepError | None]()
    for one in requests:
        try:
            checked.append(request.check(plan, one.columns, one.t, max_rows=max_rows))
            errors.append(None)
        except LockstepError as error:
            errors.append(error)
    if not checked:
        return None, errors
    given = {name: np.concatenate([columns[name] for columns, _ in checked]) for name in checked[0][0]}
    times = [t for _, t in checked]
    return Joined(given, np.concatenate(times), list(map(len, times))), errors


def _end_to_end(parts: list[Column], lengths: list[int]) -> Column | None:
    """A column of all requests, each part as long as its request; None where the parts differ in type or length."""
    kind: Any = type(parts[0])
    if list(map(type, parts)).count(kind) < len(parts):
        parts, kind = list(map(_array, parts)), np.ndarray
        if not all(isinstance(part, np.ndarray) for part in parts):
            return None
    if list(map(len, parts)) != lengths:
        if any(len(part) not in (1, rows) for part, rows in zip(parts, lengths, strict=True)):
            return None
        parts = [_of_length(part, rows) for part, rows in zip(parts, lengths, strict=True)]
    return _arrays(parts) if kind is np.ndarray else kind(chain.from_iterable(parts))


def _array(part: Column) -> Column:
    """Numbers that came as a list, as those of others in the batch that came as an array."""
    dtype = _NUMBERS.get(type(part))
    return part if dtype is None else np.array(part, dtype)


_NUMBERS: dict[type, Any] = {request.Ints: np.int64, request.Floats: np.float64}


def _of_length(part: Any, rows: int) -> Column:
    if len(part) == rows:
        whole: Column = part
        return whole
    return np.repeat(part, rows) if isinstance(part, np.ndarray) else type(part)(part * rows)


def _arrays(parts: Sequence[Any]) -> Array | None:
    """Arrays of one type; None where they differ: numpy would find one that holds them all."""
    same = list(map(_DTYPE, parts)).count(parts[0].dtype) == len(parts)
    return np.concatenate(parts) if same else None
