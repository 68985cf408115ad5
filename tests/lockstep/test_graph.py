"""The graph runs on columns, and the link is the logistic function in float64."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lockstep.errors import BundleRefused
from lockstep.graph import Graph, Link, log_odds
from lockstep.plan import DType, Plan
from tests.bundles import PLAN, sum_graph


def test_a_raw_score_is_what_the_graph_computes() -> None:
    raw = Graph(sum_graph(("a", "b"))).raw({"a": np.array([1, 2], np.float32), "b": np.array([0.5, 0.25], np.float32)})
    assert (raw.dtype, raw.tolist()) == (np.dtype("float64"), [1.5, 2.25])


def test_strings_reach_the_graph() -> None:
    inputs = [helper.make_tensor_value_info("site", TensorProto.STRING, [None, 1])]
    output = helper.make_tensor_value_info("id", TensorProto.FLOAT, [None, 1])
    node = helper.make_node(
        "LabelEncoder",
        ["site"],
        ["id"],
        domain="ai.onnx.ml",
        keys_strings=["é"],
        values_floats=[7.0],
        default_float=-1.0,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([node], "ids", inputs, [output]), opset_imports=opsets, ir_version=8)
    assert Graph(model.SerializeToString()).raw({"site": np.array(["é", ""], object)}).tolist() == [7.0, -1.0]


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(BundleRefused, match="cannot load"):
        Graph(b"not a model")


def retyped(name: str, dtype: DType) -> Plan:
    """The tiny plan with one column of another type."""
    columns = tuple(replace(one, dtype=dtype) if one.name == name else one for one in PLAN.columns)
    return replace(PLAN, columns=columns)


@pytest.mark.parametrize(
    ("model", "plan", "problem"),
    [
        pytest.param(
            sum_graph(("bid", "clics")), PLAN, r"'clics' as tensor\(float\).*nothing of that name", id="another name"
        ),
        pytest.param(
            sum_graph(), retyped("bid", DType.FLOAT64), r"'bid' as tensor\(float\).*tensor\(double\)", id="another type"
        ),
    ],
)
def test_a_graph_that_takes_what_the_plan_does_not_provide_is_refused(model: bytes, plan: Plan, problem: str) -> None:
    with pytest.raises(BundleRefused, match=problem):
        Graph(model).check(plan)


def test_a_graph_may_leave_inputs_of_the_plan_unused() -> None:
    Graph(sum_graph(("bid",))).check(PLAN)
    assert Graph(sum_graph(("bid",))).inputs == ["bid"]


@given(st.lists(st.floats(-700, 700), min_size=1), st.floats(-3, 3), st.floats(-20, 20))
def test_a_link_is_the_logistic_function(raw: list[float], slope: float, offset: float) -> None:
    odds = slope * np.array(raw) + offset
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-odds))
    np.testing.assert_allclose(Link(slope, offset)(np.array(raw)), expected, rtol=1e-12, atol=1e-300)


@given(st.floats(-30, 30))
def test_log_odds_undo_a_link(odds: float) -> None:
    np.testing.assert_allclose(log_odds(Link()(np.array([odds]))), [odds], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(
    ("raw", "probability"), [(0.0, 0.5), (np.inf, 1.0), (-np.inf, 0.0), (1e308, 1.0), (-1e308, 0.0)]
)
def test_extreme_scores_are_probabilities_and_warn_of_nothing(raw: float, probability: float) -> None:
    assert Link()(np.array([raw])).tolist() == [probability]
