"""What both clients know of a stream: each request leaves a slot, and the slots are answered in their order.

A slot says that a request was sent, so that the next reply is its answer, or why it was not. So a request that is
refused here keeps its place among the answers of the server.
"""

from dataclasses import dataclass
from typing import Final

import grpc

from lockstep_client.errors import DeadlineExceeded, ScorerError, Unavailable
from lockstep_client.requests import Request
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["ENDED", "LAST", "SENT", "Raised", "Slot", "ended_early", "prepared", "too_slow"]


@dataclass(frozen=True)
class Marker:
    """A slot without an answer of its own."""

    name: str


@dataclass(frozen=True)
class Raised:
    """The caller's requests stopped with an error, which is given back once the requests before it are answered."""

    error: Exception


SENT: Final = Marker("sent")
"""A request was sent; the next reply answers it."""
LAST: Final = Marker("last")
"""There are no more requests."""
ENDED: Final = Marker("ended")
"""The call is over; whoever reads it learns why."""

Slot = Marker | Raised | ScorerError


def prepared(request: Request) -> pb.PredictRequest | ScorerError:
    """What to send, or why it cannot be sent."""
    try:
        return request.message()
    except ScorerError as error:
        return error


def ended_early(address: str) -> Unavailable:
    """The server closed the stream and left requests unanswered."""
    message = f"the server ended the stream before it had answered every request ({address})"
    return Unavailable(grpc.StatusCode.UNAVAILABLE, message)


def too_slow(address: str, patience_s: float) -> DeadlineExceeded:
    """The next answer of a stream did not come."""
    message = f"the next answer of the stream did not come within {patience_s:g} s ({address})"
    return DeadlineExceeded(grpc.StatusCode.DEADLINE_EXCEEDED, message)
