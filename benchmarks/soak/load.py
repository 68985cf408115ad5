"""The mixed load, made by a process of its own: calls of several kinds at fixed rates, each answer compared."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from benchmarks.children import child
from benchmarks.predict.load import INFER, PREDICT, SAME, STREAM, scores_of
from lockstep_client.connection import Connection

__all__ = ["DEADLINE_S", "RATES", "Known", "Slot", "mixed"]

DEADLINE_S: Final = 0.5
RATES: Final = {"one": 100.0, "hundred": 5.0, "oip": 30.0, "stream": 60.0}
"""Calls a second, by kind; of a stream its requests."""
METHODS: Final = {"one": PREDICT, "hundred": PREDICT, "oip": INFER}
STREAM_LIFE_S: Final = 10.0
"""After so long a stream is ended and another one begun."""


@dataclass(frozen=True)
class Known:
    """The requests of one kind."""

    requests: Sequence[bytes]
    allowed: Sequence[NDArray[np.float64]]
    """What the rows of each may score: with all views, without any set of them, and the prior. Shape (ways, rows)."""

    def is_wrong(self, place: int, method: str, reply: bytes) -> bool:
        """Whether an answer has other scores."""
        scores, allowed = scores_of(method, reply), self.allowed[place]
        return scores.shape != allowed.shape[1:] or not (np.abs(allowed - scores) <= SAME).any(axis=0).all()


@dataclass
class Slot:
    """What became of the calls that were due within some seconds."""

    at_s: float
    """Since the load began."""
    took_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Of each answer, by kind, from the time at which it was due."""
    failed: int = 0
    late: int = 0
    wrong: int = 0
    why: str = ""
    """Of one that failed."""


@contextmanager
def mixed(address: str, known: Mapping[str, Known], seconds: float, slot_s: float) -> Iterator["Pipe[Any, Any]"]:
    """Load a server for so long; the pipe gives a `Slot` after each stretch of `slot_s`, and None at the end."""
    with child(_live, address, known, seconds, slot_s) as pipe:
        yield pipe


def _live(pipe: "Pipe[Any, Any]", address: str, known: Mapping[str, Known], seconds: float, slot_s: float) -> None:
    asyncio.run(_Load(pipe, address, known, seconds, slot_s).run())


class _Load:
    """All kinds side by side."""

    def __init__(
        self, pipe: "Pipe[Any, Any]", address: str, known: Mapping[str, Known], seconds: float, slot_s: float
    ) -> None:
        self._pipe, self._known, self._seconds, self._slot_s = pipe, known, seconds, slot_s
        self._connection = Connection(address, None, None, DEADLINE_S, 300.0, 3)
        self._begun_s = 0.0
        self._slot = Slot(0.0)
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the time is over and every call has ended."""
        # A connection for each kind, or all would be on one, and so at one worker.
        options = [*self._connection.options(), ("grpc.use_local_subchannel_pool", 1)]
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(self._connection.open(grpc.aio, options)) for _ in RATES]
            self._begun_s = time.monotonic()
            kinds = [self._calls(channel, kind) for channel, kind in zip(opened, METHODS, strict=False)]
            reporting = asyncio.create_task(self._report())
            await asyncio.gather(*kinds, self._streams(opened[-1]))
            await asyncio.gather(*self._under_way)
            reporting.cancel()
        self._pipe.send(self._slot)
        self._pipe.send(None)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._slot_s)
            done, self._slot = self._slot, Slot(time.monotonic() - self._begun_s)
            self._pipe.send(done)

    async def _due(self, kind: str, seconds: float) -> AsyncIterator[tuple[int, float]]:
        """The places of the requests that are due and when, for so many seconds."""
        begun, rate = time.monotonic(), RATES[kind]
        for number in range(int(seconds * rate)):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            yield number % len(self._known[kind].requests), due

    async def _calls(self, channel: grpc.aio.Channel, kind: str) -> None:
        call = channel.unary_unary(METHODS[kind], None, None)
        async for place, due in self._due(kind, self._seconds):
            task = asyncio.create_task(self._call(call, kind, place, due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _call(self, call: Any, kind: str, place: int, due: float) -> None:
        try:
            reply = await call(self._known[kind].requests[place], timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            self._fail(error)
        else:
            self._answered(kind, METHODS[kind], place, due, reply)

    async def _streams(self, channel: grpc.aio.Channel) -> None:
        while (left := self._begun_s + self._seconds - time.monotonic()) > 0:
            try:
                await self._stream(channel, min(left, STREAM_LIFE_S))
            except grpc.aio.AioRpcError as error:
                self._fail(error)
                await asyncio.sleep(0.1)

    async def _stream(self, channel: grpc.aio.Channel, seconds: float) -> None:
        sent: list[tuple[int, float]] = []

        async def requests() -> AsyncIterator[bytes]:
            async for place, due in self._due("stream", seconds):
                sent.append((place, due))
                yield self._known["stream"].requests[place]

        answered = 0
        async for reply in channel.stream_stream(STREAM, None, None)(requests()):
            self._answered("stream", STREAM, *sent[answered], reply)
            answered += 1
        self._slot.failed += len(sent) - answered

    def _answered(self, kind: str, method: str, place: int, due: float, reply: bytes) -> None:
        took = time.monotonic() - due
        self._slot.took_s[kind].append(took)
        self._slot.late += took > DEADLINE_S
        self._slot.wrong += self._known[kind].is_wrong(place, method, reply)

    def _fail(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._slot.late += 1
        else:
            self._slot.failed += 1
            self._slot.why = f"{error.code().name}: {error.details()}"
