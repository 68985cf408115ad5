"""A whole training on a small log: what it publishes, and that a model that fails publishes nothing."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feast import FeatureStore
from sklearn.linear_model import LogisticRegression

from lockstep.errors import BadFile, BundleRefused, GateFailed
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.status import Rung
from lockstep.times import DAY, HOUR, parse_time
from serving import LocalScorer
from serving.settings import Settings
from tests.homes import Elsewhere
from training.checks import check_scores, check_transformers, check_works_row_by_row
from training.gates import Gates
from training.publish import UNPUBLISHED
from training.spec import Spec, load_spec
from training.train import Trained, convergence, train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

MIDNIGHT = parse_time("2017-11-08T00:00:00Z")


def test_the_published_bundle_loads_and_scores_what_the_training_scored(trained: Trained, home: Home) -> None:
    store = ModelStore(home.models)
    assert (store.versions("install"), store.aliases("install")) == (["1"], {}), "promoting is a step of its own"
    bundle = store.load("install", "1")
    scores = bundle.score(trained.test.resolved.columns, len(trained.test))
    np.testing.assert_array_equal(scores, trained.fitted.score(trained.test.inputs))
    assert bundle.plan == trained.bundle.plan


def test_the_test_rows_are_the_last_day_in_time_order(trained: Trained) -> None:
    assert trained.window.cut_us == MIDNIGHT
    assert trained.window.train_to_us == MIDNIGHT - 6 * HOUR
    assert (np.diff(trained.test.t) >= 0).all()
    assert trained.test.t[0] >= MIDNIGHT
    assert trained.test.t[-1] == trained.window.test_to_us < MIDNIGHT + DAY
    assert len(trained.test) == len(trained.test_spine) == len(trained.y_test)


def test_the_model_is_better_than_chance_and_than_request_data_alone(trained: Trained) -> None:
    assessment = trained.assessment
    assert assessment.model.auc.value > assessment.baseline.auc.value > 0.5
    assert assessment.model.log_loss.value < assessment.prior.log_loss.value


def test_every_gate_has_passed_and_says_so(trained: Trained) -> None:
    names = ["beat_prior", "beat_baseline", "mean_score", "lowest_score", "highest_score", "converged"]
    assert [gate.name for gate in trained.gates] == names
    assert all(gate.passed for gate in trained.gates)


def test_labels_of_test_rows_are_those_of_the_log(trained: Trained) -> None:
    known = trained.test_spine["attributed_time"].is_valid().to_numpy()
    np.testing.assert_array_equal(trained.y_test, known.astype(np.int8))


def test_the_checks_pass_on_rows_that_no_fit_has_seen(trained: Trained) -> None:
    check_transformers(trained.fitted, trained.test.inputs)
    check_scores(trained.fitted, trained.test.inputs)
    check_works_row_by_row(trained.fitted, trained.test.inputs)


def small(**changes: Any) -> Spec:
    """A quick model on a few columns of the example."""
    spec = load_spec("install")
    steps = tuple(step for step in spec.steps if step.name in ("windows", "hour"))
    estimator = lambda: LogisticRegression(max_iter=1_000)  # noqa: E731
    settings = {"name": "small", "steps": steps, "request_steps": ("hour",), "estimator": estimator, **changes}
    return replace(spec, **settings)


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (Gates(mean_score_within=1e-6), r"1 of 6 gates failed.\n- The mean score .* outside the 0% allowed"),
        (Gates(mean_score_within=9, score_bounds=(0.0, 1e-6)), r"The highest score is 0.\d+, outside the bound 1e-06"),
    ],
    ids=["mean score", "bounds"],
)
def test_a_failed_gate_publishes_nothing_and_says_which_and_by_how_much(
    gates: Gates, said: str, feast_store: FeatureStore, home: Home, tmp_path: Path
) -> None:
    elsewhere = Elsewhere(home.root, tmp_path)
    with pytest.raises(GateFailed, match=said):
        train(feast_store, small(gates=gates), elsewhere)
    assert not elsewhere.models.exists()


def test_a_fit_that_ran_out_of_iterations_is_not_published(
    feast_store: FeatureStore, home: Home, tmp_path: Path
) -> None:
    def short() -> LogisticRegression:
        return LogisticRegression(max_iter=1)

    elsewhere = Elsewhere(home.root, tmp_path)
    with pytest.raises(GateFailed, match="did not converge: it stopped after 1 of at most 1 iterations"):
        train(feast_store, small(estimator=short, gates=Gates(mean_score_within=9)), elsewhere)
    assert not elsewhere.models.exists()


def test_without_a_log_nothing_is_trained_and_the_way_to_one_is_told(feast_store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="lockstep events generate"):
        train(feast_store, small(), Home(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_refused_bundle_publishes_nothing(
    feast_store: FeatureStore, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BundleRefused("parts")

    monkeypatch.setattr("training.train.check_scores", refuse)
    elsewhere = Elsewhere(home.root, tmp_path)
    with pytest.raises(BundleRefused, match="parts"):
        train(feast_store, small(gates=Gates(mean_score_within=9)), elsewhere)
    assert not elsewhere.models.exists()


def test_a_model_can_live_in_memory_alone_and_score_what_its_training_scored(
    feast_store: FeatureStore, home: Home, tmp_path: Path
) -> None:
    elsewhere = Elsewhere(home.root, tmp_path / "models")
    made = train(feast_store, small(gates=Gates(mean_score_within=9)), elsewhere, publish=False)
    assert not elsewhere.models.exists()
    assert made.bundle.manifest.version == UNPUBLISHED
    columns = made.test.resolved.columns
    stored = {name: columns[name] for name in made.bundle.plan.stored_columns.names}
    settings = Settings(models_url=str(tmp_path / "none"), redis="localhost:1")
    with LocalScorer(made.bundle, settings=settings) as scorer:
        rows = {name: columns[name] for name in made.bundle.plan.given if name in columns}
        answer = scorer.predict(rows, features=stored, at=made.test.t, timeout_s=60)
    np.testing.assert_array_equal(answer.scores, made.fitted.score(made.test.inputs))
    assert answer.rung is Rung.FRESH


@dataclass
class Iterated:
    """An estimator after its fit."""

    n_iter_: Any = None
    max_iter: int | None = None


@pytest.mark.parametrize(
    ("estimator", "converged", "sentence"),
    [
        (Iterated(n_iter_=40, max_iter=200), True, "stopped after 40 of at most 200 iterations"),
        (Iterated(n_iter_=np.array([3, 200]), max_iter=200), False, "stopped after 200 of at most 200 iterations"),
        (Iterated(), True, "was fitted in one step"),
        (object(), True, "was fitted in one step"),
    ],
    ids=["early stopping", "ran out", "not iterative", "no such attributes"],
)
def test_convergence_tells_a_fit_that_was_done_from_one_that_ran_out(
    estimator: object, converged: bool, sentence: str
) -> None:
    assert convergence(estimator) == (converged, sentence)
