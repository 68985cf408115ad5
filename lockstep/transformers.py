"""Transformers that scikit-learn lacks. Only training, and a scorer that meets a bundle of kind skops, import them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from lockstep.errors import PlanRefused

__all__ = ["LogOdds", "TopN"]


class TopN(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """The most frequent values of each id column, one column of 0 and 1 per value; every other value is all zeros.

    Ids of open vocabularies (apps, channels, phones) have few frequent values and a long tail; the tail shares one
    code, so that an id never seen in training is a tail value and not an error.

    Parameters: `n`, the number of values kept per column. Attribute after fit: `values_`, a list of int64 arrays, most
    frequent first, ties by the smaller id.
    """

    def __init__(self, n: int = 20) -> None:
        self.n = n

    def fit(self, X: NDArray[np.int64], y: object = None) -> "TopN":
        """Count the values of each column of X, shape (rows, columns), int64. Raises PlanRefused for other dtypes."""
        if X.dtype.kind not in "iu":
            raise PlanRefused(
                f"TopN takes int64 ids, not {X.dtype}; a float id cannot be compared for equality safely."
            )
        self.values_ = [_most_frequent(column, self.n) for column in X.T]
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: NDArray[np.int64]) -> NDArray[np.float64]:
        """Shape (rows, sum of values kept), 0.0 or 1.0."""
        check_is_fitted(self)
        return np.hstack([(X[:, [i]] == values).astype(np.float64) for i, values in enumerate(self.values_)])

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> NDArray[Any]:
        """One name per output column: app=3; without the names of the inputs x0=3."""
        names = [f"x{i}" for i in range(len(self.values_))] if input_features is None else input_features
        pairs = zip(names, self.values_, strict=True)
        return np.array([f"{name}={value}" for name, values in pairs for value in values], dtype=object)


def _most_frequent(column: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    values, counts = np.unique(column, return_counts=True)
    return values[np.argsort(-counts, kind="stable")[:n]].astype(np.int64)


class LogOdds(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A model whose output feeds another: the log-odds of a classifier, one column.

    It is fitted on the label, so its step says sees_label=True, and the training rows get out-of-fold values.

    Parameter: `estimator`, a classifier with a decision function. Attribute after fit: `estimator_`.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int8]) -> "LogOdds":
        """Fit the classifier on X, shape (rows, columns), and labels 0 and 1. Raises PlanRefused without log-odds."""
        self.estimator_ = clone(self.estimator).fit(X, y)
        if not hasattr(self.estimator_, "decision_function"):
            raise PlanRefused(
                f"LogOdds takes a classifier with a decision function; {type(self.estimator).__name__} has none. "
                "Use LogisticRegression or HistGradientBoostingClassifier."
            )
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds, shape (rows, 1)."""
        check_is_fitted(self)
        return np.asarray(self.estimator_.decision_function(X), np.float64).reshape(-1, 1)

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> NDArray[Any]:
        """The one output column."""
        return np.array(["log_odds"], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
