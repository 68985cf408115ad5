"""The feature plan: how a scorer gets from keys to the model's input, pinned at training time.

A plan is plain data. It names every column the model or a function needs, in an order in which each can be computed
from those before it, and says for each where it comes from: a view in the online store, the request, the request's own
time, or a function of other columns. With it a scorer needs neither Feast nor a registry.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import PlanRefused, did_you_mean

__all__ = [
    "Array",
    "Column",
    "Computed",
    "DType",
    "Given",
    "JoinKey",
    "Moment",
    "Plan",
    "Source",
    "Stored",
    "StoredColumns",
    "View",
    "digest",
]

Array = NDArray[Any]
"""One column: shape (rows,), of the numpy dtype of its DType."""


class DType(StrEnum):
    """The types a column can have between the store and the model."""

    FLOAT32 = "float32"
    """Missing is NaN."""
    FLOAT64 = "float64"
    """Missing is NaN."""
    INT64 = "int64"
    """Cannot be missing: a stored int64 column needs a default."""
    STRING = "string"
    """Python strings in an object array; missing is ''."""
    TIMESTAMP = "timestamp"
    """Microseconds since 1970 UTC as float64 (exact until the year 2255); missing is NaN. For functions, not models."""

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype of the array that holds such a column."""
        return _NUMPY[self]

    @property
    def missing(self) -> float | str | None:
        """What stands for NULL in the array; None where NULL has no place."""
        return {"int64": None, "string": ""}.get(self.value, float("nan"))


_NUMPY: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "int64": np.dtype(np.int64),
    "string": np.dtype(object),
    "timestamp": np.dtype(np.float64),
}
"""Made once: this is looked up for every column of every batch."""


def digest(text: str | bytes) -> str:
    """SHA-256 of a text (as UTF-8) or of bytes, in hexadecimal."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


@dataclass(frozen=True)
class JoinKey:
    """One join key of a view."""

    key: str
    """Its name in the store."""
    column: str
    """The column of the request that carries it; differs from `key` where a view is joined under an alias."""
    dtype: DType
    """INT64 or STRING."""


@dataclass(frozen=True)
class View:
    """A feature view as the online store holds it: one row per key."""

    name: str
    join_keys: tuple[JoinKey, ...]
    """In the order in which the entity declares them; empty for a view without entities."""
    ttl_us: int | None
    """A row is usable at t while t − event_timestamp <= ttl_us; None: for ever."""
    definition: str
    """SHA-256 of what the view means, e.g. of the SQL that builds its table: lockstep.stores.definition."""


@dataclass(frozen=True)
class Stored:
    """A feature read from the online store."""

    view: str
    field: str


@dataclass(frozen=True)
class Given:
    """A column that the caller sends: a join key or a request feature."""

    role: str
    """'join_key' or 'request'."""


@dataclass(frozen=True)
class Moment:
    """The row's own event_timestamp, t; a TIMESTAMP column."""


@dataclass(frozen=True)
class Computed:
    """An on-demand function of columns that stand before it in the plan."""

    function: str
    """Name of the function; its file in the bundle is functions/<function>.py."""
    arguments: tuple[str, ...]
    """Names of the columns it takes, in order."""
    sha256: str
    """Hash of the function's file. Nothing else is ever executed."""


Source = Stored | Given | Moment | Computed
_SOURCES: dict[str, type[Source]] = {"stored": Stored, "given": Given, "moment": Moment, "computed": Computed}


@dataclass(frozen=True)
class Column:
    """One column of the plan."""

    name: str
    dtype: DType
    source: Source
    default: float | int | str | None = None
    """Takes the place of a value that is missing, stale or unreadable; None: such a value is NULL."""

    @cached_property
    def instead(self) -> Array:
        """What stands where there is no usable value: the default, else what means NULL. Shape (), of the dtype."""
        return np.array(self.dtype.missing if self.default is None else self.default, self.dtype.numpy)


@dataclass(frozen=True)
class Plan:
    """From keys to the model's input. Raises PlanRefused when built from parts that do not fit together."""

    project: str
    service: str
    """Name of the Feast feature service it was made from."""
    views: tuple[View, ...]
    columns: tuple[Column, ...]
    """Every column, each after those it is computed from."""
    inputs: tuple[str, ...]
    """Names of the columns that the model takes, in the model's order."""

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def given(self) -> Mapping[str, Column]:
        """The columns that a request carries, by name."""
        return {column.name: column for column in self.columns if isinstance(column.source, Given)}

    @cached_property
    def given_types(self) -> tuple[tuple[str, int, bool], ...]:
        """Of each given column its name, the number of its numpy type, and whether a request may leave it out."""
        return tuple(
            (column.name, column.dtype.numpy.num, column.default is not None) for column in self.given.values()
        )

    @cached_property
    def resolved(self) -> tuple[Column, ...]:
        """The columns that `resolve` fills: all but the computed ones."""
        return tuple(column for column in self.columns if not isinstance(column.source, Computed))

    @cached_property
    def reads(self) -> Mapping[str, tuple[tuple[Column, Stored], ...]]:
        """By view: the columns read from it; none for a view that only a removed column needed."""
        return {view.name: tuple(self.stored(view.name)) for view in self.views}

    @cached_property
    def stored_columns(self) -> "StoredColumns":
        """The columns read from views, laid out for reading them all at once."""
        return StoredColumns(self)

    @cached_property
    def moments(self) -> tuple[str, ...]:
        """The columns that are the row's own time."""
        return tuple(column.name for column in self.columns if isinstance(column.source, Moment))

    @cached_property
    def computed(self) -> tuple[tuple[Column, Computed], ...]:
        """The columns that functions make, in an order in which they can run."""
        return tuple((column, column.source) for column in self.columns if isinstance(column.source, Computed))

    def stored(self, view: str) -> Iterator[tuple[Column, Stored]]:
        """The columns read from one view."""
        for column in self.columns:
            if isinstance(column.source, Stored) and column.source.view == view:
                yield column, column.source

    def to_json(self) -> dict[str, Any]:
        """Plain data for the manifest; `from_json` reads it back equal."""
        plain = asdict(self)
        for entry, column in zip(plain["columns"], self.columns, strict=True):
            kind = next(kind for kind, cls in _SOURCES.items() if isinstance(column.source, cls))
            entry["source"] = {"kind": kind, **entry["source"]}
        return plain

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> "Plan":
        """The plan of a manifest. Raises PlanRefused where the data is not a plan."""
        try:
            return Plan(
                project=plain["project"],
                service=plain["service"],
                views=tuple(_view(view) for view in plain["views"]),
                columns=tuple(_column(column) for column in plain["columns"]),
                inputs=tuple(plain["inputs"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PlanRefused(
                f"the plan cannot be read: {error!r}. Train the model again with this version of Lockstep."
            ) from error

    def sha256(self) -> str:
        """Identity of the plan: equal plans have equal hashes."""
        return digest(json.dumps(self.to_json(), sort_keys=True))


class StoredColumns:
    """The columns that a plan reads from views: those of each view side by side, views in the plan's order."""

    def __init__(self, plan: Plan) -> None:
        self.views = tuple(view for view in plan.views if plan.reads[view.name])
        """The views of which the plan reads any column."""
        pairs = [(place, *read) for place, view in enumerate(self.views) for read in plan.reads[view.name]]
        self.columns = tuple(column for _, column, _ in pairs)
        self.names = tuple(column.name for column in self.columns)
        self.view_of = np.array([place for place, *_ in pairs], np.intp)
        """For each column the place of its view."""
        ttls = [_FOR_EVER if view.ttl_us is None else view.ttl_us for view in self.views]
        self.ttl_us = np.array(ttls, np.int64).reshape(-1, 1)
        """Of each view; the greatest int64 where rows do not age. Shape (views, 1)."""
        self.has_default = np.array([column.default is not None for column in self.columns], np.bool_).reshape(-1, 1)
        """Shape (columns, 1)."""
        dtypes = dict.fromkeys(column.dtype for column in self.columns)
        self.places = {
            dtype: np.array([i for i, column in enumerate(self.columns) if column.dtype is dtype], np.intp)
            for dtype in dtypes
        }
        """For each dtype the places of its columns."""
        self.names_of = {dtype: [self.names[i] for i in places] for dtype, places in self.places.items()}
        self.instead = {
            dtype: np.array([self.columns[i].instead.item() for i in places], dtype.numpy).reshape(-1, 1)
            for dtype, places in self.places.items()
        }
        """For each dtype what stands where there is no usable value. Shape (columns of the dtype, 1)."""
        self.groups = tuple((dtype.numpy.num, len(places)) for dtype, places in self.places.items())
        """For each dtype the number of its numpy type, and how many columns have it."""
        groups = {i: (dtype, row) for dtype, places in self.places.items() for row, i in enumerate(places.tolist())}
        self.of_view = {
            view.name: [
                (i, *groups[i], source.field) for i, (_, _, source) in enumerate(pairs) if source.view == view.name
            ]
            for view in self.views
        }
        """By view: for each of its columns its place, its dtype, its place among those, and the field it reads."""


_FOR_EVER = np.iinfo(np.int64).max


def _view(plain: Mapping[str, Any]) -> View:
    keys = tuple(JoinKey(key["key"], key["column"], DType(key["dtype"])) for key in plain["join_keys"])
    return View(plain["name"], keys, plain["ttl_us"], plain["definition"])


def _column(plain: Mapping[str, Any]) -> Column:
    source = dict(plain["source"])
    kind = _SOURCES[source.pop("kind")]
    if "arguments" in source:
        source["arguments"] = tuple(source["arguments"])
    return Column(plain["name"], DType(plain["dtype"]), kind(**source), plain["default"])


def _check(plan: Plan) -> None:
    """Refuse a plan in which something is named before it exists, twice, or of a type that has no place there."""
    views = {view.name for view in plan.views}
    seen: dict[str, Column] = {}
    for column in plan.columns:
        if column.name in seen:
            raise PlanRefused(
                f"column {column.name!r} appears twice in the plan; use full feature names or rename one."
            )
        _check_source(column, views, seen)
        _check_default(column)
        seen[column.name] = column
    for view in plan.views:
        for key in view.join_keys:
            _check_join_key(view, key, seen)
    for name in plan.inputs:
        _check_known(name, seen, "the model")
        if seen[name].dtype is DType.TIMESTAMP:
            raise PlanRefused(
                f"the model takes the timestamp {name!r} itself; give it a function of it, e.g. an age in seconds."
            )


def _check_source(column: Column, views: set[str], seen: Mapping[str, Column]) -> None:
    match column.source:
        case Stored(view=view) if view not in views:
            raise PlanRefused(
                f"column {column.name!r} reads view {view!r}, which the plan lacks.{did_you_mean(view, views)}"
            )
        case Computed(function=function, arguments=arguments):
            for argument in arguments:
                _check_known(argument, seen, f"function {function!r}")
        case Moment() if column.dtype is not DType.TIMESTAMP:
            raise PlanRefused(
                f"column {column.name!r} is the time of the row and must be a timestamp, not {column.dtype.value}."
            )


def _check_join_key(view: View, key: JoinKey, seen: Mapping[str, Column]) -> None:
    _check_known(key.column, seen, f"view {view.name!r}")
    column = seen[key.column]
    if not isinstance(column.source, Given):
        raise PlanRefused(f"view {view.name!r} is joined on {key.column!r}, which does not come with the request.")
    if column.dtype is not key.dtype:
        raise PlanRefused(
            f"view {view.name!r} takes {key.key!r} as {key.dtype.value}, "
            f"but column {key.column!r} is {column.dtype.value}."
        )


def _check_known(name: str, seen: Mapping[str, Column], who: str) -> None:
    if name not in seen:
        raise PlanRefused(f"{who} takes column {name!r}, which nothing before it provides.{did_you_mean(name, seen)}")


def _check_default(column: Column) -> None:
    if column.default is None:
        if column.dtype is DType.INT64 and isinstance(column.source, Stored):
            raise PlanRefused(
                f"column {column.name!r} is an int64 from a view and int64 has no NULL; "
                "give it a default or serve it as float32."
            )
        return
    wanted: tuple[type, ...] = {DType.STRING: (str,), DType.INT64: (int,)}.get(column.dtype, (int, float))
    fits = isinstance(column.default, wanted) and not isinstance(column.default, bool)
    if not fits or (isinstance(column.default, float) and not math.isfinite(column.default)):
        raise PlanRefused(f"column {column.name!r} is {column.dtype.value}, but its default is {column.default!r}.")
