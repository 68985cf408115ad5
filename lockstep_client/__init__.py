"""A client of `lockstep.v1.Scorer`: join keys in, scores out. It needs grpcio, protobuf and numpy, nothing else.

from lockstep_client import Client

with Client("localhost:50051") as scorer:
    prediction = scorer.predict("install", {"ip": 1, "app": [2, 3, 5], "device": 1, "os": 13, "channel": 477})
    print(prediction.scores, prediction.version, prediction.rung)
"""

from lockstep_client.aio import AsyncClient
from lockstep_client.answers import (
    Feature,
    Features,
    Model,
    ModelVersions,
    Need,
    Prediction,
    Rung,
    Status,
    ViewSummary,
)
from lockstep_client.connection import Tls
from lockstep_client.errors import DeadlineExceeded, InvalidArgument, NotFound, ScorerError, Unavailable
from lockstep_client.requests import Request
from lockstep_client.sync import Client

__all__ = [
    "AsyncClient",
    "Client",
    "DeadlineExceeded",
    "Feature",
    "Features",
    "InvalidArgument",
    "Model",
    "ModelVersions",
    "Need",
    "NotFound",
    "Prediction",
    "Request",
    "Rung",
    "ScorerError",
    "Status",
    "Tls",
    "Unavailable",
    "ViewSummary",
]
