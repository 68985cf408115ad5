"""An ONNX graph with one input for all columns of a type, in place of one input a column.

ONNX Runtime takes its time over every input of a run: its name is looked up, its type compared, a tensor made for it.
Of a graph with eighteen columns that is about a fifth of what a run of one row costs. A node in front takes the columns
apart again, which moves values and changes none.

The file is edited with the few fields of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that this needs; all
others stay as they are, byte for byte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import DecodeError

from lockstep.partial_messages import Fields, message_classes

__all__ = ["Joined", "joined"]

_INT64: Final = 7
_TYPES: Final = {1: "tensor(float)", _INT64: "tensor(int64)", 11: "tensor(double)"}
"""The types that are joined, by number in TensorProto.DataType, as ONNX Runtime calls them."""
_SPLIT_SINCE: Final = 13
"""The version of ONNX's operators since which Split takes the sizes as an input."""
_NEW: Final = "lockstep/"
"""What new names begin with."""
_INT: Final = 2
"""AttributeProto.AttributeType: the attribute is an integer."""
_MESSAGES: Final[Mapping[str, Fields]] = {
    "Model": {"graph": (7, "Graph*"), "opset_import": (8, "Opset*")},
    "Opset": {"domain": (1, "string"), "version": (2, "int64")},
    "Graph": {"node": (1, "bytes*"), "initializer": (5, "Named*"), "input": (11, "ValueInfo*")},
    "Named": {"name": (8, "string")},
    "ValueInfo": {"name": (1, "string"), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, "int32"), "shape": (2, "Shape")},
    "Shape": {"dim": (1, "Dim*")},
    "Dim": {"dim_value": (1, "int64"), "dim_param": (2, "string")},
    "Node": {
        "input": (1, "string*"),
        "output": (2, "string*"),
        "op_type": (4, "string"),
        "attribute": (5, "Attribute*"),
    },
    "Attribute": {"name": (1, "string"), "i": (3, "int64"), "type": (20, "int32")},
    "Tensor": {"dims": (1, "int64*"), "data_type": (2, "int32"), "int64_data": (7, "int64*"), "name": (8, "string")},
}
"""A node of the file is taken as the bytes that it is, an initializer by its name."""


@dataclass(frozen=True)
class Joined:
    """A model whose columns of one type come as one input of shape (rows, columns)."""

    model: bytes
    columns: Mapping[str, Sequence[str]]
    """By name of a new input its columns, in order."""
    types: Mapping[str, str]
    """By new input, as ONNX Runtime calls it."""


def joined(model: bytes) -> Joined | None:
    """The model with joined inputs; None where there is nothing to join, or the file is not one that this knows."""
    try:
        edited = _classes()["Model"].FromString(model)
        groups = _groups(edited)
    except (DecodeError, UnicodeDecodeError):
        return None  # ONNX Runtime says what is wrong with it
    if not groups:
        return None
    (graph,) = edited.graph
    taken = {name for names in groups.values() for name in names}
    rest = [one for one in graph.input if one.name not in taken]
    new = {f"{_NEW}{_TYPES[kind]}": (kind, names) for kind, names in groups.items()}
    inputs = [*rest, *(_input(name, kind, len(names)) for name, (kind, names) in new.items())]
    del graph.input[:]
    graph.input.extend(inputs)
    graph.node[:] = [*(_split(name, names) for name, (_, names) in new.items()), *graph.node]
    graph.initializer.extend(_sizes(name, len(names)) for name, (_, names) in new.items())
    columns = {name: tuple(names) for name, (_, names) in new.items()}
    return Joined(edited.SerializeToString(), columns, {name: _TYPES[kind] for name, (kind, _) in new.items()})


def _groups(model: Any) -> dict[int, list[str]]:
    """The inputs of shape (rows, 1) by type, of the types of which there are several; without those that
    may be left out: an initializer of their name stands for them then.
    """
    operators = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if len(model.graph) != 1 or operators < _SPLIT_SINCE:
        return {}
    found: dict[int, list[str]] = {}
    (graph,) = model.graph
    optional = {one.name for one in graph.initializer}
    for one in graph.input:
        tensor = one.type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        if not isinstance(one.name, str) or one.name.startswith(_NEW):  # bytes: it is no UTF-8
            return {}
        if tensor.elem_type in _TYPES and shape == [0, 1] and one.name not in optional:  # any number of rows
            found.setdefault(tensor.elem_type, []).append(one.name)
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
