"""Estimators that have a serving graph of our own: linear ones and boosted trees, both adding in float64."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from lockstep.errors import PlanRefused
from training.linear import linear
from training.trees import ensemble

__all__ = ["constant", "has_own_graph", "is_linear", "own_graph"]


def is_linear(estimator: Any) -> bool:
    """Whether its log-odds are a weighted sum of the features and a constant."""
    return hasattr(estimator, "coef_") and hasattr(estimator, "decision_function")


def has_own_graph(estimator: Any) -> bool:
    """Whether it is one of ours."""
    return isinstance(estimator, HistGradientBoostingClassifier) or is_linear(estimator)


def own_graph(
    estimator: Any, features: str, raw: str, plus: float = 0.0, kept: NDArray[np.intp] | None = None
) -> onnx.GraphProto:
    """From features (rows, width) to the raw score (rows, 1), float32, with `plus` in place of the constant.

    `kept`: which of the features of boosted trees these are, where they are not all.

    Raises PlanRefused for other estimators, and for what the graph cannot say, e.g. more than two classes.
    """
    if not has_own_graph(estimator):
        raise PlanRefused(
            f"{type(estimator).__name__} has no graph; use LogisticRegression or HistGradientBoostingClassifier."
        )
    return (
        linear(estimator, features, raw, plus)
        if is_linear(estimator)
        else ensemble(estimator, features, raw, plus, kept)
    )


def constant(estimator: Any) -> float:
    """What such an estimator adds to the raw score."""
    return float(np.ravel(estimator.intercept_ if is_linear(estimator) else estimator._baseline_prediction)[0])
