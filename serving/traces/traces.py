"""Follows the calls of a server from their metadata to their spans."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from threading import Thread
from typing import Any, Protocol

from lockstep.errors import LockstepError
from serving.answers import Scores
from serving.metrics import Batch
from serving.reader import Reader
from serving.scorer import Served
from serving.settings import Settings
from serving.statuses import status_of
from serving.traces.call import CALL, Call, End
from serving.traces.meters import TracedMeters
from serving.traces.scorer import TracedScorer

__all__ = ["Traces", "Writer"]

CLOSE_S = 3.0
"""How long a server that stops waits for the collector."""


class Writer(Protocol):
    """Chooses calls and writes them: `serving.traces.spans.Spans`."""

    def parent_of(self, metadata: Any) -> Any:
        """The caller's context; None where the call is not to be traced."""
        ...

    def write(self, call: Call, end: End) -> None:
        """The call is over."""
        ...

    def close(self) -> None:
        """Send what is not sent yet; blocking."""
        ...


class Traces:
    """The calls that are traced. All of it happens on the event loop's thread."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._in_lanes: dict[float, Call] = {}
        """By `since_s` of its request, which no two requests share: a call that waits for its batch."""

    def metered(self, models: Served, reader: Reader, settings: Settings) -> tuple[TracedMeters, TracedScorer]:
        """What counts and what answers in a server whose calls are traced."""
        meters = TracedMeters(models.find, self, worker=str(settings.worker))
        return meters, TracedScorer(models, reader, settings, meters=meters, traces=self)

    def unary(self, name: str, handle: Callable[[Any, Any], Awaitable[Any]]) -> Callable[..., Any]:
        """A unary method, traced. The end of its calls is told to `ended`."""

        async def traced(request: Any, context: Any) -> Any:
            CALL.set(self._entered(name, context))
            return await handle(request, context)

        return traced

    def stream(self, name: str, handle: Callable[[Any, Any], Any]) -> Callable[..., AsyncIterator[Any]]:
        """A streaming method, traced as one call: its requests are of many batches, and may be millions."""

        async def traced(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            call, code = self._entered(name, context), "CANCELLED"  # it is, unless it ends otherwise
            try:
                async with aclosing(handle(requests, context)) as replies:
                    async for reply in replies:
                        yield reply
                code = "OK"
            except LockstepError as error:
                code = status_of(error).name
                raise
            except Exception:
                code = "INTERNAL"
                raise
            finally:
                if call is not None:
                    self.ended(call, End(code))

        return traced

    def asked(self, call: Call, answer: "asyncio.Future[Scores]") -> None:
        """A call waits for scores."""
        call.answer = answer
        # What asks what its scores were made of is in no lane, and its future has no such moment.
        call.since_s = getattr(answer, "since_s", None)
        if call.since_s is not None:
            self._in_lanes[call.since_s] = call

    def answered(self, batch: Batch) -> None:
        """A batch is done."""
        if not self._in_lanes:
            return
        for since_s in batch.since_s:
            call = self._in_lanes.pop(since_s, None)
            if call is not None:
                call.batch = batch
                if call.end is not None:
                    self._write(call, call.end)

    def ended(self, call: Call, end: End) -> None:
        """A call is over. One whose batch is not done yet, of a cached model that waits for another's live score, is
        written with it.
        """
        call.end = end
        if call.since_s is None or end.code != "OK" or call.batch is not None:
            self._write(call, end)

    async def close(self) -> None:
        """Send what is not sent yet; a collector that does not answer is not waited for any longer."""
        closing = Thread(target=self._writer.close, daemon=True)  # the process may end before it does
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_S)

    def _entered(self, name: str, context: Any) -> Call | None:
        parent = self._writer.parent_of(context.invocation_metadata() or ())
        return None if parent is None else Call(name, parent)

    def _write(self, call: Call, end: End) -> None:
        """Soon: the reply goes first."""
        if call.since_s is not None:
            self._in_lanes.pop(call.since_s, None)
        asyncio.get_running_loop().call_soon(self._writer.write, call, end)
