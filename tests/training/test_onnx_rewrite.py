"""Operators that compute in float32 or look at the batch, in core operators instead."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lockstep.errors import PlanRefused
from training.onnx_rewrite import rewrite

ML = "ai.onnx.ml"


def model_of(node: onnx.NodeProto, element: int, out: int) -> onnx.ModelProto:
    """A graph of one operator from x to y, both of shape (rows, 3)."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", element, [None, 3])],
        [helper.make_tensor_value_info("y", out, [None, 3])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def imputer(**attributes: Any) -> onnx.ModelProto:
    known = {"imputed_value_floats": [1.0, 2.0, 3.0], "replaced_value_float": float("nan"), **attributes}
    node = helper.make_node("Imputer", ["x"], ["y"], domain=ML, **known)
    return model_of(node, TensorProto.DOUBLE, TensorProto.DOUBLE)


def normalizer(norm: str = "L2") -> onnx.ModelProto:
    return model_of(
        helper.make_node("Normalizer", ["x"], ["y"], domain=ML, norm=norm), TensorProto.DOUBLE, TensorProto.FLOAT
    )


def run(model: onnx.ModelProto, *batches: NDArray[np.float64]) -> NDArray[Any]:
    """What the model makes of some batches, one after the other."""
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": x})[0] for x in batches])


def domains(model: onnx.ModelProto) -> set[str]:
    return {node.domain for node in model.graph.node}


def test_an_imputer_fills_nan_alone_and_keeps_every_digit() -> None:
    model = rewrite(imputer())
    assert domains(model) == {""}
    x = np.array([[np.nan, 0.1, np.inf], [1e300, np.nan, np.nan]])
    np.testing.assert_array_equal(run(model, x), [[1.0, 0.1, np.inf], [1e300, 2.0, 3.0]])


@pytest.mark.parametrize("attributes", [{"replaced_value_float": -1.0}, {"imputed_value_floats": None}])
def test_an_imputer_of_anything_else_is_refused(attributes: dict[str, Any]) -> None:
    with pytest.raises(PlanRefused, match="impute NaN in float columns"):
        rewrite(imputer(**attributes))


def test_a_normalizer_divides_by_the_length_and_leaves_an_empty_row_empty() -> None:
    model = rewrite(normalizer())
    assert domains(model) == {""}
    wanted = np.array([[0.6, 0.0, 0.8], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(run(model, np.array([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])), wanted)


def test_a_normalized_row_has_the_same_bits_alone_and_among_others() -> None:
    model, x = rewrite(normalizer()), np.random.default_rng(3).random((101, 3))
    whole = run(model, x)
    alone = run(model, *x[:, None])
    np.testing.assert_array_equal(alone.view(np.int32), whole.view(np.int32))


@pytest.mark.parametrize("norm", ["L1", "MAX"])
def test_another_norm_is_refused(norm: str) -> None:
    with pytest.raises(PlanRefused, match=rf"{norm}.*use norm='l2' or norm=None"):
        rewrite(normalizer(norm))


def test_other_operators_stay_as_they_are() -> None:
    model = model_of(helper.make_node("Abs", ["x"], ["y"]), TensorProto.DOUBLE, TensorProto.DOUBLE)
    before = model.SerializeToString()
    assert rewrite(model).SerializeToString() == before
