"""A linear estimator as core ONNX operators in float64, whose sum for a row does not depend on the rows beside it.

Seen with ONNX Runtime 1.31: LinearClassifier, LinearRegressor and MatMul add one row in another order than several,
and ReduceSum over an odd number of values adds a row by where in memory it starts. CumSum adds from left to right.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lockstep.errors import PlanRefused

__all__ = ["linear", "sum_of_rows"]


def sum_of_rows(values: str, total: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes that add each row of float64 `values`, (rows, width) to (rows, 1), and the constants they take."""
    axis, last = (
        numpy_helper.from_array(np.array(at), f"{total}_{name}") for name, at in (("axis", 1), ("last", [-1]))
    )
    nodes = [
        helper.make_node("CumSum", [values, axis.name], [f"{total}_sums"]),
        helper.make_node("Gather", [f"{total}_sums", last.name], [total], axis=1),
    ]
    return nodes, [axis, last]


def linear(estimator: Any, features: str, raw: str, plus: float = 0.0) -> onnx.GraphProto:
    """The weighted sum of the features, without its constant but with `plus`: (rows, width) to (rows, 1).

    `features` and `raw` name the graph's float32 input and output. Raises PlanRefused for more than two classes.
    """
    weights = np.asarray(estimator.coef_, np.float64)
    if weights.reshape(-1, weights.shape[-1]).shape[0] != 1:
        raise PlanRefused("a linear model of more than two classes cannot be served; train a binary classifier.")
    add, constants = sum_of_rows("weighed", "sum")
    nodes = [
        helper.make_node("Cast", [features], ["double"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["double", "weights"], ["weighed"]),
        *add,
        helper.make_node("Add", ["sum", "plus"], ["total"]),
        helper.make_node("Cast", ["total"], [raw], to=TensorProto.FLOAT),
    ]
    width = weights.shape[-1]
    numbers = {"weights": weights.reshape(1, width), "plus": np.array(plus)}
    return helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(features, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(raw, TensorProto.FLOAT, [None, 1])],
        [*(numpy_helper.from_array(values, name) for name, values in numbers.items()), *constants],
    )
