"""The graph of a linear model adds a row from left to right in float64, whoever stands beside it."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lockstep.errors import PlanRefused
from training.linear import linear, sum_of_rows

OPSETS = [helper.make_opsetid("", 18)]


def session(graph: onnx.GraphProto) -> onnxruntime.InferenceSession:
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=9)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def adding(width: int) -> onnxruntime.InferenceSession:
    """A graph that adds rows of float64 and rounds nothing."""
    nodes, constants = sum_of_rows("x", "y")
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, width])
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])
    return session(helper.make_graph(nodes, "adding", [x], [y], constants))


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 130), size=st.integers(1, 9), seed=st.integers(0, 9))
def test_a_row_has_the_same_sum_to_the_last_bit_alone_and_among_others(width: int, size: int, seed: int) -> None:
    run, x = adding(width), np.random.default_rng(seed).normal(size=(33, width))
    whole = run.run(None, {"x": x})[0]
    parts = [run.run(None, {"x": x[at : at + size]})[0] for at in range(0, len(x), size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(whole[:, 0], np.add.accumulate(x, axis=1)[:, -1])


def test_the_raw_score_is_the_weighted_sum_without_the_constant() -> None:
    model = SimpleNamespace(coef_=np.array([[0.5, -2.0]]), intercept_=np.array([9.0]))
    x = np.array([[1.0, 1.0], [2.0, -3.0]], np.float32)
    assert session(linear(model, "features", "raw")).run(None, {"features": x})[0].tolist() == [[-1.5], [7.0]]


@pytest.mark.parametrize("shape", [(3,), (1, 3)], ids=["as RidgeClassifier", "as LogisticRegression"])
def test_weights_of_either_shape_are_taken(shape: tuple[int, ...]) -> None:
    ones: NDArray[np.float32] = np.ones((1, 3), np.float32)
    graph = linear(SimpleNamespace(coef_=np.arange(3.0).reshape(shape)), "features", "raw")
    assert session(graph).run(None, {"features": ones})[0].tolist() == [[3.0]]


def test_more_than_two_classes_are_refused() -> None:
    with pytest.raises(PlanRefused, match="train a binary classifier"):
        linear(SimpleNamespace(coef_=np.ones((3, 2))), "features", "raw")
