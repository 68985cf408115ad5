"""`lockstep train` beside a champion: what it prints, promotes and refuses."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sklearn.linear_model import LogisticRegression

from lockstep.cli.train import train
from lockstep.errors import NotPromoted, SchemaChanged
from lockstep.home import Home
from lockstep.model_store import ModelStore
from training.gates import Gates
from training.spec import Spec, load_spec

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

Run = Callable[..., Result]


def small(**changes: Any) -> Spec:
    """The example with fewer columns and a quick estimator."""
    steps = tuple(step for step in load_spec("install").steps if step.name in ("windows", "hour"))
    gates = Gates(beat_prior=False, beat_baseline=False, mean_score_within=9)
    quick = {"steps": steps, "request_steps": ("hour",), "estimator": LogisticRegression, "gates": gates}
    return replace(load_spec("install"), **{**quick, **changes})


@pytest.fixture(scope="module")
def mine(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The small home without models."""
    copy = Home(tmp_path_factory.mktemp("home") / "copy")
    shutil.copytree(home.root, copy.root, ignore=shutil.ignore_patterns("models"))
    return copy


@pytest.fixture
def run(mine: Home, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, training a spec of the test's in the place of the example's."""
    monkeypatch.setenv("LOCKSTEP_HOME", str(mine.root))

    def run(spec: Spec, *options: str) -> Result:
        monkeypatch.setattr("training.spec.load_spec", lambda _: spec)
        return CliRunner().invoke(train, ["install", *options])

    return run


def test_a_first_model_is_promoted_a_worse_one_is_not_and_a_changed_schema_is_refused(run: Run, mine: Home) -> None:
    store, spec = ModelStore(mine.models), small()
    first = run(spec)
    assert first.exit_code == 0, first.output
    assert "install 1 published and promoted" in first.output
    worse = run(replace(spec, estimator=lambda: LogisticRegression(C=1e-9)))
    assert isinstance(worse.exception, NotPromoted)
    assert "install 2 published: " in worse.output
    assert "columns compared with the champion, version 1: none has moved." in worse.output
    assert "lockstep models promote install 2" in str(worse.exception)
    assert (store.versions("install"), store.aliases("install")) == (["1", "2"], {"champion": "1"})
    windows, hour = spec.steps
    changed = run(replace(spec, steps=(replace(windows, columns=windows.columns[1:]), hour)))
    assert isinstance(changed.exception, SchemaChanged)
    accepted = run(replace(spec, steps=(replace(windows, columns=windows.columns[1:]), hour)), "--accept-schema")
    assert "it is no longer in the feature plan" in accepted.output
    assert "the models are not compared" in accepted.output
    assert store.aliases("install") == {"champion": "3"}


def test_without_promoting_a_worse_model_is_no_failure(run: Run) -> None:
    lesser = run(small(estimator=lambda: LogisticRegression(C=1e-9)), "--no-promote", "--accept-schema")
    assert lesser.exit_code == 0, lesser.output
    assert "published: " in lesser.output
