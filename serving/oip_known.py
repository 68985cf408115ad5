"""Tensors of the Open Inference Protocol that were looked into before.

A client says the same of its tensors in every request: their names, datatypes and shapes. What was checked once need
not be checked again; the buffers, which differ, are.
"""

from typing import Any, NamedTuple

import numpy as np

from lockstep.plan import Plan
from protos.inference import grpc_service_pb2 as pb
from serving.oip_tensors import DATATYPES

__all__ = ["Known", "Plain"]

MOST = 1024
"""Descriptions of tensors. A shape is part of one, so that a client has as many of each tensor as it has row counts."""

LONGEST = 512
"""Bytes of a description that is remembered: whatever a stranger puts into one is kept for as long."""


class Plain(NamedTuple):
    """A tensor without parameters or contents of its own, whose buffer is an array of which every value is taken."""

    numpy: np.dtype[Any]
    size: int
    """Bytes of the buffer."""

    @staticmethod
    def of(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes) -> "Plain | None":
        """What a tensor with this buffer is, which is in order; None where it is more."""
        numpy = DATATYPES[tensor.datatype].numpy
        if numpy is None or tensor.datatype in ("BOOL", "UINT64") or tensor.parameters or tensor.HasField("contents"):
            return None
        return Plain(numpy, len(raw))


class Known:
    """Tensors of requests to one plan that were found to be in order, by their descriptions."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._known: dict[bytes, Plain] = {}

    def get(self, described: bytes) -> Plain | None:
        """What a tensor of this description is; None where it has to be looked into."""
        return self._known.get(described)

    def put(self, described: bytes, plain: Plain) -> None:
        """Remember one that is in order."""
        if len(described) > LONGEST:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[described] = plain
