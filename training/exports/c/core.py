"""Operators that emx-onnx-cgen lacks, rewritten into core ONNX operators."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lockstep.errors import ExportRefused
from training.exports.c.cut import live_nodes

__all__ = ["OPSETS", "to_core"]

OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
_TREES = ("nodes_", "aggregate_function", "base_values")
"""Beginnings of the attributes that trees of classes and trees of numbers share."""


def to_core(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the nodes that nobody reads and without the operators of the table below.

    Raises ExportRefused for a use of them that core operators cannot express.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    read = {name for node in live_nodes(graph) for name in node.input}
    rewriting = _Rewriting(graph, read)
    nodes: list[onnx.NodeProto] = []
    for node in live_nodes(graph):
        rewrite = _REWRITES.get((node.domain, node.op_type))
        nodes.extend(rewrite(rewriting, node) if rewrite else [node])
    del graph.node[:]
    graph.node.extend(nodes)
    return made


class _Rewriting:
    """The graph that a rewriting adds constants to."""

    def __init__(self, graph: onnx.GraphProto, read: set[str]) -> None:
        self.graph, self.read = graph, read
        self.of_distinct: set[str] = set()
        """Places of rows among distinct ones."""
        self.constants = {tensor.name: tensor for tensor in graph.initializer}

    def constant(self, name: str, values: Any, dtype: str) -> str:
        """Add a constant and return its name."""
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def refuse_label(self, node: onnx.NodeProto) -> None:
        """Raise ExportRefused where somebody reads the class that a classifier decides for."""
        if node.output[0] in self.read:
            raise ExportRefused(node.output[0], "a classifier whose decision is read", "its score")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _scaler(rewriting: _Rewriting, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    attributes, (value,), (out,) = _attributes(node), node.input, node.output
    offset = rewriting.constant(f"{out}_offset", attributes["offset"], "float32")
    scale = rewriting.constant(f"{out}_scale", attributes["scale"], "float32")
    yield helper.make_node("Sub", [value, offset], [f"{out}_centred"])
    yield helper.make_node("Mul", [f"{out}_centred", scale], [out])


def _pick(rewriting: _Rewriting, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Some columns; the generator wants their places as a list even where there is one."""
    (value, places), (out,) = node.input, node.output
    if places not in rewriting.constants:
        yield node
        return
    listed = np.ravel(numpy_helper.to_array(rewriting.constants[places]))
    yield helper.make_node("Gather", [value, rewriting.constant(f"{out}_places", listed, "int64")], [out], axis=-1)


def _distinct(rewriting: _Rewriting, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """C scores one row at a time: the distinct texts of one row are its text, in a list."""
    rewriting.of_distinct.update(node.output[1:])
    flat = rewriting.constant(f"{node.output[0]}_flat", [-1], "int64")
    yield helper.make_node("Reshape", [*node.input, flat], node.output[:1])


def _gather(rewriting: _Rewriting, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """And what was made of them is the row's own."""
    values, places = node.input
    yield helper.make_node("Identity", [values], node.output) if places in rewriting.of_distinct else node


def _one_hot(rewriting: _Rewriting, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Equal against the list of values, for ids; an encoder of texts is none of core's."""
    attributes, (value,), (out,) = _attributes(node), node.input, node.output
    if "cats_int64s" not in attributes:
        yield node
        return
    values = rewriting.constant(f"{out}_values", attributes["cats_int64s"], "int64")
    last = rewriting.constant(f"{out}_last_axis", [-1], "int64")
    yield helper.make_node("Cast", [value], [f"{out}_id"], to=TensorProto.INT64)
    yield helper.make_node("Unsqueeze", [f"{out}_id", last], [f"{out}_apart"])
    yield helper.make_node("Equal", [f"{out}_apart", values], [f"{out}_equal"])
    yield helper.make_node("Cast", [f"{out}_equal"], [out], to=TensorProto.FLOAT)


def _linear(rewriting: _Rewriting, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The weighted sums in float64, rounded once: nearer to the exact ones than float32 in any order."""
    rewriting.refuse_label(node)
    attributes, out = _attributes(node), node.output[1]
    intercepts = np.asarray(attributes["intercepts"])
    if len(intercepts) != 2:
        raise ExportRefused(out, f"a linear classifier of {len(intercepts)} scores", "a binary one")
    weights = np.asarray(attributes["coefficients"], np.float64).reshape(2, -1).T
    yield helper.make_node("Cast", [node.input[0]], [f"{out}_double"], to=TensorProto.DOUBLE)
    by = rewriting.constant(f"{out}_weights", weights, "float64")
    yield helper.make_node("MatMul", [f"{out}_double", by], [f"{out}_sum"])
    plus = rewriting.constant(f"{out}_intercepts", intercepts, "float64")
    yield helper.make_node("Add", [f"{out}_sum", plus], [f"{out}_raw"])
    yield from _post(attributes, f"{out}_raw", out)


def _post(attributes: Mapping[str, Any], raw: str, out: str) -> Iterator[onnx.NodeProto]:
    """From raw scores in float64 to what the classifier calls its scores, float32."""
    kind = attributes.get("post_transform", b"NONE")
    if kind not in (b"NONE", b"LOGISTIC"):
        raise ExportRefused(out, f"scores made by {kind.decode()}", "a binary classifier with a logistic link")
    if kind == b"LOGISTIC":
        yield helper.make_node("Sigmoid", [raw], [f"{raw}_logistic"])
        raw = f"{raw}_logistic"
    yield helper.make_node("Cast", [raw], [out], to=TensorProto.FLOAT)


def _trees(rewriting: _Rewriting, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Trees of one score: the sum, and its negative for the other class."""
    rewriting.refuse_label(node)
    attributes, out = _attributes(node), node.output[1]
    weights = np.asarray(attributes["class_weights"])
    if len(set(attributes["class_ids"])) != 1 or (weights >= 0).all():
        raise ExportRefused(out, "trees that vote for classes", "gradient boosting, which adds one score")
    kept = {name: value for name, value in attributes.items() if name.startswith(_TREES)}
    kept |= {f"target_{name}": attributes[f"class_{name}"] for name in ("treeids", "nodeids", "ids", "weights")}
    yield helper.make_node(
        "TreeEnsembleRegressor", [node.input[0]], [f"{out}_sum"], domain="ai.onnx.ml", n_targets=1, **kept
    )
    yield helper.make_node("Neg", [f"{out}_sum"], [f"{out}_other"])
    yield helper.make_node("Concat", [f"{out}_other", f"{out}_sum"], [f"{out}_both"], axis=1)
    yield helper.make_node("Cast", [f"{out}_both"], [f"{out}_raw"], to=TensorProto.DOUBLE)
    yield from _post(attributes, f"{out}_raw", out)


_REWRITES: Mapping[tuple[str, str], Callable[[_Rewriting, onnx.NodeProto], Iterator[onnx.NodeProto]]] = {
    ("", "Unique"): _distinct,
    ("", "Gather"): _gather,
    ("ai.onnx.ml", "ArrayFeatureExtractor"): _pick,
    ("ai.onnx.ml", "Scaler"): _scaler,
    ("ai.onnx.ml", "OneHotEncoder"): _one_hot,
    ("ai.onnx.ml", "LinearClassifier"): _linear,
    ("ai.onnx.ml", "TreeEnsembleClassifier"): _trees,
}
