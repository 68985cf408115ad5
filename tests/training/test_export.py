"""Every transformer of a spec computes in the serving graph what it computes in scikit-learn, or is refused."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    StandardScaler,
)

from lockstep.errors import PlanRefused
from lockstep.graph import Graph
from lockstep.plan import Array
from tests.training.cases import EXACT, FLOATS, IDS, REFUSED, TEXT, TOKENS, unseen
from tests.training.columns import COLUMNS, ROWS, Y, fitted, recipe
from training.checks import check_transformers, check_works_row_by_row
from training.export import estimator_graph, snap_thresholds, step_input
from training.fit import Fitted, fit
from training.spec import Step
from training.transformers import TopN


@cache
def fit_of(name: str) -> Fitted:
    case = EXACT[name]
    return fitted(Step("it", case.make, case.columns, case.sees_label))


def by_scikit_learn(name: str, columns: dict[str, Array]) -> NDArray[np.float64]:
    (step,) = fit_of(name).steps
    made = step.transformer.transform(step_input(step.step, step.dtypes, columns, step.transformer))
    return np.asarray(made.toarray() if hasattr(made, "toarray") else made, np.float64)


def in_batches(it: Fitted, columns: dict[str, Array], size: int) -> NDArray[np.float32]:
    rows = len(columns["app"])
    parts = [
        it.features({name: values[at : at + size] for name, values in columns.items()}) for at in range(0, rows, size)
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize("size", [1, 7, ROWS], ids=["alone", "in sevens", "all at once"])
@pytest.mark.parametrize("name", EXACT)
def test_the_graph_equals_scikit_learn_on_every_row(name: str, size: int) -> None:
    for columns in (COLUMNS, unseen()):
        served = in_batches(fit_of(name), columns, size)
        assert served.dtype == np.float32
        np.testing.assert_allclose(served, by_scikit_learn(name, columns), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", EXACT)
def test_a_row_has_the_same_bits_in_every_batch(name: str) -> None:
    for columns in (COLUMNS, unseen()):
        whole = in_batches(fit_of(name), columns, ROWS)
        for size in (1, 7):
            np.testing.assert_array_equal(in_batches(fit_of(name), columns, size).view(np.int32), whole.view(np.int32))


@pytest.mark.parametrize("name", EXACT)
def test_what_is_exact_passes_the_checks(name: str) -> None:
    check_transformers(fit_of(name), COLUMNS)
    check_works_row_by_row(fit_of(name), COLUMNS)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_graph_cannot_say_exactly_is_refused_and_its_step_named(name: str) -> None:
    case, error, said = REFUSED[name]
    with pytest.raises(error, match=rf"step 'it'.*{said}"):
        check_transformers(fitted(Step("it", case.make, case.columns, case.sees_label)), COLUMNS)


def test_steps_stand_side_by_side_in_their_order() -> None:
    steps = (Step("ids", lambda: TopN(3), ("app",)), Step("numbers", StandardScaler, FLOATS))
    both = fitted(*steps)
    alone = [fitted(step).features(COLUMNS) for step in steps]
    assert both.widths == {"ids": 3, "numbers": 2}
    np.testing.assert_array_equal(both.features(COLUMNS), np.hstack(alone))


def test_a_column_may_serve_two_steps_and_is_one_input() -> None:
    it = fitted(Step("one", StandardScaler, ("height",)), Step("two", MinMaxScaler, ("height", "price")))
    assert sorted(it.graph.inputs) == ["height", "price"]
    check_transformers(it, COLUMNS)


def test_a_fill_that_float32_cannot_hold_is_subtracted_exactly() -> None:
    rng = np.random.default_rng(4)
    far = np.where(rng.random(ROWS) < 0.5, np.nan, rng.normal(1e6 + 0.3, 1.0, ROWS)).astype(np.float32)
    step = Step("it", lambda: make_pipeline(SimpleImputer(), StandardScaler()), ("gap",))
    check_transformers(fit(recipe(step), COLUMNS | {"gap": far}, Y), COLUMNS | {"gap": far})


def operators(it: Fitted) -> list[str]:
    return [
        node.op_type for node in onnx.load_from_string(it.graph.model).graph.node if node.output[0].startswith("it/")
    ]


@pytest.mark.parametrize("fill", [0.25, 0.1])  # float32 holds the one
def test_float32_is_filled_without_a_detour(fill: float) -> None:
    it = fitted(Step("it", lambda: SimpleImputer(strategy="constant", fill_value=fill), FLOATS))
    assert operators(it) == ["Concat", "IsNaN", "Where"]
    holes = {name: np.where(np.arange(ROWS) % 3, COLUMNS[name], np.float32(np.nan)) for name in FLOATS}
    filled = it.features({**COLUMNS, **holes})
    wanted = np.column_stack([np.where(np.isnan(values), np.float32(fill), values) for values in holes.values()])
    np.testing.assert_array_equal(filled, wanted)


def test_words_are_cut_of_every_text_once_and_in_one_table() -> None:
    it = fit_of("counts")
    assert operators(it)[:3] == ["Unique", "Tokenizer", "TfIdfVectorizer"]


# Estimators.


def adjacent() -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """One feature of two neighbouring float32 values, the label telling which; their middle rounds to the upper one."""
    low = np.nextafter(np.float32(1), np.float32(2))
    high = np.nextafter(low, np.float32(2))
    assert np.float32((float(low) + float(high)) / 2) == high
    y = (np.arange(200) % 2).astype(np.int8)
    return np.array([low, high], np.float32)[y][:, None], y


def boosting(**settings: Any) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=1, early_stopping=False, **settings)


def raw(estimator: Any, X: NDArray[np.float32]) -> NDArray[np.float64]:
    """The graph's scores with the constant that the link adds."""
    model, link = estimator_graph(estimator, X.shape[1])
    session = Graph(model.SerializeToString())
    return link.odds(session._session.run(None, {"features": X})[0].reshape(-1).astype(np.float64))


def test_a_threshold_between_neighbouring_values_snaps_to_the_lower_one_and_parts_them_still() -> None:
    X, y = adjacent()
    snapped = snap_thresholds(boosting().fit(X, y))
    assert snapped._predictors[0][0].nodes["num_threshold"][0] == X.min()
    assert len(np.unique(raw(snapped, X))) == 2
    np.testing.assert_allclose(raw(snapped, X), snapped.decision_function(X), atol=1e-6)


def test_snapping_changes_no_prediction_on_float32_data() -> None:
    rng = np.random.default_rng(2)
    X = np.column_stack([rng.normal(0, 1, 3_000), np.where(rng.random(3_000) < 0.2, np.nan, rng.random(3_000))])
    X = X.astype(np.float32)
    y = (rng.random(3_000) < 1 / (1 + np.exp(-X[:, 0]))).astype(np.int8)
    before, after = boosting(max_bins=255).fit(X, y), snap_thresholds(boosting(max_bins=255).fit(X, y))
    thresholds = after._predictors[0][0].nodes["num_threshold"]
    np.testing.assert_array_equal(thresholds, thresholds.astype(np.float32))
    asked = np.vstack([X, np.nextafter(X, np.float32(9)), np.nextafter(X, np.float32(-9)), around(thresholds)])
    np.testing.assert_array_equal(after.decision_function(asked), before.decision_function(asked))


def around(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values at the thresholds and one float32 beside them, in both columns; infinities and the extremes of float32."""
    at = np.unique(thresholds[np.isfinite(thresholds)]).astype(np.float32)
    most = np.finfo(np.float32).max
    each = np.concatenate([np.nextafter(at, np.float32(side)) for side in (-9, 9)])
    values = np.concatenate([at, each, np.array([most, -most, 0.0], np.float32)])
    return np.column_stack([values, values[::-1]])


@pytest.mark.parametrize("estimator", [boosting(), LogisticRegression()], ids=["boosting", "logistic"])
def test_the_constant_of_a_rare_class_lives_in_the_link(estimator: Any) -> None:
    X = np.column_stack([COLUMNS["height"], COLUMNS["price"]])
    fit = snap_thresholds(estimator.fit(X, Y))
    _, link = estimator_graph(fit, 2)
    assert link.offset != 0
    np.testing.assert_allclose(raw(fit, X), fit.decision_function(X), rtol=0, atol=1e-5)


def test_an_estimator_of_other_classes_is_refused() -> None:
    X = COLUMNS["height"][:, None]
    with pytest.raises(PlanRefused, match=r"must be fitted on labels 0 and 1"):
        estimator_graph(LogisticRegression().fit(X, Y + 1), 1)


def test_an_estimator_without_a_raw_score_is_refused_by_name() -> None:
    with pytest.raises(PlanRefused, match="the estimator RandomForestClassifier cannot be expressed"):
        fitted(Step("numbers", StandardScaler, FLOATS), estimator=RandomForestClassifier(3))


def test_a_vectorizer_gets_texts_and_every_other_step_a_table() -> None:
    counts, ids, mixed = (
        fitted(Step("it", make, columns)).steps[0]
        for make, columns in (
            (lambda: CountVectorizer(**TOKENS), TEXT),
            (lambda: TopN(2), IDS),
            (StandardScaler, ("height", "app")),
        )
    )
    shapes: list[tuple[Sequence[int], str]] = []
    for step in (counts, ids, mixed):
        made = step_input(step.step, step.dtypes, COLUMNS, step.transformer)
        shapes.append((made.shape, str(made.dtype)))
    assert shapes == [((ROWS,), "object"), ((ROWS, 2), "int64"), ((ROWS, 2), "float64")]
