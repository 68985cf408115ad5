"""The model that a new one is to replace: what changed since it was trained, and whether the new one is as good."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.errors import BundleRefused, MissingTool, SchemaChanged, UnknownModel
from lockstep.home import Home
from lockstep.model_store import CHAMPION, ModelStore
from lockstep.plan import Array, Plan
from lockstep.times import format_time
from training.changes import Change, Types, changes
from training.drift import Drift, drifts
from training.evaluate import compare, log_losses
from training.frame import Frame
from training.gates import GateResult, check_champion
from training.spec import Spec
from training.split import Rows

__all__ = ["BASELINE", "Champion", "Judged", "Since", "champion_of", "drifted", "judged", "since"]

BASELINE = "baseline.json"
"""File of a bundle with the distributions of its training frame, and the types of the tables behind it."""


@dataclass(frozen=True)
class Champion:
    """A champion as it stands in the store."""

    version: str
    bundle: Bundle | None
    """None where it cannot be used here."""
    problem: str = ""
    """Why not, as a sentence."""

    @property
    def baseline(self) -> Mapping[str, Any]:
        """The content of its baseline.json; without columns where it has none."""
        content = None if self.bundle is None else self.bundle.files.get(BASELINE)
        plain: dict[str, Any] = {"columns": {}} if content is None else json.loads(content)
        return plain


@dataclass(frozen=True)
class Since:
    """What became of the columns since the champion was trained, and of the model."""

    version: str
    """Of the champion."""
    changes: tuple[Change, ...] = ()
    drifts: tuple[Drift, ...] = ()
    """Every column that both were trained on."""
    gate: GateResult | None = None
    """Whether the new model is as good; None where that cannot be told."""
    note: str = ""
    """Why something was not compared, as sentences."""

    @property
    def moved(self) -> list[Drift]:
        """The columns that moved, the greatest index first."""
        return sorted((one for one in self.drifts if one.moved), key=lambda one: -(one.index or 0))

    @property
    def promotes(self) -> bool:
        """Whether nothing speaks against the new model in the champion's place."""
        return self.gate is None or self.gate.passed


@dataclass(frozen=True)
class Judged:
    """A new model on its test rows."""

    spec: Spec
    plan: Plan
    test: Frame
    rows: Rows
    scores: NDArray[np.float64]
    """Of the test rows, shape (rows,)."""


def champion_of(home: Home, name: str) -> Champion | None:
    """The champion of a model; None where there is none yet. One that no longer loads stands in nobody's way."""
    store = ModelStore(home.models)
    version = store.aliases(name).get(CHAMPION)
    if version is None:
        return None
    try:
        return Champion(version, store.load(name, version))
    except (BundleRefused, MissingTool, UnknownModel) as error:
        return Champion(version, None, f"Nothing is compared with the champion: {error}")


def since(champion: Champion | None, plan: Plan, types: Types, *, accept: bool) -> Since | None:
    """How the schema changed since the champion was trained; None where there is no champion.

    Raises SchemaChanged where it would break what relies on it, unless that is accepted.
    """
    if champion is None:
        return None
    if champion.bundle is None:
        return Since(champion.version, note=champion.problem)
    found = changes(champion.bundle.plan, plan, champion.baseline.get("types", {}), types)
    _require(champion.bundle, [str(change) for change in found if change.breaks], accept=accept)
    return Since(champion.version, tuple(found))


def drifted(
    seen: Since | None, champion: Champion | None, columns: Mapping[str, Array], *, accept: bool
) -> Since | None:
    """The same with how far each column of the training frame moved.

    Raises SchemaChanged where a column holds no value any more, unless that is accepted.
    """
    if seen is None or champion is None or champion.bundle is None:
        return seen
    found = drifts(champion.baseline, columns)
    _require(champion.bundle, [f"{one.column}: it {one.verdict}" for one in found if one.emptied], accept=accept)
    return replace(seen, drifts=tuple(found))


def _require(champion: Bundle, broken: list[str], *, accept: bool) -> None:
    if broken and not accept:
        raise SchemaChanged(champion.manifest.name, champion.manifest.version, broken)


def judged(seen: Since | None, champion: Champion | None, made: Judged) -> Since | None:
    """The same with the gate on promotion, where it is on and the two models can be compared."""
    within = made.spec.gates.champion_within
    if seen is None or champion is None or champion.bundle is None or within is None:
        return seen
    counts = ~made.rows.immature[made.rows.test] & (made.test.t >= _learnt_until(champion.bundle))
    problem = _incomparable(champion.bundle, made, counts)
    return replace(seen, note=problem) if problem else replace(seen, gate=_gate(champion.bundle, made, counts, within))


def _learnt_until(champion: Bundle) -> int:
    """Time of the first row that the champion was not trained on, µs."""
    return int(champion.manifest.window["train_to_us"])


def _incomparable(champion: Bundle, made: Judged, counts: NDArray[np.bool_]) -> str:
    """Why the champion cannot be judged on those test rows, as a sentence; '' where it can."""
    plan, y = champion.plan, made.rows.y[made.rows.test][counts]
    if not (set(plan.resolved) <= set(made.plan.resolved) and set(plan.views) <= set(made.plan.views)):
        return "The champion takes columns that are not in this plan, or come otherwise: the models are not compared."
    if not 0 < y.sum() < len(y):
        until = format_time(_learnt_until(champion))
        return f"The champion has learnt until {until}: the test rows since do not hold both classes."
    return ""


def _gate(champion: Bundle, made: Judged, counts: NDArray[np.bool_], within: float) -> GateResult:
    """Both models on the test rows whose label had time to come and that neither was trained on."""
    part, y = made.test.take(counts), made.rows.y[made.rows.test][counts].astype(np.float64)
    old, new = champion.score(part.resolved.columns, len(part)), made.scores[counts]
    difference = compare(y, new, old, seed=made.spec.seed).log_loss
    loss, bound = (float(log_losses(y, each).mean()) for each in (new, old))
    return check_champion(loss, bound, difference, within)
