"""Every transformer of a spec computes in the serving graph what it computes in scikit-learn, or is refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)

from lockstep.errors import BundleRefused, LockstepError, PlanRefused
from lockstep.graph import Graph
from lockstep.plan import Array
from tests.training.columns import COLUMNS, ROWS, Y, fitted, recipe
from training.checks import check_transformers, check_works_row_by_row
from training.export import estimator_graph, snap_thresholds, step_input
from training.fit import Fitted, fit
from training.spec import Step
from training.transformers import TopN


@dataclass(frozen=True)
class Case:
    """A transformer over some of the columns."""

    make: Callable[[], Any]
    columns: tuple[str, ...]
    sees_label: bool = False


FLOATS, HOLES, IDS, TEXT = ("height", "price"), ("gap", "seldom"), ("app", "os"), ("words",)
TOKENS: dict[str, Any] = {"lowercase": False, "token_pattern": r"[^ ]+"}


def bins(encode: str) -> KBinsDiscretizer:
    return KBinsDiscretizer(5, encode=encode, quantile_method="averaged_inverted_cdf")


EXACT: dict[str, Case] = {
    "impute mean": Case(SimpleImputer, HOLES),
    "impute median": Case(lambda: SimpleImputer(strategy="median"), HOLES),
    "impute constant": Case(lambda: SimpleImputer(strategy="constant", fill_value=-1.0), HOLES),
    "standard": Case(StandardScaler, FLOATS),
    "standard over numbers and ids": Case(StandardScaler, ("height", "app")),
    "min max": Case(MinMaxScaler, FLOATS),
    "min max clipped": Case(lambda: MinMaxScaler(clip=True), FLOATS),
    "pca": Case(lambda: PCA(2), FLOATS),
    "quantiles": Case(lambda: QuantileTransformer(n_quantiles=10), FLOATS),
    "top n": Case(lambda: TopN(3), IDS),
    "one hot of ids": Case(lambda: OneHotEncoder(handle_unknown="ignore"), IDS),
    "ordinal": Case(lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), IDS),
    "bins ordinal": Case(lambda: bins("ordinal"), FLOATS),
    "bins one hot": Case(lambda: bins("onehot-dense"), FLOATS),
    "target": Case(lambda: TargetEncoder(target_type="binary"), IDS, sees_label=True),
    "tf-idf l2": Case(lambda: TfidfVectorizer(**TOKENS), TEXT),
    "tf-idf without norm": Case(lambda: TfidfVectorizer(norm=None, **TOKENS), TEXT),
    "counts": Case(lambda: CountVectorizer(**TOKENS), TEXT),
    "counts of pairs": Case(lambda: CountVectorizer(ngram_range=(1, 2), **TOKENS), TEXT),
    "impute, standard, pca": Case(lambda: make_pipeline(SimpleImputer(), StandardScaler(), PCA(2)), HOLES),
    "impute, min max": Case(lambda: make_pipeline(SimpleImputer(), MinMaxScaler()), HOLES),
    "top n, pca": Case(lambda: make_pipeline(TopN(4), PCA(2)), IDS),
}

REFUSED: dict[str, tuple[Case, type[LockstepError], str]] = {
    "a norm of its own": (Case(lambda: TfidfVectorizer(norm="l1", **TOKENS), TEXT), PlanRefused, "use norm='l2'"),
    "lower case": (Case(lambda: TfidfVectorizer(token_pattern=r"[^ ]+"), TEXT), PlanRefused, "locale"),
    "a function": (Case(lambda: FunctionTransformer(np.log1p), FLOATS), PlanRefused, "FunctionTransformer"),
    "products": (Case(lambda: PolynomialFeatures(2), FLOATS), PlanRefused, "ONNX Runtime cannot load"),
    "rare ids together": (
        Case(lambda: OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3), IDS),
        PlanRefused,
        "Infrequent",
    ),
    "texts beside numbers": (Case(StandardScaler, ("height", "words")), PlanRefused, "mixes texts and numbers"),
    "two texts for one vectorizer": (Case(lambda: CountVectorizer(**TOKENS), ("words", "words")), PlanRefused, "2 col"),
    "the label, untold": (Case(TargetEncoder, IDS), PlanRefused, "sees_label=True"),
    # These two export without a word and compute something else.
    "logarithm of counts": (
        Case(lambda: TfidfVectorizer(sublinear_tf=True, **TOKENS), TEXT),
        BundleRefused,
        "rows part",
    ),
    "where it was missing": (Case(lambda: SimpleImputer(add_indicator=True), HOLES), BundleRefused, "makes 2 features"),
}


@cache
def fit_of(name: str) -> Fitted:
    case = EXACT[name]
    return fitted(Step("it", case.make, case.columns, case.sees_label))


def unseen(count: int = 50) -> dict[str, Array]:
    """Rows unlike those that were fitted on: values far away, ids and words never seen, empty texts."""
    rng = np.random.default_rng(9)
    return {
        "height": rng.normal(0, 1e4, count).astype(np.float32),
        "price": rng.normal(0, 1e-4, count).astype(np.float32),
        "gap": np.where(rng.random(count) < 0.5, np.nan, rng.normal(-5, 1, count)).astype(np.float32),
        "seldom": np.full(count, np.nan),
        "app": rng.integers(-(2**62), 2**62, count),
        "os": rng.integers(0, 9, count),
        "words": np.array(["", "never seen", "a1 never", "zz  zz ü", "A1"] * (count // 5), object),
    }


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
