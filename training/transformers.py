"""Transformers that scikit-learn lacks, each with its converter to ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from lockstep.errors import PlanRefused

__all__ = ["TopN"]


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
        names = input_features or [f"x{i}" for i in range(len(self.values_))]
        pairs = zip(names, self.values_, strict=True)
        return np.array([f"{name}={value}" for name, values in pairs for value in values], dtype=object)


def _most_frequent(column: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    values, counts = np.unique(column, return_counts=True)
    return values[np.argsort(-counts, kind="stable")[:n]].astype(np.int64)


def _shape(operator: Any) -> None:
    width = sum(len(values) for values in operator.raw_operator.values_)
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), width])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Equal against the list of values, for each column: core operators on int64, exact at any batch size."""
    parts = [_column(scope, operator, container, i) for i in range(len(operator.raw_operator.values_))]
    container.add_node("Concat", parts, operator.outputs[0].full_name, axis=1, op_version=13)


def _column(scope: Any, operator: Any, container: Any, index: int) -> str:
    def name(what: str) -> str:
        unique: str = scope.get_unique_variable_name(f"top_{what}")
        return unique

    def constant(what: str, values: Sequence[int], shape: Sequence[int]) -> str:
        container.add_initializer(tensor := name(what), 7, list(shape), list(values))  # 7: int64
        return tensor

    values = operator.raw_operator.values_[index]
    column, equal, out = name("column"), name("equal"), name("out")
    container.add_node(
        "Gather", [operator.inputs[0].full_name, constant("index", [index], [1])], column, axis=1, op_version=13
    )
    container.add_node("Equal", [column, constant("values", values.tolist(), [1, len(values)])], equal, op_version=13)
    container.add_node("Cast", equal, out, to=1, op_version=13)  # 1: float32, in which 0 and 1 are exact
    return out


update_registered_converter(TopN, "LockstepTopN", _shape, _convert)
