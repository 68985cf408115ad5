"""The rows on which an export is compared with its bundle: golden rows, those of a file, the training frame's."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lockstep.bundle import GOLDEN, Bundle
from lockstep.errors import BadFile
from lockstep.functions import all_columns
from lockstep.plan import Array, Column, DType, Plan
from training.frame import as_column, assemble, fetch
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureStore

    from lockstep.home import Home

__all__ = ["RowSet", "file_rows", "golden_rows", "remade_rows"]


@dataclass(frozen=True)
class RowSet:
    """Rows ready for a model, and where they come from."""

    source: str
    """As a message names it."""
    columns: Mapping[str, Array]
    """The model's inputs, and what else of the plan is known: by name, each of shape (rows,)."""
    rows: int


def golden_rows(bundle: Bundle) -> RowSet:
    """The golden rows that the bundle carries, with every column of its plan."""
    return _rows_of(bundle, GOLDEN, _read(GOLDEN, bundle.files[GOLDEN]))


def file_rows(bundle: Bundle, path: Path) -> RowSet:
    """The rows of a Parquet file: the model's inputs, or the columns that the plan makes them from.

    Raises BadFile naming what is missing.
    """
    if not path.is_file():
        raise BadFile(path, "there is no such file. Name a Parquet file of the model's inputs.")
    return _rows_of(bundle, str(path), _read(str(path), path.read_bytes()))


def remade_rows(bundle: Bundle, store: "FeatureStore", home: "Home") -> RowSet:
    """Every row of the spec's spine, training and test rows alike, through the point-in-time join of today's tables.

    Raises BadRequest where no spec has the model's name.
    """
    from training.spec import load_spec

    spec = load_spec(bundle.manifest.name)
    spine = spec.spine(home).sort_by(EVENT_TIMESTAMP)
    frame = assemble(bundle.plan, bundle.functions, fetch(store, bundle.plan, spine), spine)
    return RowSet("the training frame", frame.inputs, len(frame))


def _read(source: str, content: bytes) -> pa.Table:
    try:
        return pq.ParquetFile(io.BytesIO(content)).read()
    except pa.ArrowException as error:
        raise BadFile(source, f"it is no Parquet file: {error}.") from error


def _rows_of(bundle: Bundle, source: str, table: pa.Table) -> RowSet:
    plan, known = bundle.plan, set(table.column_names)
    if not table.num_rows:
        raise BadFile(source, "it holds no rows.")
    if all(column.name in known for column in plan.resolved):
        resolved = {column.name: _column(source, column, table[column.name]) for column in plan.resolved}
        columns = all_columns(plan, bundle.functions, resolved, table.num_rows)
        return RowSet(source, columns, table.num_rows)
    _check_inputs(source, plan, known)
    inputs = {name: _column(source, plan.by_name[name], table[name]) for name in plan.inputs}
    return RowSet(source, inputs, table.num_rows)


def _check_inputs(source: str, plan: Plan, known: set[str]) -> None:
    missing = [name for name in plan.inputs if name not in known]
    if missing:
        raise BadFile(
            source,
            f"it lacks {', '.join(missing)}. It must hold the model's inputs, or every column of the plan that is not "
            "computed: `lockstep models show` lists both.",
        )


def _column(source: str, column: Column, values: pa.ChunkedArray) -> Array:
    """A column of a file in the plan's dtype, NULL as the plan has it."""
    if column.dtype is DType.TIMESTAMP and not pa.types.is_timestamp(values.type):
        return values.cast(pa.float64()).fill_null(float("nan")).to_numpy()  # type: ignore[no-any-return]  # µs already
    try:
        found, valid = as_column(column, values)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise BadFile(source, f"it is {values.type}, not {column.dtype.value}.", column=column.name) from error
    if valid.all():
        return found
    if column.default is None and column.dtype.missing is None:
        row = int(np.flatnonzero(~valid)[0]) + 1
        raise BadFile(source, "NULL, where int64 has none and the plan no default.", row=row, column=column.name)
    return np.where(valid, found, column.instead)
