"""The checks see what they are for: a changed weight, a changed transformation, an operator that looks at the batch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import StandardScaler

from lockstep.errors import BundleRefused
from lockstep.graph import Graph
from lockstep.model import Transformations
from lockstep.plan import Array
from tests.training.columns import COLUMNS, ROWS, fitted
from training.checks import check_scores, check_transformers, check_works_row_by_row
from training.fit import Fitted
from training.spec import Step
from training.transformers import TopN


@cache
def linear() -> Fitted:
    return fitted(Step("numbers", StandardScaler, ("height", "price")), Step("ids", lambda: TopN(3), ("app",)))


@cache
def trees() -> Fitted:
    estimator = HistGradientBoostingClassifier(max_iter=10, min_samples_leaf=5, early_stopping=False)
    return fitted(Step("numbers", StandardScaler, ("height", "price")), estimator=estimator)


def altered(graph: Transformations, change: Callable[[onnx.ModelProto], None]) -> Graph:
    assert isinstance(graph, Graph)
    model = onnx.load_from_string(graph.model)
    change(model)
    return Graph(model.SerializeToString())


def attribute(model: onnx.ModelProto, name: str) -> onnx.AttributeProto:
    (found,) = (one for node in model.graph.node for one in node.attribute if one.name == name)
    one: onnx.AttributeProto = found
    return one


def nudge_a_weight(model: onnx.ModelProto) -> None:
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "estimator/weights")
    values = numpy_helper.to_array(weights).copy()
    values[0, 0] += 1e-3
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def nudge_a_threshold(model: onnx.ModelProto) -> None:
    thresholds = attribute(model, "nodes_values_as_tensor").t
    values = numpy_helper.to_array(thresholds).copy()
    values[0] += 0.05
    thresholds.CopyFrom(numpy_helper.from_array(values, thresholds.name))


@pytest.mark.parametrize(
    ("made", "change", "estimator"),
    [(linear, nudge_a_weight, "LogisticRegression"), (trees, nudge_a_threshold, "HistGradientBoostingClassifier")],
    ids=["a weight", "a threshold"],
)
def test_an_altered_estimator_is_refused_with_the_first_row_that_parts(
    made: Callable[[], Fitted], change: Callable[[onnx.ModelProto], None], estimator: str
) -> None:
    check_scores(made(), COLUMNS)
    with pytest.raises(BundleRefused, match=rf"estimator {estimator}: \d+ of {ROWS} scores part, first row \d+"):
        check_scores(replace(made(), graph=altered(made().graph, change)), COLUMNS)


def move_app(model: onnx.ModelProto) -> None:
    """Let the graph look for another app than the one that was learnt."""
    for tensor in model.graph.initializer:
        if tensor.name.startswith("ids/") and list(tensor.dims) == [1, 3]:
            values = numpy_helper.to_array(tensor).copy()
            values[0, 2] += 1
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def test_an_altered_transformation_is_refused_and_its_step_named() -> None:
    check_transformers(linear(), COLUMNS)
    changed = replace(linear(), transformations=altered(linear().transformations, move_app))
    with pytest.raises(BundleRefused, match=rf"step 'ids' \(TopN\): \d+ of {ROWS} rows part, first row \d+, output 2"):
        check_transformers(changed, COLUMNS)


def test_the_check_looks_at_every_row() -> None:
    """One row in 400, the last, has the value that differs."""
    rare = COLUMNS | {"app": np.where(np.arange(ROWS) == ROWS - 1, linear().steps[1].transformer.values_[0][2], -5)}
    changed = replace(linear(), transformations=altered(linear().transformations, move_app))
    with pytest.raises(BundleRefused, match=rf"1 of {ROWS} rows part, first row {ROWS - 1}"):
        check_transformers(changed, rare)


def test_a_missing_output_is_refused() -> None:
    def cut(model: onnx.ModelProto) -> None:
        concat = model.graph.node[-1]
        del concat.input[-1]

    changed = replace(linear(), transformations=altered(linear().transformations, cut))
    with pytest.raises(BundleRefused, match="step 'ids': the graph makes 0 features, scikit-learn 3"):
        check_transformers(changed, COLUMNS)


def from_height(out: str, *nodes: onnx.NodeProto, constants: Sequence[onnx.TensorProto] = ()) -> Graph:
    """A graph from the column height to an output of the same shape."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("height", out)]
    graph = helper.make_graph(nodes, "by_hand", sides[:1], sides[1:], constants)
    opsets = [helper.make_opsetid("", 18)]
    return Graph(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def minus_mean(out: str) -> Graph:
    """A graph whose answer for a row depends on the rows beside it: height minus the batch's mean."""
    mean = helper.make_node("ReduceMean", ["height"], ["mean"], keepdims=1)
    return from_height(out, mean, helper.make_node("Sub", ["height", "mean"], [out]))


def test_features_that_depend_on_the_batch_are_refused() -> None:
    with pytest.raises(BundleRefused, match=f"other features for rows in batches of 1 than for {ROWS} rows at once"):
        check_works_row_by_row(replace(linear(), transformations=minus_mean("features")), COLUMNS)


def test_scores_that_depend_on_the_batch_are_refused() -> None:
    with pytest.raises(BundleRefused, match="other scores for rows in batches of 1"):
        check_works_row_by_row(replace(linear(), graph=minus_mean("raw_score")), COLUMNS)


@pytest.mark.parametrize("rows", [1, 8, 350])
def test_the_batches_cover_any_number_of_rows(rows: int) -> None:
    few: dict[str, Array] = {name: values[:rows] for name, values in COLUMNS.items()}
    check_works_row_by_row(linear(), few)
    with pytest.raises(BundleRefused):
        check_works_row_by_row(replace(linear(), graph=always_nan()), few)


def always_nan() -> Graph:
    """A graph that answers NaN, which equals no score."""
    below = helper.make_node("Sub", ["height", "far"], ["below_zero"])
    root = helper.make_node("Sqrt", ["below_zero"], ["raw_score"])
    return from_height(
        "raw_score", below, root, constants=[numpy_helper.from_array(np.array([1e9], np.float32), "far")]
    )
