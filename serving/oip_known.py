"""Requests of the Open Inference Protocol whose like was looked into before.

A client says the same of its tensors in every request: their names, datatypes and shapes, and the outputs that it
wants. What was checked once need not be checked again; the buffers, which differ, are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lockstep.plan import Array, Plan
from protos.inference import grpc_service_pb2 as pb
from serving import oip_tensors
from serving.oip_tensors import DATATYPES

__all__ = ["Head", "Known", "head_of"]

MOST = 256
"""Heads of requests. A shape is part of one, so that a client has as many as it has row counts."""

LONGEST = 16_384
"""Bytes of a head that is remembered: whatever a stranger puts into one is kept for as long."""


class _Tensor(NamedTuple):
    name: str
    numpy: np.dtype[Any] | None
    """None: texts."""
    size: int
    """Bytes of the buffer; of texts, how many."""


class Head(NamedTuple):
    """What a request without parameters says beside its id and its buffers, and was found to be in order."""

    tensors: tuple[_Tensor, ...]
    outputs: tuple[str, ...]

    @staticmethod
    def of(request: pb.ModelInferRequest, outputs: tuple[str, ...]) -> "Head | None":
        """That of a request with buffers, which is in order; None where a buffer's values have to be looked at."""
        tensors = []
        for tensor in request.inputs:
            if tensor.datatype in ("BOOL", "UINT64"):
                return None
            numpy = DATATYPES[tensor.datatype].numpy
            size = tensor.shape[0] * (1 if numpy is None else numpy.itemsize)
            tensors.append(_Tensor(tensor.name, numpy, size))
        return Head(tuple(tensors), outputs)

    def columns(self, buffers: Sequence[bytes]) -> dict[str, Array] | None:
        """The columns in such a request's buffers; None where one has another size. Raises BadColumn for texts."""
        if len(buffers) != len(self.tensors):
            return None
        columns: dict[str, Array] = {}
        for (name, numpy, size), raw in zip(self.tensors, buffers, strict=True):
            if numpy is None:
                columns[name] = oip_tensors.texts(name, raw, size)
            elif len(raw) == size:
                columns[name] = np.frombuffer(raw, numpy)
            else:
                return None
        return columns


class Known:
    """Heads of requests to one plan that were found to be in order, by their bytes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._known: dict[bytes, Head] = {}

    def get(self, head: bytes) -> Head | None:
        """What a request with these bytes says; None where it has to be looked into."""
        return self._known.get(head)

    def put(self, head: bytes, found: Head) -> None:
        """Remember one that is in order."""
        if len(head) > LONGEST:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[head] = found


def head_of(request: pb.ModelInferRequest, buffers: Sequence[bytes]) -> bytes:
    """What a request says beside its id and its buffers: quicker by taking them out for a moment than by a copy."""
    name, request.id = request.id, ""
    del request.raw_input_contents[:]
    head: bytes = request.SerializeToString()
    request.id = name
    request.raw_input_contents.extend(buffers)
    return head
