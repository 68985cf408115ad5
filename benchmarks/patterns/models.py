"""The models beside `install`: linear ones of the other kinds, one that answers from stored predictions, one in C."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.patterns.rows import Rows
from benchmarks.predict.data import MODEL, Data
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.times import format_time
from training.gates import Gates
from training.spec import Spec, load_spec

if TYPE_CHECKING:
    from feast import FeatureStore

    from lockstep.bundle import Bundle
    from training.exports.c.compiler import Compiled

__all__ = ["CACHED", "LINEAR", "fill_cache", "in_c", "in_memory", "publish_linear"]

LINEAR: Final = {kind: f"{MODEL}_{kind}" for kind in ("coefficients", "skops")}
"""The linear models by kind."""
CACHED: Final = f"{MODEL}_cached"
SAMPLE: Final = 10_000
"""Most rows that a linear model learns from."""
_ANY_GATES: Final = Gates(beat_prior=False, beat_baseline=False, mean_score_within=1e9, must_converge=False)
"""How good they are does not matter here."""


def publish_linear(store: "FeatureStore", home: Home) -> None:
    """Train and publish the linear models, unless an earlier run has."""
    from training.train import train

    models = ModelStore(home.models)
    for kind, name in LINEAR.items():
        if not models.versions(name):
            models.promote(name, train(store, linear(kind), home).bundle.manifest.version)


def linear(kind: str) -> Spec:
    """The example's steps, its numbers scaled, into a logistic regression."""
    spec = load_spec(MODEL)
    steps = tuple(replace(step, make=_scaled) if step.name in ("numbers", "hour") else step for step in spec.steps)
    named = replace(spec, name=LINEAR[kind], kind=kind, gates=_ANY_GATES)
    return replace(named, steps=steps, estimator=_regression, spine=_some(spec))


def _scaled() -> Any:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


def _regression() -> Any:
    return LogisticRegression(C=0.1, max_iter=500)


def _some(spec: Spec) -> Any:
    def spine(home: Home) -> pa.Table:
        rows = spec.spine(home)
        return rows.take(pa.array(np.arange(0, len(rows), max(1, len(rows) // SAMPLE))))

    return spine


def in_memory(store: "FeatureStore", home: Home) -> "Bundle":
    """`install` trained once more, and written nowhere."""
    from training.train import train

    spec = replace(load_spec(MODEL), gates=Gates(mean_score_within=1.0))  # as benchmarks.predict.data trains it
    return train(store, spec, home, publish=False).bundle


def fill_cache(data: Data, rows: Rows, folder: Path) -> None:
    """The predictions of these rows, made and published by the commands that a user gives."""
    keys = rows.write(folder / "keys.parquet", timed=False)
    _lockstep("cache", "fill", MODEL, "--keys", str(keys), "--at", format_time(data.moment_us), "--redo")
    if not ModelStore(data.home.models).versions(CACHED):
        _lockstep("cache", "publish", MODEL, "--on-miss", "live")


def _lockstep(*arguments: str) -> None:
    """Raises CalledProcessError; what the command said is shown."""
    command: Sequence[str] = [str(Path(sys.executable).with_name("lockstep")), *arguments]
    subprocess.run(command, stdout=sys.stderr, check=True)


def in_c(bundle: "Bundle", folder: Path) -> "Compiled":
    """The model as C, compiled and loaded. Raises MissingTool without a compiler."""
    from training.exports.c.compiler import compiled
    from training.exports.c.export import export
    from training.exports.c.header import Api
    from training.exports.rows import golden_rows

    export(bundle, [golden_rows(bundle)], folder, lambda steps: None)
    return compiled(Api(bundle), folder)
