"""Values in one form that two of them can be compared in, and the differences from the reference that are known.

A difference is a function from the reference to what a store gives in its place. Whatever no chain of them yields is
an error.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import numpy as np

from lockstep.times import SECOND, from_datetime, to_datetime
from tests.lockstep.stores.kinds import Kind

__all__ = [
    "FEAST_SDK",
    "REFUSED",
    "STOCK_OFFLINE",
    "STOCK_ONLINE",
    "Difference",
    "Held",
    "canonical",
    "explain",
    "unexplained",
]


class _Refused:
    """What stands for a value of a column that a store will not take."""

    def __repr__(self) -> str:
        return "refused"


REFUSED: Final = _Refused()


@dataclass(frozen=True)
class Held:
    """A value as the table holds it, not cast, and its whole column."""

    value: Any
    column: Sequence[Any]


Change = Callable[[Kind, Any, Held], Any]
"""Kind, reference and what the table holds -> what a store gives."""


@dataclass(frozen=True)
class Difference:
    """One known way in which a store parts from the reference."""

    name: str
    meaning: str
    """For the docs."""
    change: Change


def canonical(value: Any) -> Any:
    """A form in which equal values are equal, NaN too, and values of two types never are."""
    if isinstance(value, datetime):
        return ("time", from_datetime(value))
    if isinstance(value, float | np.floating):
        return ("float", "nan" if math.isnan(value) else repr(float(value)))
    if isinstance(value, Mapping):
        return ("map", frozenset((canonical(key), canonical(each)) for key, each in value.items()))
    if isinstance(value, set | frozenset):
        return ("set", frozenset(map(canonical, value)))
    if isinstance(value, list | tuple):
        return ("list", tuple(map(canonical, value)))
    if isinstance(value, UUID | Decimal):
        return (type(value).__name__, str(value))
    return (type(value).__name__, value)


def explain(kind: Kind, expected: Any, got: Any, held: Held, known: Sequence[Difference]) -> list[str] | None:
    """The names of the differences that lead from the reference to what a store gave; none where the two are equal.

    None: nothing that is known explains it.
    """
    reached: dict[Any, tuple[Any, list[str]]] = {canonical(expected): (expected, [])}
    for difference in known:
        for value, names in list(reached.values()):
            changed = difference.change(kind, value, held)
            reached.setdefault(canonical(changed), (changed, [*names, difference.name]))
    found = reached.get(canonical(got))
    return None if found is None else found[1]


def unexplained(
    kind: Kind, expected: Sequence[Any], got: Sequence[Any], column: Sequence[Any], known: Sequence[Difference] = ()
) -> list[str]:
    """A line for each value that is neither the reference nor explained. All of one length."""
    return [
        f"{kind.name}: {value!r} became {found!r}"
        for value, found, held in zip(expected, got, column, strict=True)
        if explain(kind, value, found, Held(held, column), known) is None
    ]


def _deep(change: Callable[[Any], Any], value: Any) -> Any:
    """The value with every scalar in it changed."""
    if isinstance(value, Mapping):
        return {key: _deep(change, each) for key, each in value.items()}
    if isinstance(value, list | set):
        return type(value)(_deep(change, each) for each in value)
    return change(value)


def _seconds(round_: Callable[[float], int]) -> Change:
    def cut(value: Any) -> Any:
        return to_datetime(round_(from_datetime(value) / SECOND) * SECOND) if isinstance(value, datetime) else value

    return lambda kind, value, held: _deep(cut, value) if kind.is_time else value


_FILLED: Final = {"String": "", "Bytes": b"", "Bool": False, "Float64": math.nan, "Float32": math.nan}


def _null_in_list(kind: Kind, value: Any, held: Held) -> Any:
    element = kind.name.removeprefix("Array(").removesuffix(")")
    if not isinstance(value, list) or element not in _FILLED:
        return value
    return [_FILLED[element] if each is None else each for each in value]


def _empty_in_list(kind: Kind, value: Any, held: Held) -> Any:
    if not isinstance(value, list):
        return value
    return [None if each == [] else each for each in value]


def _nan(kind: Kind, value: Any, held: Held) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _beside_null(kind: Kind, value: Any, held: Held) -> Any:
    return int(float(value)) if kind.name == "Int64" and None in held.column and value is not None else value


def _struct_floats(kind: Kind, value: Any, held: Held) -> Any:
    if "Struct" not in kind.name:
        return value
    return _deep(lambda each: float(each) if isinstance(each, int) else each, value)


def _empty_bytes(kind: Kind, value: Any, held: Held) -> Any:
    return None if kind.name.endswith("Bytes") and not any(held.column) else value


def _refused(kind: Kind, value: Any, held: Held) -> Any:
    return REFUSED if _is_refused(kind, held.column) else value


def _is_refused(kind: Kind, column: Sequence[Any]) -> bool:
    if kind.name in ("Array(Int64)", "Array(Int32)"):
        return any(None in each for each in column if each)
    if kind.name == "Int64":
        return None in column and any(int(float(each)) >= 2**63 for each in column if each is not None)
    if kind.name in _TAKEN_IF_NULL:
        return any(each is not None for each in column)
    return kind.name == "Float64, table float32"


_TAKEN_IF_NULL: Final = {"ZonedTimestamp", "Map", "ScalarMap", "Array(Map)"}


def _as_the_table(kind: Kind, value: Any, held: Held) -> Any:
    return held.value


_SECONDS: Final = (
    "whole seconds",
    "Feast's message counts a time in seconds. Packed rows, and the scorer that reads them, keep microseconds.",
)
_EMPTY: Final = (
    "an empty list in a list is NULL",
    "Feast's message for a list of lists has no empty list.",
)

FEAST_SDK: Final = (
    Difference(*_SECONDS, _seconds(math.floor)),
    Difference(*_SECONDS, _seconds(math.trunc)),
    Difference(*_EMPTY, _empty_in_list),
)
"""What Feast's own message costs, whatever the store."""

STOCK_ONLINE: Final = (
    *FEAST_SDK,
    Difference(
        "NULL in a list is replaced",
        'Feast\'s lists hold no NULL: it becomes "", false or NaN, and a list of integers with a NULL is refused.',
        _null_in_list,
    ),
    Difference("NaN is NULL", "A NaN in a column of floats is written as NULL.", _nan),
    Difference(
        "large integers beside NULL",
        "Where a batch has a NULL in the column, integers pass through float64: above 2⁵³ digits are lost, near 2⁶³ "
        "the batch is refused.",
        _beside_null,
    ),
    Difference("integers of a struct beside NULL are floats", "The same, for the fields of a struct.", _struct_floats),
    Difference(
        "empty bytes alone are NULL",
        "Empty bytes are NULL where the batch has no other bytes in the column.",
        _empty_bytes,
    ),
    Difference("refused", "Feast cannot write the batch: an exception, and none of its rows is stored.", _refused),
)
STOCK_OFFLINE: Final = (
    Difference(
        "not cast to the declared type",
        "The training frame has the table's type, the online value the declared one.",
        _as_the_table,
    ),
)
