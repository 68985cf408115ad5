"""The training frame: what each row of a spine would have been served, found by a point-in-time join and resolved.

The join is Feast's own; what it finds goes through the same `resolve` and the same functions as a request does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lockstep.functions import Function, model_inputs
from lockstep.plan import Array, Column, DType, Plan, Stored, View
from lockstep.resolve import Resolved, ViewRows, resolve
from lockstep.status import Status
from lockstep.stores.point_in_time import AsServed, ViewTable, connect, join
from training.given import given_columns, micros, whole_us
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from feast import FeatureStore

__all__ = [
    "Frame",
    "as_column",
    "assemble",
    "fetch",
    "fetch_as_served",
    "rows_found",
    "view_table",
    "view_tables",
]

_ROW = "row_of_the_spine"


@dataclass(frozen=True)
class Frame:
    """Rows ready for a model."""

    t: NDArray[np.int64]
    """Shape (rows,), µs."""
    resolved: Resolved
    """The plan's columns before the functions."""
    inputs: dict[str, Array]
    """The model's inputs by name, each of shape (rows,)."""

    def __len__(self) -> int:
        return len(self.t)

    def take(self, rows: NDArray[Any]) -> "Frame":
        """Some rows, by index or mask."""
        part = self.resolved.take(rows)
        return Frame(self.t[rows], part, _take(self.inputs, rows))


def _take(columns: Mapping[str, Array], rows: NDArray[Any]) -> dict[str, Array]:
    return {name: values[rows] for name, values in columns.items()}


def as_column(column: Column, values: pa.ChunkedArray) -> tuple[Array, NDArray[np.bool_]]:
    """A column of Arrow as the plan's dtype, and where it holds a value. What stands at a NULL is unspecified."""
    valid = values.is_valid().to_numpy()
    if column.dtype is DType.STRING:
        return pc.fill_null(values.cast(pa.string()), "").to_numpy().astype(object), valid
    if column.dtype is DType.TIMESTAMP:
        values = whole_us(values)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    filled = pc.fill_null(values, pa.scalar(0, values.type))
    numbers = filled.to_numpy()
    if numbers.dtype.kind == "f":
        valid = valid & ~np.isnan(numbers)
    return numbers.astype(column.dtype.numpy), valid


def fetch(store: "FeatureStore", plan: Plan, spine: pa.Table) -> dict[str, ViewRows]:
    """Feast's point-in-time join of the plan's stored features onto a spine, by view, in the spine's order.

    A row that the join finds is usable at t by the join's own rule, so its event_timestamp is given as t.
    """
    wanted = [EVENT_TIMESTAMP, *(name for name in plan.given if name in spine.column_names)]
    rows = pa.array(np.arange(len(spine)))
    frame = spine.select(wanted).append_column(_ROW, rows).to_pandas()
    refs = [
        f"{column.source.view}:{column.source.field}" for column in plan.columns if isinstance(column.source, Stored)
    ]
    joined = store.get_historical_features(frame, refs, full_feature_names=True).to_arrow().sort_by(_ROW)
    t = micros(spine[EVENT_TIMESTAMP])
    return {view.name: _view_rows(plan, view.name, joined, t) for view in plan.views}


def _view_rows(plan: Plan, view: str, joined: pa.Table, t: NDArray[np.int64]) -> ViewRows:
    values, valid = {}, {}
    for column, source in plan.stored(view):
        values[source.field], valid[source.field] = as_column(column, joined[f"{view}__{source.field}"])
    return ViewRows.of(np.full(len(t), Status.PRESENT, np.int8), t, values, valid)


def assemble(plan: Plan, functions: Mapping[str, Function], found: Mapping[str, ViewRows], spine: pa.Table) -> Frame:
    """Resolve what was found and run the functions: the same two steps that a request goes through."""
    t = micros(spine[EVENT_TIMESTAMP])
    resolved = resolve(plan, found, given_columns(plan, spine), t)
    return Frame(t, resolved, model_inputs(plan, functions, resolved.columns, len(t)))


def fetch_as_served(store: "FeatureStore", plan: Plan, spine: pa.Table, runs_us: Sequence[int]) -> dict[str, ViewRows]:
    """What the online store held for each row of a spine when it was filled at `runs_us` (µs UTC) and at no other time.

    By view, in the spine's order. Unlike Feast's join it tells the rows' own event timestamps, stale or not, so
    `resolve` judges the TTL at t, as the scorer does.
    """
    connection = connect()
    connection.register(
        "spine", spine.select([EVENT_TIMESTAMP, *(name for name in plan.given if name in spine.column_names)])
    )
    joined = join(
        connection,
        "spine",
        EVENT_TIMESTAMP,
        view_tables(connection, store, plan),
        as_served=AsServed(runs_us),
        timestamps=True,
        apply_ttl=False,
    ).to_arrow_table()
    return rows_found(plan, joined)


def view_tables(connection: "DuckDBPyConnection", store: "FeatureStore", plan: Plan) -> list[ViewTable]:
    """The tables behind a plan's views, their fields as `<view>__<field>`, for joins on this connection.

    Raises TablesRefused where the table of a view is not one of files.
    """
    return [view_table(connection, store, plan, view) for view in plan.views]


def rows_found(plan: Plan, joined: pa.Table) -> dict[str, ViewRows]:
    """What a join of `view_tables` with timestamps found, by view; nothing is judged by a TTL yet."""
    return {view.name: _found(plan, view.name, joined) for view in plan.views}


def view_table(connection: "DuckDBPyConnection", store: "FeatureStore", plan: Plan, view: View) -> ViewTable:
    """The table behind one view of a plan. Raises TablesRefused where it is not one of files."""
    from lockstep.stores.sources import column, file_source, relation_of  # imports Feast

    source = file_source(store.get_feature_view(view.name).batch_source, f"view {view.name!r}")
    return ViewTable(
        name=view.name,
        relation=relation_of(connection, source, store.config.repo_path),
        keys={column(source, key.key): key.column for key in view.join_keys},
        fields={column(source, one.field): f"{view.name}__{one.field}" for _, one in plan.stored(view.name)},
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl_us=view.ttl_us,
    )


def _found(plan: Plan, view: str, joined: pa.Table) -> ViewRows:
    times = joined[f"{view}__{EVENT_TIMESTAMP}"]
    found = np.where(times.is_valid().to_numpy(), np.int8(Status.PRESENT), np.int8(Status.NOT_FOUND))
    rows = _view_rows(plan, view, joined, micros(pc.fill_null(times, pa.scalar(0, pa.int64()).cast(times.type))))
    return replace(rows, found=found)
