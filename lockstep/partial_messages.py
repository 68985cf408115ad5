"""Protobuf messages of which only some fields are known: the others are kept as the bytes that they are."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["ONNX", "Fields", "message_classes"]

Fields = Mapping[str, tuple[int, str]]
"""By name of a field its number and its type: a scalar of protobuf or a message; a * says repeated."""
ONNX: Final[Mapping[str, Fields]] = {
    "Node": {
        "input": (1, "string*"),
        "output": (2, "string*"),
        "op_type": (4, "string"),
        "attribute": (5, "Attribute*"),
        "domain": (7, "string"),
    },
    "ValueInfo": {"name": (1, "string"), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, "int32"), "shape": (2, "Shape")},
    "Shape": {"dim": (1, "Dim*")},
    "Dim": {"dim_value": (1, "int64"), "dim_param": (2, "string")},
}
"""Nodes of a graph, and the types of what goes in and out, of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto;
whoever takes them says what an Attribute has.
"""
_SCALARS: Final = {"double": 1, "float": 2, "int64": 3, "int32": 5, "string": 9, "bytes": 12}
"""Their numbers in FieldDescriptorProto.Type."""
_MESSAGE: Final = 11
_ONE, _MANY = 1, 3


def message_classes(name: str, messages: Mapping[str, Fields]) -> Mapping[str, Any]:
    """The classes of messages, by name; `name` is that of their file, and of no other."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name)
    for message, fields in messages.items():
        made = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            label, kind = _MANY if kind.endswith("*") else _ONE, kind.rstrip("*")
            if kind in _SCALARS:
                made.field.add(name=field, number=number, label=label, type=_SCALARS[kind])
            else:
                made.field.add(name=field, number=number, label=label, type=_MESSAGE, type_name=f".{name}.{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {message: pool.FindMessageTypeByName(f"{name}.{message}") for message in messages}
    return {message: message_factory.GetMessageClass(descriptor) for message, descriptor in found.items()}
