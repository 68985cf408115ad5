"""Boosted trees as an ONNX tree ensemble that adds its leaves in float64.

The usual converters write float32 leaves, and the sum over a few hundred trees then strays by some 1e-5 in log-odds:
more than the tolerance on real clicks. ai.onnx.ml 3 has float64 ensembles; only the sum is rounded to float32.
https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lockstep.errors import PlanRefused

__all__ = ["ensemble"]


def ensemble(
    estimator: Any, features: str, raw: str, plus: float = 0.0, kept: NDArray[np.intp] | None = None
) -> onnx.GraphProto:
    """The sum of the leaves of a HistGradientBoostingClassifier, without its constant but with `plus`.

    From (rows, width) to (rows, 1). `kept`: which of the estimator's features these are, in order; None for all.

    `features` and `raw` name the graph's float32 input and output. Raises PlanRefused for categorical splits and for
    more than two classes.
    """
    if estimator.n_trees_per_iteration_ != 1:
        raise PlanRefused("boosted trees for more than two classes cannot be served; train a binary classifier.")
    trees = [predictor.nodes for (predictor,) in estimator._predictors]
    if any(tree["is_categorical"].any() for tree in trees):
        raise PlanRefused("categorical splits cannot be served; encode ids by a step, e.g. TopN, instead.")
    double = helper.make_node("Cast", [features], ["double"], to=TensorProto.DOUBLE)
    kept = np.arange(estimator.n_features_in_) if kept is None else kept
    leaves = {**_attributes(trees, kept), "base_values_as_tensor": _tensor("plus", np.array([plus]))}
    sum_up = helper.make_node("TreeEnsembleRegressor", ["double"], [raw], domain="ai.onnx.ml", **leaves)
    return helper.make_graph(
        [double, sum_up],
        "boosted_trees",
        [helper.make_tensor_value_info(features, TensorProto.FLOAT, [None, len(kept)])],
        [helper.make_tensor_value_info(raw, TensorProto.FLOAT, [None, 1])],
    )


def _attributes(trees: list[Any], kept: NDArray[np.intp]) -> dict[str, Any]:
    """The operator's parallel lists: one entry a node, and one a leaf for the targets."""
    nodes = np.concatenate(trees)
    tree = np.repeat(np.arange(len(trees)), [len(each) for each in trees])
    place = np.concatenate([np.arange(len(each)) for each in trees])
    leaf = nodes["is_leaf"].astype(bool)
    return {
        "n_targets": 1,
        "aggregate_function": "SUM",
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": place.tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_featureids": np.where(leaf, 0, np.searchsorted(kept, nodes["feature_idx"])).tolist(),
        "nodes_values_as_tensor": _tensor("thresholds", np.where(leaf, 0.0, nodes["num_threshold"])),
        "nodes_truenodeids": np.where(leaf, 0, nodes["left"]).astype(np.int64).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, nodes["right"]).astype(np.int64).tolist(),
        "nodes_missing_value_tracks_true": np.where(leaf, 0, nodes["missing_go_to_left"]).astype(np.int64).tolist(),
        "target_treeids": tree[leaf].tolist(),
        "target_nodeids": place[leaf].tolist(),
        "target_ids": np.zeros(int(leaf.sum()), np.int64).tolist(),
        "target_weights_as_tensor": _tensor("leaves", nodes["value"][leaf]),
    }


def _tensor(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values, np.float64), name)
