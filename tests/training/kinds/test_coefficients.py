"""A coefficients.json can be read, checked by hand, and computed by nothing but arithmetic."""

import json
import math
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, PolynomialFeatures, StandardScaler, TargetEncoder

from lockstep.errors import PlanRefused
from tests.training.cases import FLOATS, HOLES, IDS, trees
from tests.training.columns import COLUMNS, Y, fitted
from training.fit import Fitted
from training.kinds.coefficients import readable
from training.spec import Step
from training.transformers import TopN


def of(make: Any, columns: tuple[str, ...], sees_label: bool = False, estimator: Any = None) -> Fitted:
    return fitted(Step("it", make, columns, sees_label), kind="coefficients", estimator=estimator)


def by_hand(plain: dict[str, Any], row: dict[str, Any]) -> float:
    """Log-odds of scaled numbers and one-hot ids, in plain Python."""
    total = plain["intercept"]
    for step in plain["steps"]:
        values = [row[name] for name in step["columns"]]
        for formula in step["formulas"]:
            if formula["do"] == "impute":
                values = [f if math.isnan(x) else x for x, f in zip(values, formula["fill"], strict=True)]
            elif formula["do"] == "standardize":
                parts = zip(values, formula["minus"], formula["divide"], strict=True)
                values = [(x - minus) / divide for x, minus, divide in parts]
            else:
                assert formula["do"] == "one_hot"
                values = [float(x == one) for x, ones in zip(values, formula["values"], strict=True) for one in ones]
        total += sum(x * one["weight"] for x, one in zip(values, step["features"], strict=True))
    return float(total)


def test_a_score_can_be_checked_by_hand() -> None:
    it = fitted(
        Step("numbers", lambda: make_pipeline(SimpleImputer(), StandardScaler()), HOLES),
        Step("ids", lambda: TopN(3), IDS),
        kind="coefficients",
    )
    plain, scores = json.loads(it.graph.model), it.score(COLUMNS)
    for row in range(40):
        odds = by_hand(plain, {name: values[row].item() for name, values in COLUMNS.items() if name != "words"})
        assert scores[row] == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-12)


def test_every_feature_has_a_name_and_a_weight() -> None:
    it = of(lambda: TopN(2), IDS)
    (step,) = json.loads(it.graph.model)["steps"]
    assert [feature["name"] for feature in step["features"]] == ["app=1", "app=2", *(f"os={i}" for i in top("os"))]
    assert [feature["weight"] for feature in step["features"]] == it.estimator.coef_[0].tolist()


def top(name: str) -> list[int]:
    values, counts = np.unique(COLUMNS[name], return_counts=True)
    return values[np.argsort(-counts, kind="stable")[:2]].tolist()  # type: ignore[no-any-return]


def test_a_function_without_names_gets_numbers() -> None:
    (step,) = json.loads(of(lambda: FunctionTransformer(np.log1p), ("price",)).graph.model)["steps"]
    assert [feature["name"] for feature in step["features"]] == ["it_0"]


def test_the_estimator_is_fitted_on_what_the_formulas_compute_in_float64() -> None:
    it = of(lambda: make_pipeline(PolynomialFeatures(2), StandardScaler(), PCA(3)), FLOATS)
    assert it.features(COLUMNS).dtype == np.float64
    odds = it.features(COLUMNS) @ it.estimator.coef_[0] + it.estimator.intercept_[0]
    np.testing.assert_allclose(it.graph.raw(COLUMNS), odds, rtol=1e-9, atol=1e-9)


def test_a_row_has_the_same_score_to_the_last_bit_alone_and_among_others() -> None:
    it = of(lambda: make_pipeline(PolynomialFeatures(3), StandardScaler(), PCA(7)), FLOATS)
    whole = it.score(COLUMNS)
    for size in (1, 3, 64):
        parts = [it.score({n: v[at : at + size] for n, v in COLUMNS.items()}) for at in range(0, len(Y), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SimpleImputer(add_indicator=True), r"SimpleImputer\).*add_indicator=True\).*Use SimpleImputer of NaN"),
        (
            lambda: FunctionTransformer(np.sinh),
            r"FunctionTransformer\).*function sinh is not one of numpy's.*on-demand function",
        ),
        (lambda: OrdinalEncoder(), r"OrdinalEncoder\).*never saw"),
        (
            lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
            "OrdinalEncoder.*one of its numbers is nan",
        ),
    ],
    ids=["indicators", "another function", "unknown values", "NaN"],
)
def test_what_no_formula_says_is_refused_with_the_way_out(make: Any, said: str) -> None:
    with pytest.raises(PlanRefused, match=rf"step 'it' \({said}"):
        of(make, HOLES if "Imputer" in said else IDS)


def test_an_estimator_that_is_no_weighted_sum_is_refused() -> None:
    with pytest.raises(PlanRefused, match=r"HistGradientBoostingClassifier is no weighted sum.*Use LogisticRegression"):
        of(StandardScaler, FLOATS, estimator=trees())


def test_target_encoding_gives_the_training_rows_out_of_fold_values() -> None:
    it = of(lambda: TargetEncoder(target_type="binary"), IDS, sees_label=True)
    assert it.features(COLUMNS).shape == (len(Y), 2)
    assert json.loads(it.graph.model)["steps"][0]["formulas"][0]["do"] == "lookup"


def test_the_file_has_a_line_for_a_feature_and_long_lists_of_numbers_stay_on_one() -> None:
    text = readable({"a": [{"name": f"f{i}", "weight": 0.5} for i in range(20)], "b": list(range(100))})
    assert text.count("\n") == 24
    assert json.loads(text)["b"] == list(range(100))
