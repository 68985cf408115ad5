"""Bundles of steps over the made-up columns, as small as can be."""

from typing import Any

import numpy as np

from lockstep.bundle import Bundle, Manifest, build, golden_rows, pack
from lockstep.plan import Array, Column, Given, Plan
from tests.training.columns import COLUMNS, DTYPES, fitted
from training.exports.rows import RowSet
from training.spec import Step

__all__ = ["bundle", "row_set"]


def bundle(*steps: Step, estimator: Any = None, name: str = "tiny", defaults: dict[str, Any] | None = None) -> Bundle:
    """A bundle whose columns all come with the request; its golden rows are the first fifty."""
    model = fitted(*steps, estimator=estimator)
    names = tuple(model.graph.inputs)
    columns = tuple(Column(one, DTYPES[one], Given("request"), (defaults or {}).get(one)) for one in names)
    plan = Plan("tests", "none", (), columns, names)
    rows: dict[str, Array] = {one: COLUMNS[one][:50].astype(DTYPES[one].numpy) for one in names}
    empty: dict[str, Any] = {"metrics": {}, "window": {}, "data": {}, "libraries": {}, "files": {}}
    manifest = Manifest(
        name=name, version="3", created_us=0, kind="onnx", plan=plan, link=model.link, prior=0.25, revision="", **empty
    )
    return build(
        pack(manifest, {"model.onnx": model.graph.model, "golden.parquet": golden_rows(plan, rows, model.score(rows))})
    )


def row_set(made: Bundle, columns: dict[str, Array], source: str = "rows") -> RowSet:
    """Some rows for a bundle."""
    inputs = {name: columns[name].astype(made.plan.by_name[name].dtype.numpy) for name in made.plan.inputs}
    return RowSet(source, inputs, len(next(iter(inputs.values()))) if inputs else int(np.int64(0)))
