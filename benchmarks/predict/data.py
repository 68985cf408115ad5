"""What every side serves: one made-up click log, its feature tables in Redis in both layouts, one trained model."""

import json
import os
import pickle
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import date
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lockstep.compiled import SWITCH
from lockstep.files import write_bytes
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.plan import Plan
from lockstep.progress import bar
from lockstep.redis_server import run_redis
from lockstep.times import SECOND, to_datetime

if TYPE_CHECKING:
    from training.train import Trained

__all__ = [
    "MODEL",
    "SEED",
    "STOCK",
    "Data",
    "Size",
    "environment",
    "keep_scikit_learn",
    "opened",
    "scikit_learn",
    "within",
]

MODEL: Final = "install"
STOCK: Final = "feature_store.stock.yaml"
"""Feast's own stores, which the peers read."""
FIRST_DAY: Final = date(2017, 11, 6)
SEED: Final = 7
_READY, _PICKLE = "benchmark.json", "scikit-learn.pickle"


@dataclass(frozen=True)
class Size:
    """How large the log is."""

    clicks: int
    days: int


@dataclass(frozen=True)
class Data:
    """A home that is ready to be served, while its Redis runs."""

    home: Home
    redis_url: str
    moment_us: int
    """t of every request: the end of the log, to which both stores were materialized."""

    @property
    def plan(self) -> Plan:
        """The plan of the model."""
        return ModelStore(self.home.models).load(MODEL).plan


def environment(home: Home, redis_url: str, feature_store: str = "") -> dict[str, str]:
    """That of a process which works on this home, with Feast's own stores where `feature_store` names them. Of
    Lockstep's own variables only the one is kept that leaves the compiled hot path out.
    """
    own = {"LOCKSTEP_HOME": str(home.root), "REDIS_URL": redis_url, "LOCKSTEP_FEATURE_STORE": feature_store}
    rest = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP_") or name == SWITCH}
    return {**rest, **{name: value for name, value in own.items() if value}}


@contextmanager
def opened(home: Home, size: Size) -> Iterator[Data]:
    """The home with its Redis running; filled first, unless an earlier run has."""
    with run_redis(home.redis, keep=True) as url:
        ready = home.root / _READY
        if not ready.exists():
            write_bytes(ready, json.dumps({"moment_us": _prepare(home, url, size)}).encode())
        yield Data(home, url, json.loads(ready.read_text())["moment_us"])


def _prepare(home: Home, redis_url: str, size: Size) -> int:
    """Generate, build and train what is not there yet, and fill Redis in both layouts. Returns the log's end in µs."""
    from training.events import generate, write_log
    from training.tables import build

    if not home.events.exists():
        write_log(generate(size.clicks, size.days, SEED, FIRST_DAY), home.events)
        build(home)
        _apply(home, redis_url)
    if not (home.root / _PICKLE).exists():
        keep_scikit_learn(home, _train(home, redis_url))
    models = ModelStore(home.models)
    models.promote(MODEL, models.versions(MODEL)[-1])
    window = models.load(MODEL).manifest.window
    moment_us = int(window["test_to_us"]) // SECOND * SECOND
    for feature_store in ("", STOCK):
        _materialize(home, redis_url, feature_store, window["train_from_us"], moment_us)
    return moment_us


def _apply(home: Home, redis_url: str) -> None:
    from lockstep.stores.repo import feast_command

    with within(environment(home, redis_url)), bar("feast apply", 1) as done:
        subprocess.run(feast_command(home, "apply"), capture_output=True, check=True)
        done(1)


@contextmanager
def within(variables: Mapping[str, str]) -> Iterator[None]:
    """Let the process have that environment while the block runs."""
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _train(home: Home, redis_url: str) -> "Trained":
    """The example's model. How good it is does not matter here: a small log cannot pass the gate on the mean score."""
    from lockstep.stores.repo import open_store
    from training.gates import Gates
    from training.spec import load_spec
    from training.train import train

    with within(environment(home, redis_url)):
        return train(open_store(home), replace(load_spec(MODEL), gates=Gates(mean_score_within=1.0)), home)


def _materialize(home: Home, redis_url: str, feature_store: str, from_us: int, to_us: int) -> None:
    from lockstep.stores.repo import open_store

    noise, layout = StringIO(), "Feast's Redis store" if feature_store else "packed rows"
    with within(environment(home, redis_url, feature_store)), bar(f"materialize: {layout}", 1) as done:
        with redirect_stdout(noise), redirect_stderr(noise):
            open_store(home).materialize(to_datetime(from_us), to_datetime(to_us))
        done(1)


def keep_scikit_learn(home: Home, trained: "Trained") -> None:
    """Keep scikit-learn's fitted objects for the peer that scores with them, as its users do: in a pickle."""
    fitted = trained.fitted
    steps = {one.step.name: (one.transformer, one.dtypes) for one in fitted.steps}
    content = {"steps": steps, "estimator": fitted.estimator, "inputs": trained.bundle.plan.inputs}
    write_bytes(home.root / _PICKLE, pickle.dumps(content))


def scikit_learn(home: Home) -> Mapping[str, Any]:
    """What `keep_scikit_learn` kept: the steps' transformers and dtypes by name, the estimator, the inputs."""
    content: Mapping[str, Any] = pickle.loads((Path(home.root) / _PICKLE).read_bytes())
    return content
