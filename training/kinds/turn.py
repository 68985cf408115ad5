"""A finished bundle of one kind turned into a bundle of another, and the proof that no row's score parts."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.bundle import MANIFEST, Bundle, build, pack, parts_at
from lockstep.errors import BadRequest, BundleRefused, ExportDiffers
from lockstep.files import whole_folder
from lockstep.link import Link
from lockstep.model import Model, kind_of
from lockstep.skops_model import SkopsModel
from training.export import FittedStep
from training.exports.formats import Exported
from training.exports.rows import RowSet
from training.kinds import KINDS
from training.spec import Step

__all__ = ["turn", "turned"]


def turn(kind: str, bundle: Bundle, rows: Iterable[RowSet], folder: Path, advance: Callable[[float], None]) -> Exported:
    """Write the bundle as one of another kind, as `training.exports.formats.Exporter` says.

    Raises ExportDiffers where one row parts, BundleRefused where the bundle does not hold what the other kind needs,
    PlanRefused where the other kind cannot express it, BadRequest where the folder exists; then nothing is written.
    """
    if folder.exists():
        raise BadRequest(f"{folder} is there already; name a folder that is not, so that nothing in it is lost.")
    files = turned(kind, bundle)
    other = build(files)
    advance(1)
    facts = {}
    for each in rows:
        facts[f"compared, {each.source}"] = _compared(bundle, other, each)
        advance(1)
    with whole_folder(folder, replace=False) as beside:
        for path, content in files.items():
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            (beside / path).write_bytes(content)
    return Exported([folder / kind_of(kind).path, folder / MANIFEST], facts)


def turned(kind: str, bundle: Bundle) -> dict[str, bytes]:
    """The files of the bundle in the other kind; name, version and golden rows stay."""
    model, link = _made(kind, bundle)
    manifest = replace(bundle.manifest, kind=kind, link=link, trusted=KINDS[kind].trusted(model))
    left_out = {MANIFEST, kind_of(bundle.manifest.kind).path}
    others = {path: content for path, content in bundle.files.items() if path not in left_out}
    return pack(manifest, {**others, kind_of(kind).path: model.model})


def _made(kind: str, bundle: Bundle) -> tuple[Model, Link]:
    if not isinstance(bundle.graph, SkopsModel):
        raise BundleRefused(
            f"a bundle of kind {bundle.manifest.kind!r} holds what its transformers compute and not the transformers; "
            f"only one of kind 'skops' can be turned. Train the model with kind={kind!r} in its spec."
        )
    steps = [_fitted(step, bundle) for step in bundle.graph.steps]
    return KINDS[kind].model(steps, bundle.graph.estimator)


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
