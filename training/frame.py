"""The training frame: what each row of a spine would have been served, found by a point-in-time join and resolved.

The join is Feast's own; what it finds goes through the same `resolve` and the same functions as a request does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lockstep.functions import Function, model_inputs
from lockstep.plan import Array, Column, DType, Plan, Stored
from lockstep.resolve import Resolved, ViewRows, resolve
from lockstep.status import Status
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Frame", "as_column", "assemble", "fetch", "given_columns", "micros"]

_ROW = "__row"


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
        part = Resolved(
            _take(self.resolved.columns, rows), _take(self.resolved.status, rows), _take(self.resolved.defaulted, rows)
        )
        return Frame(self.t[rows], part, _take(self.inputs, rows))


def _take(columns: Mapping[str, Array], rows: NDArray[Any]) -> dict[str, Array]:
    return {name: values[rows] for name, values in columns.items()}


def micros(times: pa.ChunkedArray) -> NDArray[np.int64]:
    """A timestamp column without NULL as int64 µs."""
    return pc.cast(times, pa.timestamp("us", tz=times.type.tz)).cast(pa.int64()).to_numpy()


def given_columns(plan: Plan, spine: pa.Table) -> dict[str, Array]:
    """The request columns of a spine, in the plan's dtypes."""
    return {
        name: as_column(column, spine[name])[0] for name, column in plan.given.items() if name in spine.column_names
    }


def as_column(column: Column, values: pa.ChunkedArray) -> tuple[Array, NDArray[np.bool_]]:
    """A column of Arrow as the plan's dtype, and where it holds a value. What stands at a NULL is unspecified."""
    valid = values.is_valid().to_numpy()
    if column.dtype is DType.STRING:
        return pc.fill_null(values.cast(pa.string()), "").to_numpy().astype(object), valid
    if column.dtype is DType.TIMESTAMP:
        values = pc.cast(values, pa.timestamp("us", tz=values.type.tz)).cast(pa.int64())
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
    return ViewRows(np.full(len(t), Status.PRESENT, np.int8), t, values, valid)


def assemble(plan: Plan, functions: Mapping[str, Function], found: Mapping[str, ViewRows], spine: pa.Table) -> Frame:
    """Resolve what was found and run the functions: the same two steps that a request goes through."""
    t = micros(spine[EVENT_TIMESTAMP])
    resolved = resolve(plan, found, given_columns(plan, spine), t)
    return Frame(t, resolved, model_inputs(plan, functions, resolved.columns, len(t)))


def concatenated(frames: Sequence[Frame]) -> Frame:
    """Frames of one plan, one after the other."""
    whole = Resolved(
        *(
            {
                name: np.concatenate([getattr(frame.resolved, part)[name] for frame in frames])
                for name in getattr(frames[0].resolved, part)
            }
            for part in ("columns", "status", "defaulted")
        )
    )
    inputs = {name: np.concatenate([frame.inputs[name] for frame in frames]) for name in frames[0].inputs}
    return Frame(np.concatenate([frame.t for frame in frames]), whole, inputs)
