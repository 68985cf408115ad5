"""Requests of the Open Inference Protocol, in few words."""

import struct
from typing import Any

import numpy as np

from protos.inference import grpc_service_pb2 as pb
from serving.oip_tensors import DATATYPES

__all__ = ["Tensor", "infer", "raw_infer", "raw_of", "tensor"]

Tensor = pb.ModelInferRequest.InferInputTensor


def tensor(name: str, datatype: str, *values: Any, shape: list[int] | None = None) -> Tensor:
    """A tensor with typed contents; by default of shape [rows]."""
    field = DATATYPES[datatype].field
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    fields: dict[str, Any] = {field: encoded}
    contents = pb.InferTensorContents(**fields) if values else None
    return Tensor(name=name, datatype=datatype, shape=[len(values)] if shape is None else shape, contents=contents)


def raw_of(datatype: str, *values: Any) -> bytes:
    """The raw buffer of some values."""
    numpy = DATATYPES[datatype].numpy
    if numpy is not None:
        return np.array(values, numpy).tobytes()
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def infer(*tensors: Tensor, outputs: tuple[str, ...] = (), **fields: Any) -> pb.ModelInferRequest:
    """A request to the tiny model with typed contents."""
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs]
    return pb.ModelInferRequest(**{"model_name": "tiny", "inputs": tensors, "outputs": wanted, **fields})


def raw_infer(
    *columns: tuple[str, str, list[Any]], outputs: tuple[str, ...] = (), **fields: Any
) -> pb.ModelInferRequest:
    """A request to the tiny model with raw buffers; columns are (name, datatype, values)."""
    tensors = [Tensor(name=name, datatype=datatype, shape=[len(values)]) for name, datatype, values in columns]
    buffers = [raw_of(datatype, *values) for _, datatype, values in columns]
    return infer(*tensors, outputs=outputs, raw_input_contents=buffers, **fields)
