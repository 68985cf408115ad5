"""The estimator is fitted on what the serving graph computes, and on out-of-fold values where a step sees the label."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder

from lockstep.bundle import parts_at
from lockstep.graph import Graph
from lockstep.plan import Array, DType
from tests.training.columns import COLUMNS, Y, fitted
from training.checks import check_scores, check_transformers, check_works_row_by_row
from training.fit import FOLDS, Fitted, Recipe, fit
from training.spec import Step
from training.transformers import TopN

STEPS = (
    Step("numbers", StandardScaler, ("height", "price")),
    Step("ids", lambda: TopN(4), ("app", "os")),
    Step("words", lambda: TfidfVectorizer(lowercase=False, token_pattern=r"[^ ]+"), ("words",)),
    Step("rates", lambda: TargetEncoder(target_type="binary"), ("app",), sees_label=True),
)
ESTIMATORS = {
    "boosting": HistGradientBoostingClassifier(max_iter=30, min_samples_leaf=5, random_state=1),
    "logistic": LogisticRegression(max_iter=5_000),
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def model(request: pytest.FixtureRequest) -> Fitted:
    return fitted(*STEPS, estimator=ESTIMATORS[request.param])


def test_served_scores_are_those_of_scikit_learn_on_every_row(model: Fitted) -> None:
    by_scikit_learn = model.estimator.predict_proba(model.features(COLUMNS))[:, 1]
    assert len(np.unique(by_scikit_learn)) > 100
    assert not parts_at(model.score(COLUMNS), by_scikit_learn).size
    np.testing.assert_allclose(model.reference(COLUMNS), by_scikit_learn, rtol=1e-12)


def test_what_was_fitted_passes_all_three_checks(model: Fitted) -> None:
    check_transformers(model, COLUMNS)
    check_scores(model, COLUMNS)
    check_works_row_by_row(model, COLUMNS)


def test_the_graph_that_is_published_takes_columns_and_needs_nothing_else(model: Fitted) -> None:
    again = Graph(model.graph.model)
    assert sorted(again.inputs) == ["app", "height", "os", "price", "words"]
    np.testing.assert_array_equal(model.link(again.raw(COLUMNS)), model.score(COLUMNS))


def test_widths_say_which_features_are_whose(model: Fitted) -> None:
    assert list(model.widths) == ["numbers", "ids", "words", "rates"]
    assert sum(model.widths.values()) == model.features(COLUMNS).shape[1]


def test_one_seed_makes_one_model() -> None:
    one, other = (fitted(*STEPS, estimator=ESTIMATORS["boosting"]) for _ in range(2))
    np.testing.assert_array_equal(one.score(COLUMNS), other.score(COLUMNS))


class Seen:
    """What an estimator was fitted on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.features: NDArray[np.float32] = np.empty(0, np.float32)
        fit_it = LogisticRegression.fit

        def note(estimator: Any, X: NDArray[np.float32], y: NDArray[np.int8]) -> Any:
            self.features = X
            return fit_it(estimator, X, y)

        monkeypatch.setattr(LogisticRegression, "fit", note)


def test_the_estimator_is_fitted_on_what_the_graph_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    it = fitted(*STEPS[:3], estimator=ESTIMATORS["logistic"])
    np.testing.assert_array_equal(seen.features, it.features(COLUMNS))


def test_steps_that_see_the_label_give_the_estimator_out_of_fold_values(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    it = fitted(STEPS[0], STEPS[3], estimator=ESTIMATORS["logistic"])
    served = it.features(COLUMNS)
    np.testing.assert_array_equal(seen.features[:, :2], served[:, :2])
    assert (seen.features[:, 2] != served[:, 2]).mean() > 0.5
    np.testing.assert_allclose(seen.features[:, 2], out_of_fold(it), rtol=1e-5)


def out_of_fold(it: Fitted) -> NDArray[np.float64]:
    """Each row's rate by an encoder that was fitted without the row's fold."""
    values, table = np.empty(len(Y)), COLUMNS["app"][:, None]
    for others, own in StratifiedKFold(FOLDS, shuffle=True, random_state=it.recipe.seed).split(Y, Y):
        values[own] = TargetEncoder(target_type="binary").fit(table[others], Y[others]).transform(table[own])[:, 0]
    return values


# An id of many values, one or two rows each: fitted on the label it knows the answers by heart.

ROWS = 8_000
HALF = ROWS // 2


def memorable(seed: int = 8) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {"id": rng.integers(0, 3_000, ROWS), "signal": rng.normal(0, 1, ROWS).astype(np.float32)}


def rows_of(columns: dict[str, Array], part: slice) -> dict[str, Array]:
    return {name: values[part] for name, values in columns.items()}


RATE = Step(
    "rate", lambda: make_pipeline(TargetEncoder(target_type="binary"), StandardScaler()), ("id",), sees_label=True
)
SIGNAL = Step("signal", StandardScaler, ("signal",))
LEARNT, HELD_OUT = slice(0, HALF), slice(HALF, ROWS)


def aucs(it: Fitted, estimator: Any, columns: dict[str, Array], y: NDArray[np.int8]) -> tuple[float, float]:
    """On the rows that were learnt from, as served, and on held-out rows."""
    scores = [estimator.decision_function(it.features(rows_of(columns, part))) for part in (LEARNT, HELD_OUT)]
    return float(roc_auc_score(y[LEARNT], scores[0])), float(roc_auc_score(y[HELD_OUT], scores[1]))


def fit_on(columns: dict[str, Array], y: NDArray[np.int8], *steps: Step, estimator: str = "logistic") -> Fitted:
    recipe = Recipe(steps, ESTIMATORS[estimator], {"id": DType.INT64, "signal": DType.FLOAT32}, seed=3)
    return fit(recipe, rows_of(columns, LEARNT), y[LEARNT])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_random_labels_and_an_id_of_many_values_end_at_auc_one_half_on_held_out_rows(estimator: str) -> None:
    columns, y = memorable(), np.random.default_rng(6).integers(0, 2, ROWS).astype(np.int8)
    it = fit_on(columns, y, RATE, SIGNAL, estimator=estimator)
    assert abs(aucs(it, it.estimator, columns, y)[1] - 0.5) < 0.04


def test_without_out_of_fold_values_random_labels_are_learnt_by_heart() -> None:
    columns, y = memorable(), np.random.default_rng(6).integers(0, 2, ROWS).astype(np.int8)
    it = fit_on(columns, y, RATE, SIGNAL)
    naive = clone(it.estimator).fit(it.features(rows_of(columns, LEARNT)), y[LEARNT])
    on_learnt, held_out = aucs(it, naive, columns, y)
    assert on_learnt > 0.85
    assert abs(held_out - 0.5) < 0.04
    assert naive.coef_[0, 0] > 1, "it trusts the id"
    assert it.estimator.coef_[0, 0] < 0.1, "fitted out of fold it does not"


def test_an_id_that_says_nothing_costs_nothing_out_of_fold() -> None:
    columns, rng = memorable(), np.random.default_rng(6)
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-2 * columns["signal"]))).astype(np.int8)
    alone, it = fit_on(columns, y, SIGNAL), fit_on(columns, y, RATE, SIGNAL)
    naive = clone(it.estimator).fit(it.features(rows_of(columns, LEARNT)), y[LEARNT])
    best = aucs(alone, alone.estimator, columns, y)[1]
    assert aucs(it, it.estimator, columns, y)[1] > best - 0.01
    assert aucs(it, naive, columns, y)[1] < best - 0.03
