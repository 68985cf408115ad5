"""A finished bundle of one kind turned into a bundle of another, and the proof that no row's score parts."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.bundle import MANIFEST, MODEL, Bundle, build, pack, parts_at
from lockstep.errors import BadRequest, BundleRefused, ExportDiffers
from lockstep.files import whole_folder
from lockstep.link import Link
from lockstep.model import CACHED, kind_of
from lockstep.skops_model import SkopsModel
from training.export import FittedStep
from training.exports.c.export import SHIPPED
from training.exports.formats import Exported
from training.exports.rows import RowSet
from training.kinds import KINDS
from training.kinds.graphs import graph_of
from training.spec import Step

__all__ = ["as_graph", "turn", "turned"]


def turn(kind: str, bundle: Bundle, rows: Iterable[RowSet], folder: Path, advance: Callable[[float], None]) -> Exported:
    """Write the bundle as one of another kind, as `training.exports.formats.Exporter` says.

    Raises ExportDiffers where one row parts, BundleRefused where the bundle does not hold what the other kind needs,
    PlanRefused where the other kind cannot express it, BadRequest where the folder exists; then nothing is written.
    """
    if folder.exists():
        raise BadRequest(f"{folder} is there already; name a folder that is not, so that nothing in it is lost.")
    other = turned(kind, bundle)
    advance(1)
    facts = {}
    for each in rows:
        facts[f"compared, {each.source}"] = _compared(bundle, other, each)
        advance(1)
    with whole_folder(folder, replace=False) as beside:
        for path, content in other.files.items():
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            (beside / path).write_bytes(content)
    return Exported([folder / kind_of(kind).path, folder / MANIFEST], facts)


def turned(kind: str, bundle: Bundle) -> Bundle:
    """The bundle in the other kind, which scores the golden rows alike; name, version and golden rows stay.

    Raises BundleRefused, PlanRefused.
    """
    model, link, trusted = _made(kind, bundle)
    manifest = replace(bundle.manifest, kind=kind, link=link, trusted=trusted)
    left_out = (MANIFEST, kind_of(bundle.manifest.kind).path, SHIPPED)
    others = {path: content for path, content in bundle.files.items() if not path.startswith(left_out)}
    with _naming(kind, bundle):
        return build(pack(manifest, {**others, kind_of(kind).path: model}))


@contextmanager
def _naming(kind: str, bundle: Bundle) -> Iterator[None]:
    """Say of a refusal that it is the turned bundle's."""
    try:
        yield
    except BundleRefused as error:
        raise BundleRefused(
            f"model {bundle.manifest.name!r} cannot be turned into kind {kind!r}: {error} Train it with kind={kind!r} "
            "in its spec: there the transformer that parts is named, and what to use instead."
        ) from error


def as_graph(bundle: Bundle) -> Bundle:
    """The bundle itself where it holds a graph, else the same as kind onnx, in memory. Raises as `turn` does."""
    return bundle if MODEL in bundle.files else turned("onnx", bundle)


def _made(kind: str, bundle: Bundle) -> tuple[bytes, Link, list[str]]:
    """The model's file in the other kind, its link and the types that it may hold."""
    before, model = bundle.manifest.kind, bundle.graph
    if before == kind:
        raise BundleRefused(
            f"model {bundle.manifest.name!r} {bundle.manifest.version} is of kind {kind!r} already: copy its folder."
        )
    if before == CACHED.name:
        raise BundleRefused(
            f"model {bundle.manifest.name!r} answers with another model's predictions and holds nothing to turn. Turn "
            "that model."
        )
    if isinstance(model, SkopsModel):
        steps = [_fitted(step, bundle) for step in model.steps]
        with _naming(kind, bundle):
            for step in steps:
                KINDS[kind].transformations([step])  # one that cannot be expressed is named
            made, link = KINDS[kind].model(steps, model.estimator)
        return made.model, link, KINDS[kind].trusted(made)
    if kind == "onnx":
        graph = graph_of(json.loads(model.model)) if before == "coefficients" else model.model
        return graph, bundle.manifest.link, []
    raise BundleRefused(
        f"a bundle of kind {before!r} holds what its transformers compute and not the transformers, which kind "
        f"{kind!r} is written from. Train the model with kind={kind!r} in its spec."
    )


def _fitted(plain: dict[str, Any], bundle: Bundle) -> FittedStep:
    columns = tuple(plain["columns"])
    step = Step(plain["name"], lambda: plain["transformer"], columns)
    return FittedStep(step, plain["transformer"], tuple(bundle.plan.by_name[name].dtype for name in columns))


def _compared(bundle: Bundle, other: Bundle, rows: RowSet) -> str:
    """How many rows, and the largest difference. Raises ExportDiffers where one parts."""
    before, after = (one.manifest.link(one.graph.raw(rows.columns)) for one in (bundle, other))
    parts = parts_at(after, before)
    if parts.size:
        first = int(parts[0])
        raise ExportDiffers(rows.source, first + 1, (float(after[first]), float(before[first])), parts.size, rows.rows)
    return f"{rows.rows:,} rows, largest difference {np.abs(after - before).max(initial=0.0):.2g}"
