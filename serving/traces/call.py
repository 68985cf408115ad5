"""What is known of a call that is traced."""

import asyncio
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from serving.answers import Features, Scores
from serving.metrics import Batch

__all__ = ["CALL", "Call", "End"]


@dataclass(frozen=True)
class End:
    """How a call ended."""

    code: str
    """Name of the gRPC status."""
    model: str = ""
    version: str = ""
    scored_s: float = 0.0
    """When the writing of its reply began, by `time.perf_counter`; 0 where none with scores or features was written."""
    at_s: float = field(default_factory=time.perf_counter)
    """When it was written, or the call refused."""


@dataclass(eq=False)
class Call:
    """A call under way. Moments are readings of `time.perf_counter`."""

    method: str
    """service/method, as gRPC's paths say it."""
    parent: Any
    """The context that the caller sent, as OpenTelemetry takes it; an empty one where the trace begins here."""
    began_s: float = field(default_factory=time.perf_counter)
    began_ns: int = field(default_factory=time.time_ns)
    """The same moment since 1970-01-01 UTC."""
    answer: "asyncio.Future[Scores] | None" = None
    """Its scores, where it asks for some."""
    features: Features | None = None
    """What it asked for by GetFeatures."""
    since_s: float | None = None
    """When its request came into a lane; None where it did not."""
    batch: Batch | None = None
    """The batch with which it was answered."""
    end: End | None = None

    def ns(self, moment_s: float) -> int:
        """A moment of it in nanoseconds since 1970-01-01 UTC."""
        return self.began_ns + round((moment_s - self.began_s) * 1e9)


CALL: ContextVar[Call | None] = ContextVar("CALL", default=None)
"""The call that this task answers, where it is traced."""
