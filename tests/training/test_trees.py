"""Boosted trees in the serving graph, leaf by leaf."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from lockstep.errors import PlanRefused
from lockstep.graph import Graph
from training.export import estimator_graph

ROWS = 2_000


def features(seed: int) -> NDArray[np.float32]:
    """Two columns, the second missing in a third of the rows."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(0, 1, ROWS), np.where(rng.random(ROWS) < 0.3, np.nan, rng.random(ROWS))]).astype(
        np.float32
    )


def labels(X: NDArray[np.float32], seed: int = 1) -> NDArray[np.int8]:
    missing = np.isnan(X[:, 1])
    return (np.random.default_rng(seed).random(ROWS) < 0.1 + 0.4 * (X[:, 0] > 0) + 0.3 * missing).astype(np.int8)


def fitted(X: NDArray[np.float32], y: NDArray[np.int8], **settings: Any) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(early_stopping=False, random_state=1, **settings).fit(X, y)


def served(estimator: Any, X: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-odds by the graph."""
    model, link = estimator_graph(estimator, X.shape[1])
    out = Graph(model.SerializeToString())._session.run(None, {"features": X})[0]
    assert out.shape == (len(X), 1)
    return link.odds(out.reshape(-1).astype(np.float64))


@pytest.mark.parametrize("trees", [1, 400])
def test_the_sum_of_many_trees_is_rounded_once(trees: int) -> None:
    X = features(0)
    estimator = fitted(X, labels(X), max_iter=trees, max_leaf_nodes=15)
    np.testing.assert_allclose(served(estimator, X), estimator.decision_function(X), rtol=2e-7, atol=1e-6)


def test_missing_and_infinite_values_go_the_way_they_were_learnt() -> None:
    X = features(0)
    estimator = fitted(X, labels(X), max_iter=20)
    odd = np.array([[np.nan, np.nan], [np.inf, 0.5], [-np.inf, np.nan], [np.nan, np.inf], [0.0, -0.0]], np.float32)
    np.testing.assert_allclose(served(estimator, odd), estimator.decision_function(odd), atol=1e-6)


def test_a_column_whose_only_news_is_that_it_is_missing_splits_on_that() -> None:
    X = features(0)
    X[:, 1] = np.where(np.isnan(X[:, 1]), np.nan, 1.0)
    estimator = fitted(X, np.isnan(X[:, 1]).astype(np.int8), max_iter=3)
    np.testing.assert_allclose(served(estimator, X), estimator.decision_function(X), atol=1e-6)


def test_categorical_splits_are_refused() -> None:
    X = np.column_stack([np.arange(ROWS) % 4, np.arange(ROWS) % 7]).astype(np.float32)
    estimator = fitted(X, (X[:, 0] == 2).astype(np.int8), max_iter=2, categorical_features=[0])
    with pytest.raises(PlanRefused, match="categorical splits cannot be served"):
        estimator_graph(estimator, 2)
