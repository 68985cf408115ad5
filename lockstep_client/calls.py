"""The five calls: path, what writes a request, what reads a reply. They make the stubs of both clients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lockstep_client import answers
from lockstep_client.connection import SERVICE
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["GET_FEATURES", "GET_MODEL", "LIST_MODELS", "PREDICT", "PREDICT_STREAM", "Call"]


@dataclass(frozen=True)
class Call:
    """One rpc of the service."""

    method: str
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]

    def unary(self, channel: Any) -> Any:
        """The stub on a channel of grpc or grpc.aio; it hands out what `read` returns."""
        return channel.unary_unary(self._path, request_serializer=self.write, response_deserializer=self.read)

    def stream(self, channel: Any) -> Any:
        """The same for a stream both ways."""
        return channel.stream_stream(self._path, request_serializer=self.write, response_deserializer=self.read)

    @property
    def _path(self) -> str:
        return f"/{SERVICE}/{self.method}"


PREDICT = Call("Predict", pb.PredictRequest.SerializeToString, answers.prediction)
PREDICT_STREAM = Call("PredictStream", pb.PredictRequest.SerializeToString, answers.outcome)
GET_FEATURES = Call("GetFeatures", pb.GetFeaturesRequest.SerializeToString, answers.features)
LIST_MODELS = Call("ListModels", pb.ListModelsRequest.SerializeToString, answers.models)
GET_MODEL = Call("GetModel", pb.GetModelRequest.SerializeToString, answers.model)
