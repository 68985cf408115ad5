"""What an ONNX file names beside itself: tensors may lie in other files, by path. A bundle's model never does.

ONNX Runtime opens such a path when it loads the model, and which paths it refuses depends on its version. So the file
is read before ONNX Runtime sees it, with the few fields of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that
lead to a tensor; whatever else there is stays unread.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError

from lockstep.errors import BundleRefused
from lockstep.partial_messages import Fields, message_classes

__all__ = ["check_stands_alone"]

_EXTERNAL = 1
"""TensorProto.DataLocation: the tensor lies in another file."""
_MESSAGES: Mapping[str, Fields] = {
    "Model": {"graph": (7, "Graph*"), "training": (20, "Training*"), "functions": (25, "Function*")},
    "Training": {"initialization": (1, "Graph*"), "algorithm": (2, "Graph*")},
    "Function": {"nodes": (7, "Node*"), "attributes": (11, "Attribute*")},
    "Graph": {"nodes": (1, "Node*"), "initializers": (5, "Tensor*"), "sparse": (15, "Sparse*")},
    "Node": {"attributes": (5, "Attribute*")},
    "Attribute": {
        "t": (5, "Tensor*"),
        "g": (6, "Graph*"),
        "tensors": (10, "Tensor*"),
        "graphs": (11, "Graph*"),
        "sparse": (22, "Sparse*"),
        "sparses": (23, "Sparse*"),
    },
    "Sparse": {"values": (1, "Tensor*"), "indices": (2, "Tensor*")},
    "Tensor": {"external_data": (13, "Entry*"), "data_location": (14, "int32")},
    "Entry": {},
}
"""By message the fields that lead to a tensor."""


def check_stands_alone(model: bytes) -> None:
    """Raises BundleRefused for bytes that are no ONNX model, and for one of which a tensor lies in another file."""
    try:
        read = _model().FromString(model)
    except DecodeError as error:
        raise BundleRefused(
            "ONNX Runtime cannot load the model: it is no ONNX file. Publish the model again."
        ) from error
    for tensor in _tensors(read):
        if tensor.external_data or tensor.data_location == _EXTERNAL:
            raise BundleRefused(
                "a tensor of the model lies in another file. A bundle's model is one file: save it without external "
                "data, and publish the model again."
            )


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor below a message, at any depth."""
    if message.DESCRIPTOR.name == "Tensor":
        yield message
        return
    for _, values in message.ListFields():
        for each in values:
            yield from _tensors(each)


@lru_cache
def _model() -> Any:
    """The class of a model that knows these fields alone."""
    return message_classes("lockstep.onnx_file", _MESSAGES)["Model"]
