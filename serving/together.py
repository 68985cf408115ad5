"""Several requests as one: their columns end to end, checked once.

To check a column and to make an array of it costs about the same for one value as for a hundred. So the requests of a
batch are laid end to end as they came; only where something is wrong with one of them is each looked at by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep import request
from lockstep.errors import LockstepError
from lockstep.plan import Array, Plan
from lockstep.request import Values

__all__ = ["Joined", "Unchecked", "one_by_one", "together"]

Column = Array | Values


class Unchecked(NamedTuple):
    """A request as its caller sent it, as `lockstep.request.check` takes it."""

    columns: Mapping[str, Column]
    t: Column

    @property
    def rows(self) -> int:
        """How many rows it has, if nothing is wrong with it."""
        return max(len(self.t), *map(len, self.columns.values())) if self.columns else len(self.t)


@dataclass(frozen=True)
class Joined:
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


def _end_to_end(parts: Sequence[Column], lengths: Sequence[int]) -> Column | None:
    """A column of all requests, each part as long as its request; None where the parts differ in type or length."""
    first = parts[0]
    if isinstance(first, Values):
        return _values(first.kind, parts, lengths)
    arrays = [part for part in parts if not isinstance(part, Values) and part.dtype == first.dtype]
    if len(arrays) < len(parts) or any(len(part) not in (1, rows) for part, rows in zip(parts, lengths, strict=True)):
        return None
    whole = [part if len(part) == rows else np.repeat(part, rows) for part, rows in zip(arrays, lengths, strict=True)]
    return np.concatenate(whole)


def _values(kind: str, parts: Sequence[Column], lengths: Sequence[int]) -> Values | None:
    end_to_end: list[Any] = []
    for part, rows in zip(parts, lengths, strict=True):
        if not isinstance(part, Values) or part.kind != kind:
            return None
        if len(part) == rows:
            end_to_end += part
        elif len(part) == 1:
            end_to_end += part * rows
        else:
            return None
    return Values(kind, end_to_end)
