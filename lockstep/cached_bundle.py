"""The bundle of a cached model, made from the manifest of the model whose predictions it answers with."""

from dataclasses import replace

import numpy as np

from lockstep.bundle import Manifest, golden_rows, pack
from lockstep.cached_model import SCORE, Cache, CachedModel, OnMiss
from lockstep.errors import BadRequest, PlanRefused
from lockstep.link import Link
from lockstep.model import CACHED
from lockstep.plan import Array, Column, DType, Plan, Stored, View
from lockstep.prediction_key import PredictionKeys
from lockstep.predictions import FIELDS
from lockstep.times import now_us

__all__ = ["cached_files", "check_behind"]


def cached_files(
    behind: Manifest, view: View, name: str, version: str, *, on_miss: OnMiss, default: float | None = None
) -> dict[str, bytes]:
    """The files of version `version` of the cached model `name`; `default` is the prior of the model where it is None.

    Raises BadRequest for a default that is no probability, and what `check_behind` raises.
    """
    check_behind(behind)
    score = behind.prior if default is None else default
    if not 0 < score < 1:
        raise BadRequest(f"the default is {score}; a score is a probability between 0 and 1, both excluded.")
    plan = _plan(behind.plan, view, score)
    model = CachedModel(Cache(behind.name, on_miss, PredictionKeys(plan).sha256).to_json())
    row = {column.name: column.instead.reshape(1) for column in plan.columns if column.name == SCORE}
    golden = golden_rows(plan, {**_nothing(plan), **row}, Link()(model.raw(row)))
    manifest = replace(
        behind,
        name=name,
        version=version,
        created_us=now_us(),
        kind=CACHED.name,
        plan=plan,
        link=Link(),
        prior=score,
        metrics={},
        trusted=[],
    )
    return pack(manifest, {CACHED.path: model.model, "golden.parquet": golden})


def check_behind(behind: Manifest) -> None:
    """Raise BadRequest for a model that is cached itself, PlanRefused for one that has nothing to be cached by."""
    if behind.kind == CACHED.name:
        raise BadRequest(f"model {behind.name!r} answers with stored predictions itself; name the one behind it.")
    if not behind.plan.given:
        raise PlanRefused("the model takes neither keys nor request features: there is nothing to cache it by.")


def _plan(behind: Plan, view: View, default: float) -> Plan:
    """The given columns, and the stored score."""
    score = Column(SCORE, DType.FLOAT64, Stored(view.name, FIELDS[1].name), default)
    return Plan(behind.project, behind.service, (view,), (*behind.given.values(), score), (SCORE,))


def _nothing(plan: Plan) -> dict[str, Array]:
    """A row of nothing in particular."""
    return {name: np.array([_NOTHING.get(one.dtype, 0)], one.dtype.numpy) for name, one in plan.given.items()}


_NOTHING = {DType.STRING: ""}
