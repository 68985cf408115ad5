"""An ONNX graph with few wide inputs in place of one input a column.

ONNX Runtime takes its time over every input of a run: its name is looked up, its type compared, a tensor made for it.
Of a graph with eighteen columns that is about a fifth of what a run of one row costs. Where a graph begins by laying
columns side by side, they are given to it side by side, and the node that did it is gone: of a run another seventh.
What columns are left of a type come as one input too, and a node in front takes them apart again. All of it moves
values and changes none.

The file is edited with the few fields of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that this needs; all
others stay as they are, byte for byte.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import DecodeError

from lockstep.partial_messages import ONNX, Fields, message_classes

__all__ = ["Joined", "is_column", "joined"]

_INT64: Final = 7
_TYPES: Final = {1: "tensor(float)", _INT64: "tensor(int64)", 11: "tensor(double)"}
"""The types that are joined, by number in TensorProto.DataType, as ONNX Runtime calls them."""
_SPLIT_SINCE: Final = 13
"""The version of ONNX's operators since which Split takes the sizes as an input."""
_NEW: Final = "lockstep/"
"""What new names begin with."""
_INT: Final = 2
"""AttributeProto.AttributeType: the attribute is an integer."""
_BESIDE: Final = (1, -1)
"""The axis on which columns of shape (rows, 1) lie side by side."""
_MESSAGES: Final[Mapping[str, Fields]] = {
    **ONNX,
    "Model": {"graph": (7, "Graph*"), "opset_import": (8, "Opset*")},
    "Opset": {"domain": (1, "string"), "version": (2, "int64")},
    "Graph": {
        "node": (1, "bytes*"),
        "initializer": (5, "Named*"),
        "input": (11, "ValueInfo*"),
        "output": (12, "ValueInfo*"),
    },
    "Named": {"name": (8, "string")},
    "Attribute": {
        "name": (1, "string"),
        "i": (3, "int64"),
        "g": (6, "bytes*"),
        "graphs": (11, "bytes*"),
        "type": (20, "int32"),
    },
    "Tensor": {"dims": (1, "int64*"), "data_type": (2, "int32"), "int64_data": (7, "int64*"), "name": (8, "string")},
}
"""A node of the file is taken as the bytes that it is, an initializer by its name."""


@dataclass(frozen=True)
class Joined:
    """A model some of whose inputs are several columns, side by side: of shape (rows, columns)."""

    model: bytes
    columns: Mapping[str, Sequence[str]]
    """By name of a new input its columns, in order. A column can be in several."""
    types: Mapping[str, str]
    """By new input, as ONNX Runtime calls it."""


def joined(model: bytes) -> Joined | None:
    """The model with joined inputs; None where there is nothing to join, or the file is not one that this knows."""
    try:
        edited = _classes()["Model"].FromString(model)
        if len(edited.graph) != 1:
            return None
        (graph,) = edited.graph
        kinds = _columns(graph)
        new = _lay_beside(graph, kinds)
        groups = _groups(graph, kinds) if _operators(edited) >= _SPLIT_SINCE else {}
    except (DecodeError, UnicodeDecodeError):
        return None  # ONNX Runtime says what is wrong with it
    for kind, names in groups.items():
        name = f"{_NEW}{_TYPES[kind]}"
        new[name] = names
        graph.node.insert(0, _split(name, names))
        graph.initializer.append(_sizes(name, len(names)))
    if not new:
        return None
    split = {name for names in groups.values() for name in names}
    rest = [one for one in graph.input if one.name not in split]
    del graph.input[:]
    graph.input.extend([*rest, *(_input(name, kinds[names[0]], len(names)) for name, names in new.items())])
    types = {name: _TYPES[kinds[names[0]]] for name, names in new.items()}
    return Joined(edited.SerializeToString(), {name: tuple(names) for name, names in new.items()}, types)


def _operators(model: Any) -> int:
    """The version of ONNX's own operators."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)


def _columns(graph: Any) -> dict[str, int]:
    """The inputs of shape (rows, 1) that can be joined, and their types; without those that may be left out: an
    initializer of their name stands for them then.
    """
    found: dict[str, int] = {}
    optional = {one.name for one in graph.initializer}
    for one in graph.input:
        tensor = one.type.tensor_type
        if not isinstance(one.name, str) or one.name.startswith(_NEW):  # bytes: it is no UTF-8
            return {}
        if tensor.elem_type in _TYPES and is_column(tensor.shape) and one.name not in optional:
            found[one.name] = tensor.elem_type
    return found


def is_column(shape: Any) -> bool:
    """Whether a tensor of this shape has any number of rows, and one column."""
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in shape.dim] == [None, 1]


def _lay_beside(graph: Any, kinds: Mapping[str, int]) -> dict[str, list[str]]:
    """Take the nodes out that do nothing but lay columns side by side, and the inputs that nothing else takes.

    Returns by name of an output of theirs its columns: they are to be inputs.
    """
    nodes = [_classes()["Node"].FromString(node) for node in graph.node]
    made = [name for node in nodes for name in node.output if name]
    if len(set(made)) < len(made) or any(one.g or one.graphs for node in nodes for one in node.attribute):
        return {}  # it is none; or graphs within use names of this one
    outputs = {one.name for one in graph.output}
    gone = {place: node for place, node in enumerate(nodes) if _lays_beside(node, kinds, outputs)}
    used = outputs.union(*(node.input for place, node in enumerate(nodes) if place not in gone))
    unused = {name for node in gone.values() for name in node.input} - used
    graph.node[:] = [node for place, node in enumerate(graph.node) if place not in gone]
    rest = [one for one in graph.input if one.name not in unused]
    del graph.input[:]
    graph.input.extend(rest)
    return {node.output[0]: list(node.input) for node in gone.values()}


def _lays_beside(node: Any, kinds: Mapping[str, int], outputs: Collection[str]) -> bool:
    return (
        (node.domain, node.op_type) in (("", "Concat"), ("ai.onnx", "Concat"))
        and [one.i for one in node.attribute if one.name == "axis"] in [[axis] for axis in _BESIDE]
        and all(name in kinds for name in node.input)
        and len({kinds[name] for name in node.input}) == 1
        and len(node.output) == 1
        and isinstance(node.output[0], str)
        and not node.output[0].startswith(_NEW)
        and node.output[0] not in outputs
    )


def _groups(graph: Any, kinds: Mapping[str, int]) -> dict[int, list[str]]:
    """The columns among the inputs by type, of the types of which there are several."""
    found: dict[int, list[str]] = {}
    for one in graph.input:
        if one.name in kinds:
            found.setdefault(kinds[one.name], []).append(one.name)
    return {kind: names for kind, names in found.items() if len(names) > 1}


def _input(name: str, kind: int, width: int) -> Any:
    shape = {"dim": [{"dim_param": "rows"}, {"dim_value": width}]}
    return _classes()["ValueInfo"](name=name, type={"tensor_type": {"elem_type": kind, "shape": shape}})


def _split(name: str, columns: Sequence[str]) -> bytes:
    axis = {"name": "axis", "i": 1, "type": _INT}
    node = _classes()["Node"](input=[name, f"{name}/sizes"], output=columns, op_type="Split", attribute=[axis])
    content: bytes = node.SerializeToString()
    return content


def _sizes(name: str, width: int) -> Any:
    tensor = _classes()["Tensor"](dims=[width], data_type=_INT64, int64_data=[1] * width, name=f"{name}/sizes")
    return _classes()["Named"].FromString(tensor.SerializeToString())


@lru_cache
def _classes() -> Mapping[str, Any]:
    return message_classes("lockstep.onnx_inputs", _MESSAGES)
