"""A client of `lockstep.v1.Scorer`: join keys in, scores out. It needs grpcio, protobuf and numpy, nothing else.

from lockstep_client import Client

with Client("localhost:50051") as scorer:
    prediction = scorer.predict("install", {"ip": 1, "app": [2, 3, 5], "device": 1, "os": 13, "channel": 477})
    print(prediction.scores, prediction.version, prediction.rung)
"""

from lockstep_client.aio import AsyncClient
from lockstep_client.answers import (
    Cached,
    Feature,
    Features,
    Model,
    ModelVersions,
    Need,
    Origin,
    Prediction,
    Rung,
    Status,
    ViewSummary,
)
from lockstep_client.connection import Tls
from lockstep_client.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ScorerError,
    Unauthenticated,
    Unavailable,
)
from lockstep_client.requests import Request
from lockstep_client.sync import Client

__all__ = [
    "AsyncClient",
    "Cached",
    "Client",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Feature",
    "Features",
    "InvalidArgument",
    "Model",
    "ModelVersions",
    "Need",
    "NotFound",
    "Origin",
    "PermissionDenied",
    "Prediction",
    "Request",
    "Rung",
    "ScorerError",
    "Status",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "ViewSummary",
]
