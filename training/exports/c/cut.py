"""Cut a serving graph into parts: texts, lookups and trees apart, and graphs of core operators between them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lockstep.errors import ExportRefused
from training.exports.c.lookups import Lookup
from training.exports.c.parts import Part
from training.exports.c.trees import Trees
from training.exports.c.words import Words

__all__ = ["CoreGraph", "cut", "live_nodes"]

_STRING = TensorProto.STRING
_RENAMES = {"Identity", "Flatten", "Reshape", "Cast"}
"""What changes nothing about a column of texts."""


@dataclass(frozen=True)
class CoreGraph:
    """Nodes that need nothing of the parts after them."""

    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    """Columns, and tensors of the parts before."""
    outputs: tuple[str, ...]
    """What the parts after it need."""


def live_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the graph's outputs need, in the graph's order; labels that nobody reads are none of them."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def cut(model: onnx.ModelProto) -> list[CoreGraph | Part]:
    """The parts, each after those it needs. Raises ExportRefused for what is done to texts and cannot be in C."""
    constants = {tensor.name for tensor in model.graph.initializer}
    units = _units(_Texts(model), live_nodes(model.graph))
    return list(_grouped(units, constants, {output.name for output in model.graph.output}))


def _units(texts: "_Texts", nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto | Part]:
    """The parts that are not core operators, and the nodes that are, in the graph's order."""
    for node in nodes:
        if texts.takes(node):
            part = texts.follow(node)
            if part is not None:
                yield part
        elif node.op_type == "TreeEnsembleRegressor":
            yield Trees(node)
        elif node.op_type == "LabelEncoder":
            yield Lookup(node, node.input[0])
        else:
            yield node


def _names(unit: onnx.NodeProto | Part) -> tuple[Sequence[str], Sequence[str]]:
    """What it reads and what it makes."""
    if isinstance(unit, onnx.NodeProto):
        return unit.input, unit.output
    return unit.inputs, unit.outputs


def _grouped(
    units: Iterable[onnx.NodeProto | Part], constants: set[str], results: set[str]
) -> Iterator[CoreGraph | Part]:
    """Nodes at even stages, parts at odd ones, each at the first stage that lies after what it needs.

    The nodes of one stage make one graph; so there are as few graphs as can be.
    """
    stage: dict[str, int] = {}
    stages: dict[int, list[onnx.NodeProto | Part]] = {}
    for unit in units:
        inputs, outputs = _names(unit)
        at = max((stage[name] for name in inputs if name in stage), default=-1)
        at += at % 2 == (1 if isinstance(unit, onnx.NodeProto) else 0)
        stage.update(dict.fromkeys(outputs, at))
        stages.setdefault(at, []).append(unit)
    for at in sorted(stages):
        others = [one for place, group in stages.items() if place != at for one in group]
        read = results.union(*(_names(one)[0] for one in others))
        nodes = [one for one in stages[at] if isinstance(one, onnx.NodeProto)]
        yield from (one for one in stages[at] if not isinstance(one, onnx.NodeProto))
        if nodes:
            yield _core_graph(nodes, constants, read)


def _core_graph(nodes: Sequence[onnx.NodeProto], constants: set[str], read: set[str]) -> CoreGraph:
    made = dict.fromkeys(name for node in nodes for name in node.output)
    inputs = dict.fromkeys(name for node in nodes for name in node.input if name and name not in constants)
    outputs = tuple(name for name in made if name in read)
    return CoreGraph(tuple(nodes), tuple(name for name in inputs if name not in made), outputs)


@dataclass
class _Texts:
    """Follows text columns through the graph: what is done to them becomes a part, or nothing."""

    model: onnx.ModelProto
    columns: dict[str, tuple[str, ...]] = field(init=False)
    """By tensor: the text columns that stand side by side in it."""
    tokens: dict[str, onnx.NodeProto] = field(default_factory=dict)
    """By tensor: the Tokenizer that made it."""

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.columns = {one.name: (one.name,) for one in graph.input if one.type.tensor_type.elem_type == _STRING}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}

    def takes(self, node: onnx.NodeProto) -> bool:
        """Whether the node is given texts or the words of one."""
        return any(name in self.columns or name in self.tokens for name in node.input)

    def follow(self, node: onnx.NodeProto) -> Part | None:
        """The part that a node becomes which makes numbers of texts; None for one that only moves them about.

        Raises ExportRefused for a node that does something else with texts.
        """
        first, out = node.input[0], node.output[0]
        if first in self.tokens:
            if node.op_type != "TfIdfVectorizer":
                self.tokens[out] = self.tokens[first]
                return None
            return Words(self.tokens[first], node, self._one(self.tokens[first]))
        if node.op_type == "Tokenizer":
            self._one(node)
            self.tokens[out] = node
        elif node.op_type in ("LabelEncoder", "OneHotEncoder"):
            return Lookup(node, self._one(node))
        else:
            self.columns[out] = self._moved(node)
        return None

    def _one(self, node: onnx.NodeProto) -> str:
        columns = self.columns[node.input[0]]
        if len(columns) != 1:
            raise ExportRefused(
                node.output[0], f"{node.op_type} of {len(columns)} texts at once", "a step for each text"
            )
        return columns[0]

    def _moved(self, node: onnx.NodeProto) -> tuple[str, ...]:
        columns = self.columns[node.input[0]]
        if node.op_type == "Concat":
            return tuple(column for name in node.input for column in self.columns[name])
        if node.op_type == "Gather" and node.input[1] in self._constants:
            return tuple(columns[place] for place in np.ravel(numpy_helper.to_array(self._constants[node.input[1]])))
        if node.op_type in _RENAMES:
            return columns
        raise ExportRefused(
            node.output[0],
            f"{node.op_type} of a text",
            "lowercase=False and no stop words, and do what remains in the feature itself",
        )
