"""Calls that would be answered too late are turned away at their headers, before anything else of them is read.

Clients keep calls in a queue while their connection has as many as it may, and send each with what is left of its time.
Under overload that is next to nothing: a server that reads such a call, and only then refuses it, spends all it has on
refusing, and the queue grows. To turn one away at its headers costs a tenth of that, so that the queue shrinks until
calls come with enough time again.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

import grpc

from serving.metrics import CallMeter, Meters

__all__ = ["Shedding"]

SHED: Final = ("lockstep.v1.Scorer/Predict", "inference.GRPCInferenceService/ModelInfer")
"""What costs as much as it does; health and descriptions are always told."""


class Shedding:
    """Decides, as `serving.http2` asks."""

    def __init__(self, needs_s: Callable[[], float], meters: Meters | None) -> None:
        """`needs_s`: how long a caller should have left; `meters` are told of those turned away."""
        self._needs_s = needs_s
        self._calls: Mapping[str, CallMeter | None] = {
            f"/{method}": None if meters is None else meters.call(method.rpartition("/")[2]) for method in SHED
        }

    @property
    def paths(self) -> Collection[str]:
        """Those of the calls that may be turned away."""
        return self._calls

    def turns_away(self, path: str, left_s: float, needs_s: float) -> bool:
        """Whether a call of one of them, whose caller waits so long, is turned away; `needs_s`: how long it should
        wait, as its connection sees it.
        """
        if left_s >= max(needs_s, self._needs_s()):
            return False
        meter = self._calls[path]
        if meter is not None:
            meter.turned_away(grpc.StatusCode.RESOURCE_EXHAUSTED.name)
        return True
