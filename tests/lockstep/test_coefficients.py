"""A linear model is read from its JSON, and what is none is refused by name."""

import json
from typing import Any

import numpy as np
import pytest

from lockstep.coefficients import Coefficients
from lockstep.errors import BundleRefused
from tests.bundles import PLAN

PLAIN: dict[str, Any] = {
    "columns": {"bid": "float32", "clicks": "float32"},
    "intercept": -1.0,
    "steps": [
        {
            "name": "numbers",
            "columns": ["bid", "clicks"],
            "as": "float64",
            "formulas": [{"do": "impute", "fill": [0.0, 3.0]}],
            "features": [{"name": "bid", "weight": 2.0}, {"name": "clicks", "weight": 0.5}],
        }
    ],
}
ROWS = {"bid": np.array([1.5, 0.0], np.float32), "clicks": np.array([np.nan, 4.0], np.float32)}


def model(**changes: Any) -> Coefficients:
    return Coefficients(json.dumps({**PLAIN, **changes}).encode())


def test_log_odds_are_the_intercept_and_the_weighted_features() -> None:
    it = model()
    assert it.raw(ROWS).tolist() == [3.5, 1.0]
    assert it.run(ROWS).shape == (2, 1)
    assert list(it.inputs) == ["bid", "clicks"]
    it.check(PLAN)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", json.dumps({**PLAIN, "intercept": None}).encode(), json.dumps({**PLAIN, "steps": 3}).encode()],
    ids=["empty", "a list", "no columns", "no number", "no steps"],
)
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused, match="the coefficients cannot be read"):
        Coefficients(content)


def changed(**changes: Any) -> list[dict[str, Any]]:
    return [{**PLAIN["steps"][0], **changes}]


def test_weights_that_are_too_few_are_refused() -> None:
    it = model(steps=changed(features=[{"name": "bid", "weight": 1.0}]))
    with pytest.raises(BundleRefused, match="the steps make 2 features, the weights are 1"):
        it.raw(ROWS)


def test_a_formula_of_other_fields_is_refused() -> None:
    with pytest.raises(BundleRefused, match="unexpected keyword argument"):
        model(steps=changed(formulas=[{"do": "impute", "with": [1.0]}]))


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"bid": "float32", "clicks": "int64"}, "'clicks' as int64; the plan provides float32"), ({}, "'bid' as nothing")],
    ids=["another type", "not listed"],
)
def test_a_plan_that_does_not_fit_is_refused(columns: dict[str, str], said: str) -> None:
    with pytest.raises(BundleRefused, match=said):
        model(columns=columns).check(PLAN)
