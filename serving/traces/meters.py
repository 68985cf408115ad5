"""Meters that also tell a call's trace what they are told."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lockstep.bundle import Bundle
from serving.metrics import Answered, Batch, CallMeter, LaneMeter, Meters
from serving.metrics.calls import OK, Find
from serving.traces.call import CALL, End

if TYPE_CHECKING:
    from serving.traces.traces import Traces

__all__ = ["TracedMeters"]


class _LaneMeter(LaneMeter):
    def __init__(self, bundle: Bundle, traces: "Traces") -> None:
        super().__init__(bundle)
        self._traces = traces

    def answered(self, batch: Batch) -> None:
        super().answered(batch)
        self._traces.answered(batch)


class _CallMeter(CallMeter):
    def __init__(self, call: str, find: Find, traces: "Traces") -> None:
        super().__init__(call, find)
        self._traces = traces

    def answered(self, answer: Answered, began_s: float) -> None:
        super().answered(answer, began_s)
        self._ended(OK, answer.model, answer.version, answer.scored_s)

    def told(self) -> None:
        super().told()
        self._ended(OK)

    def refused(self, request: Any, code: str) -> None:
        super().refused(request, code)
        if CALL.get() is not None:
            self._ended(code, *self._labels(request))

    def _ended(self, code: str, model: str = "", version: str = "", scored_s: float = 0.0) -> None:
        call = CALL.get()
        if call is not None:
            CALL.set(None)  # a task that answers several calls is in none of them now
            self._traces.ended(call, End(code, model, version, scored_s))


class TracedMeters(Meters):
    """The meters of a process whose calls are traced."""

    def __init__(self, find: Find, traces: "Traces", *, worker: str = "1") -> None:
        super().__init__(find, worker=worker)
        self._traces = traces

    def around(self, name: str, handle: Callable[..., Any], *, streams: bool) -> Callable[..., Any]:
        """The method, traced."""
        return self._traces.stream(name, handle) if streams else self._traces.unary(name, handle)

    def _new_lane(self, bundle: Bundle) -> LaneMeter:
        return _LaneMeter(bundle, self._traces)

    def _new_call(self, name: str) -> CallMeter:
        return _CallMeter(name, self._find, self._traces)
