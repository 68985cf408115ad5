"""Train a spec: plan, frame, split, fit through the serving graph, checks, evaluation, gates, bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.plan import Plan
from lockstep.progress import bar
from training.champion import Judged, Since, champion_of, drifted, judged, since
from training.changes import table_types
from training.checks import check_scores, check_transformers, check_works_row_by_row
from training.evaluate import Assessment, assess
from training.fit import Fitted, Recipe, fit
from training.frame import Frame, assemble, fetch
from training.gates import GateFacts, GateResult, check, require
from training.given import micros
from training.importance import permutation_importance
from training.plans import EVENT_TIMESTAMP, build_plan
from training.publish import Evaluated, Learnt, files, in_memory
from training.spec import Spec
from training.split import Rows, Window, split

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Trained", "convergence", "train"]


@dataclass(frozen=True)
class Trained:
    """A model that was trained in this process: its bundle, and scikit-learn's objects for as long as it lives."""

    bundle: Bundle
    fitted: Fitted
    window: Window
    test_spine: pa.Table
    """The test rows, immature ones too, in time order."""
    test: Frame
    y_test: NDArray[np.int8]
    """Labels as known at the end of the log."""
    assessment: Assessment
    """On the test rows whose label had time to come."""
    gates: list[GateResult]
    since: Since | None
    """Beside the champion: what changed, and whether this model is as good. None where there is no champion."""


def _untold(_: Since) -> None:
    """Tell nobody."""


def train(
    store: "FeatureStore",
    spec: Spec,
    home: Home,
    *,
    publish: bool = True,
    accept_schema: bool = False,
    tell: Callable[[Since], None] = _untold,
) -> Trained:
    """Train and publish a spec, then point nothing at it: promoting is a step of its own.

    Without `publish` the bundle lives in this process alone and nothing is written: for an application that trains and
    then scores, e.g. with `serving.LocalScorer(trained.bundle)`.

    Before anything is fitted, the columns are compared with those that the home's champion of that name was trained on,
    and `tell` is called with what changed. A schema that changed is refused, unless `accept_schema`.

    Raises PlanRefused, TablesRefused, SchemaChanged, BundleRefused or GateFailed; then nothing is published.
    """
    with bar(f"train {spec.name}", 6) as step:
        plan, functions = build_plan(store, spec)
        spine = spec.spine(home).sort_by(EVENT_TIMESTAMP)
        champion, types = champion_of(home, spec.name), table_types(store, plan)
        seen = since(champion, plan, types, accept=accept_schema)
        rows = split(spec, micros(spine[EVENT_TIMESTAMP]), *_label_times(spine, spec))
        frame = assemble(plan, functions, fetch(store, plan, spine), spine)
        learnt, test, y = frame.take(rows.train), frame.take(rows.test), rows.y[rows.train]
        seen = drifted(seen, champion, learnt.inputs, accept=accept_schema)
        if seen is not None:
            tell(seen)
        step(1)
        fitted = fit(_recipe(spec, plan), learnt.inputs, y)
        step(1)
        lesser = fit(_recipe(spec, plan, spec.request_steps), learnt.inputs, y)
        step(1)
        _check(fitted, learnt, test)
        step(1)
        evaluated = evaluate(spec, fitted, lesser, learnt, test, rows)
        step(1)
        require(evaluated.gates)
        seen = judged(seen, champion, Judged(spec, plan, test, rows, evaluated.scores))
        what = Learnt(spec, plan, functions, fitted, learnt, y, test, rows, evaluated, types, seen)
        bundle = _published(what, home) if publish else in_memory(what)
        step(1)
    test_spine = spine.filter(pa.array(rows.test))
    told = rows.y[rows.test]
    return Trained(bundle, fitted, rows.window, test_spine, test, told, evaluated.mature, evaluated.gates, seen)


def _published(what: Learnt, home: Home) -> Bundle:
    return ModelStore(home.models).publish(what.spec.name, lambda version: files(what, version))


def _label_times(spine: pa.Table, spec: Spec) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    times = spine[spec.label.time]
    known = times.is_valid().to_numpy()
    return micros(times.fill_null(pa.scalar(0, pa.int64()).cast(times.type))), known


def _recipe(spec: Spec, plan: Plan, names: tuple[str, ...] | None = None) -> Recipe:
    """The whole recipe, or the one of the named steps alone."""
    steps = tuple(step for step in spec.steps if names is None or step.name in names)
    dtypes = {name: plan.by_name[name].dtype for name in plan.inputs}
    return Recipe(steps, spec.estimator(), dtypes, spec.seed, spec.kind)


def _check(fitted: Fitted, learnt: Frame, test: Frame) -> None:
    """Raises BundleRefused where the graph computes something else than scikit-learn, or depends on the batch."""
    for part in (learnt, test):
        check_transformers(fitted, part.inputs)
        check_scores(fitted, part.inputs)
    check_works_row_by_row(fitted, test.inputs)


def evaluate(spec: Spec, fitted: Fitted, lesser: Fitted, learnt: Frame, test: Frame, rows: Rows) -> Evaluated:
    """Measure on the test rows, with and without the immature ones, and try the gates."""
    prior = float(rows.y[rows.train].mean())
    y, mature = rows.y[rows.test], ~rows.immature[rows.test]
    scores, baseline, on_learnt = fitted.score(test.inputs), lesser.score(test.inputs), fitted.score(learnt.inputs)
    seen = assess(y[mature], scores[mature], prior=prior, baseline=baseline[mature], seed=spec.seed)
    whole = assess(y, scores, prior=prior, baseline=baseline, seed=spec.seed)
    lowest, highest = (float(edge(np.concatenate([scores, on_learnt]))) for edge in (np.min, np.max))
    gates = check(spec.gates, GateFacts(seen, lowest, highest, *convergence(fitted.estimator, fitted.unconverged)))
    columns = {name: values[mature] for name, values in test.inputs.items()}
    importance = permutation_importance(fitted.score, columns, y[mature], seed=spec.seed, repeats=2, max_rows=4_000)
    return Evaluated(seen, whole, gates, scores, baseline, on_learnt, importance)


def convergence(estimator: object, warned: Sequence[str] = ()) -> tuple[bool, str]:
    """Whether every fit ended because it was done, and a sentence without full stop that says how it ended.

    scikit-learn warns of a solver that ran out of iterations (`warned`, of every step and of the estimator) and says
    nothing of boosting, which is done when early stopping ended it. An estimator without iterations is always done.
    """
    done, most = (getattr(estimator, name, None) for name in ("n_iter_", "max_iter"))
    ended, converged = "was fitted in one step", True
    if done is not None and most is not None:
        ran = int(np.max(done))
        ended, converged = f"stopped after {ran} of at most {most} iterations", ran < most
    if warned:
        ended += f"; scikit-learn warns: {' / '.join(warned)}"
    return converged and not warned, ended.rstrip(".")
