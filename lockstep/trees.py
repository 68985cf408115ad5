"""Boosted trees at the end of an ONNX graph, added up in C where it was compiled.

ONNX Runtime walks down one tree for one row after the other. Of a run of 400 rows through the example's 139 trees that
is half, and most of it the processor's waiting for branches that it guessed wrong. `lockstep/_trees.c` compares a group
of rows at once and selects leaves without branches; the leaves are added in the same order in float64, so the sums are
the same to the bit. Anything that is not exactly such a sum stays with ONNX Runtime, and so do trees with many leaves,
of which a walk sees few. What ONNX Runtime refuses is refused: it is shown the whole graph first (lockstep.graph).
Selecting instead of walking is an idea of Asadi, Lin and de Vries, Runtime optimizations for tree-based machine
learning models, TKDE 2014.

https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from lockstep.compiled import core
from lockstep.partial_messages import ONNX, Fields, message_classes
from lockstep.ragged import Ints

__all__ = ["Trees", "cut", "float32_below"]

LEAF: Final = -1
END: Final = -2
"""What a step is that compares nothing, as _trees.c numbers them."""
MOST_LEAVES: Final = 64
"""Of a tree. With more of them a walk, which sees one comparison a level, is quicker than all comparisons."""
_MOST_FEATURES: Final = 2**31 - 1
_FLOAT: Final = 1
_DOUBLE: Final = 11
"""TensorProto.DataType."""
_MESSAGES: Final[Mapping[str, Fields]] = {
    **ONNX,
    "Model": {"graph": (7, "Graph*")},
    "Graph": {"node": (1, "Node*"), "output": (12, "ValueInfo*")},
    "Attribute": {
        "name": (1, "string"),
        "i": (3, "int64"),
        "s": (4, "bytes"),
        "t": (5, "Tensor"),
        "ints": (8, "int64*"),
        "strings": (9, "bytes*"),
    },
    "Tensor": {"dims": (1, "int64*"), "data_type": (2, "int32"), "raw_data": (9, "bytes")},
}
_INTS: Final = np.dtype(np.int64)
_MISSING: Final = "nodes_missing_value_tracks_true"
_KNOWN: Final[Mapping[str, np.dtype[Any]]] = {
    "nodes_treeids": _INTS,
    "nodes_nodeids": _INTS,
    "nodes_modes": np.dtype(object),
    "nodes_featureids": _INTS,
    "nodes_values_as_tensor": np.dtype(np.float64),
    "nodes_truenodeids": _INTS,
    "nodes_falsenodeids": _INTS,
    _MISSING: _INTS,
    "target_treeids": _INTS,
    "target_nodeids": _INTS,
    "target_ids": _INTS,
    "target_weights_as_tensor": np.dtype(np.float64),
    "n_targets": _INTS,
    "aggregate_function": np.dtype(object),
    "base_values_as_tensor": np.dtype(np.float64),
}
"""The attributes that a sum of leaves has, in float64; with any other it is something else."""


@dataclass(frozen=True)
class Program:
    """A sum of trees in postfix: the parts of a tree, then the comparison that chooses between the last two."""

    columns: Ints
    """The features that any tree looks at."""
    steps: Ints
    """By step the place in `columns` of what is compared, LEAF, or END of a tree."""
    values: NDArray[np.float64]
    """By step what is compared with, a float32, or the leaf's value."""
    missing: NDArray[np.bool_]
    """By step whether NaN takes the branch of what is not greater."""
    base: float
    """What is added to every sum."""


class Trees:
    """A sum of trees, ready to run."""

    def __init__(self, program: Program) -> None:
        self._linked = core.link_trees(program.columns, program.steps, program.values, program.missing, program.base)

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores, shape (rows, 1), of features of shape (rows, width)."""
        scores: NDArray[np.float32] = core.sum_trees(self._linked, features)
        return scores


def cut(model: bytes) -> tuple[bytes, Trees] | None:
    """The graph without the trees at its end, its output their float32 features, and the trees.

    None where the graph does not end in trees that are such a sum, or where there is no C to add them up.
    """
    if core is None:
        return None
    try:
        edited = _classes()["Model"].FromString(model)
        features = _features(edited)
    except (DecodeError, UnicodeDecodeError):
        return None  # ONNX Runtime says what is wrong with it
    attributes = _attributes(edited.graph[0].node[-1]) if features is not None else None
    program = _program(attributes) if attributes is not None else None
    if program is None:
        return None
    graph, tensor = edited.graph[0], edited.graph[0].output[0].type.tensor_type
    del graph.node[-2:]
    graph.output[0].name, tensor.elem_type = features, _FLOAT
    tensor.ClearField("shape")
    tensor.shape.dim.extend(_classes()["Dim"](dim_param=name) for name in ("rows", "features"))
    return edited.SerializeToString(), Trees(program)


def _features(model: Any) -> str | None:
    """What the trees at the end take, before it is cast to float64; None where the graph does not end in that."""
    if len(model.graph) != 1 or len(model.graph[0].output) != 1 or len(model.graph[0].node) < 3:
        return None
    *before, cast, trees = model.graph[0].node
    to_double = [(one.name, one.i) for one in cast.attribute] == [("to", _DOUBLE)]
    if not to_double or (cast.domain, cast.op_type) not in (("", "Cast"), ("ai.onnx", "Cast")):
        return None
    if (trees.domain, trees.op_type) != ("ai.onnx.ml", "TreeEnsembleRegressor"):
        return None
    if list(trees.input) != list(cast.output) or list(trees.output) != [model.graph[0].output[0].name]:
        return None
    made = {name for node in before for name in node.output}
    found = cast.input[0] if len(cast.input) == 1 else None
    return found if found in made and isinstance(found, str) else None  # bytes: it is no UTF-8


def _attributes(trees: Any) -> dict[str, NDArray[Any]] | None:
    """The attributes by name; None where one of them makes something else of the trees than a sum of leaves."""
    found = {one.name: _value(one) for one in trees.attribute}
    found.setdefault("base_values_as_tensor", np.zeros(1))
    found.setdefault(_MISSING, np.zeros(len(found.get("nodes_treeids", ())), np.int64))
    twice = len({one.name for one in trees.attribute}) < len(trees.attribute)
    if twice or {name: values.dtype for name, values in found.items()} != _KNOWN:
        return None
    each, leaves = ([len(found[name]) for name in _KNOWN if name.startswith(of)] for of in ("nodes_", "target_"))
    if len({*each}) > 1 or len({*leaves}) > 1 or found["aggregate_function"].tolist() != [b"SUM"]:
        return None
    one_target = found["n_targets"].tolist() == [1] and not found["target_ids"].any()
    return found if one_target and len(found["base_values_as_tensor"]) == 1 else None


def _value(attribute: Any) -> NDArray[Any]:
    """An attribute as an array of one dimension; a tensor that is not a list of float64 as one of nothing."""
    if attribute.HasField("t"):
        content, dims = attribute.t.raw_data, list(attribute.t.dims)
        is_list = attribute.t.data_type == _DOUBLE and len(dims) == 1 and len(content) == 8 * dims[0]
        return np.frombuffer(content) if is_list else np.zeros(0, "V")
    if attribute.strings or attribute.HasField("s"):
        return np.array([*attribute.strings, *([attribute.s] if attribute.HasField("s") else [])], object)
    return np.array([*attribute.ints, *([attribute.i] if attribute.HasField("i") else [])], np.int64)


def _program(found: Mapping[str, NDArray[Any]]) -> Program | None:
    """None where the trees are not numbered as ours, where one has too many leaves, or is none."""
    tree, modes, nodes = found["nodes_treeids"], found["nodes_modes"], len(found["nodes_treeids"])
    sizes = np.bincount(tree) if nodes and tree.min() >= 0 and tree.max() < nodes else np.zeros(1, np.int64)
    start = np.concatenate([[0], np.cumsum(sizes)])
    leaf = modes == b"LEAF"
    if not sizes.all() or (tree != np.repeat(np.arange(len(sizes)), sizes)).any():
        return None
    if (found["nodes_nodeids"] != np.arange(nodes) - start[tree]).any() or not (leaf | (modes == b"BRANCH_LEQ")).all():
        return None
    of_leaves = _within(found["target_treeids"], found["target_nodeids"], start)
    left, right = (_within(tree, found[f"nodes_{side}nodeids"], start) for side in ("true", "false"))
    if of_leaves is None or left is None or right is None or sorted(of_leaves) != np.flatnonzero(leaf).tolist():
        return None
    values = float32_below(found["nodes_values_as_tensor"])
    values[of_leaves] = found["target_weights_as_tensor"]
    order = _postfix(start.tolist(), leaf.tolist(), left.tolist(), right.tolist())
    features = found["nodes_featureids"]
    if order is None or np.isnan(values).any() or features.min() < 0 or features.max() >= _MOST_FEATURES:
        return None
    columns = np.array(sorted({*features[~leaf].tolist()}), np.int64)
    steps = np.where(leaf, LEAF, np.searchsorted(columns, features))
    missing = found[_MISSING] == 1  # as ONNX Runtime takes it
    # One more place at the end stands for END.
    steps, values, missing = np.append(steps, END), np.append(values, 0.0), np.append(missing, False)
    return Program(columns, steps[order], values[order], missing[order], float(found["base_values_as_tensor"][0]))


def _within(tree: Ints, node: Ints, start: Ints) -> Ints | None:
    """The places of nodes of trees; None where one of them is of no tree."""
    if not ((tree >= 0) & (tree < len(start) - 1)).all():
        return None
    place = start[tree] + node
    return place if ((place >= start[tree]) & (place < start[tree + 1])).all() else None


def _postfix(start: Sequence[int], leaf: Sequence[bool], left: Sequence[int], right: Sequence[int]) -> Ints | None:
    """The nodes of all trees in the order in which they are computed, after each tree the number of nodes.

    None where a tree has too many leaves, or its first node is not the root of all of them.
    """
    order: list[int] = []
    for root, after in pairwise(start):
        tree: list[int] = []
        waiting = [(root, False)]
        while waiting and len(waiting) + len(tree) <= 2 * (after - root):  # more is no tree
            node, has_parts = waiting.pop()
            if leaf[node] or has_parts:
                tree.append(node)
            else:
                waiting += [(node, True), (right[node], False), (left[node], False)]
        if sorted(tree) != list(range(root, after)) or sum(leaf[root:after]) > MOST_LEAVES:
            return None
        order += [*tree, len(leaf)]
    return np.array(order, np.int64)


def float32_below(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest float32 that is not above each: a float32 is at most the one just where it is at most the other."""
    with np.errstate(over="ignore", invalid="ignore"):  # beyond all float32 it is infinity; a NaN may signal
        nearest = thresholds.astype(np.float32)
        below = np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    return below.astype(np.float64)


@lru_cache
def _classes() -> Mapping[str, Any]:
    return message_classes("lockstep.trees", _MESSAGES)
