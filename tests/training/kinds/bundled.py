"""Fitted models over the made-up columns as bundles of their kind, every column coming with the request."""

import numpy as np

from lockstep.bundle import GOLDEN, Manifest, golden_rows, pack
from lockstep.model import kind_of
from lockstep.plan import Column, Given, Plan
from tests.training.columns import COLUMNS, DTYPES, ROWS
from training.exports.rows import RowSet
from training.fit import Fitted
from training.kinds import KINDS

__all__ = ["bundled", "plan_of"]


def plan_of(it: Fitted) -> Plan:
    """The plan of a model's columns."""
    names = tuple(dict.fromkeys(name for step in it.steps for name in step.step.columns))
    return Plan(
        "made_up", "made_up_v1", (), tuple(Column(name, DTYPES[name], Given("request")) for name in names), names
    )


def bundled(it: Fitted, rows: int = 50) -> dict[str, bytes]:
    """The files of its bundle; the first rows are the golden ones."""
    plan, kind = plan_of(it), it.recipe.kind
    manifest = Manifest(
        name="made_up",
        version="1",
        created_us=0,
        kind=kind,
        plan=plan,
        link=it.link,
        prior=0.5,
        metrics={},
        window={},
        data={},
        libraries={},
        revision="",
        files={},
        trusted=KINDS[kind].trusted(it.graph),
    )
    resolved = {name: values[:rows] for name, values in COLUMNS.items() if name in plan.inputs}
    golden = golden_rows(plan, resolved, np.asarray(it.score(resolved)))
    files = {kind_of(kind).path: it.graph.model, GOLDEN: golden}
    made_up = RowSet("the made-up rows", COLUMNS, ROWS)
    return pack(manifest, {**files, **KINDS[kind].ships(manifest, files, [made_up], it.reference)})
