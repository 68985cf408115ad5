"""Open-loop load: requests leave at fixed arrival times, whether or not earlier ones were answered.

A closed loop waits for each answer before it asks again, so a server that stalls is simply asked less, and the stall is
counted once. Here every latency counts from the moment at which the request should have left: waiting in line is part
of it (G. Tene, "How NOT to Measure Latency": coordinated omission). The load comes from processes of its own.
"""

import asyncio
import gc
import multiprocessing
import selectors
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from multiprocessing.connection import Connection
from typing import Any

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from lockstep.cli.dial import Dial
from lockstep.errors import NoAnswer
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["Generators", "Spacing", "Step", "Target", "arrivals", "generators"]

BUSY = 0.9
"""A generator that uses more of one core than this has no time to send on time: Python runs on one core."""
LEAD_S = 0.02
"""Between the order to begin and the first arrival."""
PREDICT = "/lockstep.v1.Scorer/Predict"


class Spacing(StrEnum):
    """How arrivals are spread over time."""

    POISSON = "poisson"
    """Independent of each other, as those of many callers: exponential gaps."""
    FIXED = "fixed"
    """Evenly."""


@dataclass(frozen=True)
class Target:
    """What every generator sends, and where to."""

    dial: Dial
    messages: Sequence[bytes]
    """Requests as they go over the wire, sent in turn."""
    connections: int
    """Of each generator, used in turn: a server of several workers shares out connections, not requests."""


@dataclass(frozen=True)
class Order:
    """One generator's part of a step."""

    at_s: NDArray[np.float64]
    """When each request should leave, in seconds from the start."""
    first: int
    """Which message is sent first."""


@dataclass(frozen=True)
class Report:
    """What one generator saw."""

    latency_s: NDArray[np.float64]
    """From when a request should have left to its answer; NaN where it failed. Shape (requests,)."""
    late_s: NDArray[np.float64]
    """How late each request left. Shape (requests,)."""
    failed: Counter[str]
    """Failures by status code."""
    rungs: Counter[str]
    """Answers by rung of the fallback ladder."""
    lasted_s: float
    """From the first arrival to the last answer."""
    cpu: float
    """Share of one core that the generator used."""


@dataclass(frozen=True)
class Step:
    """What all generators saw at one rate."""

    rate: float
    """Requests a second that should have left."""
    reports: Sequence[Report]

    @cached_property
    def latency_s(self) -> NDArray[np.float64]:
        """Of the requests that were answered, sorted."""
        every = np.concatenate([one.latency_s for one in self.reports])
        return np.sort(every[~np.isnan(every)])

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the latency; NaN where there are too few answers for one to lie beyond it."""
        if self.latency_s.size * (1 - percent / 100) < 1:
            return float("nan")
        return float(np.percentile(self.latency_s, percent)) * 1e3

    @property
    def max_ms(self) -> float:
        """The longest latency; NaN where nothing was answered."""
        return float(self.latency_s[-1]) * 1e3 if self.latency_s.size else float("nan")

    @property
    def requests(self) -> int:
        """How many were sent."""
        return sum(one.latency_s.size for one in self.reports)

    @property
    def failed(self) -> Counter[str]:
        """Failures by status code."""
        return sum((one.failed for one in self.reports), Counter())

    @property
    def rungs(self) -> Counter[str]:
        """Answers by rung of the fallback ladder."""
        return sum((one.rungs for one in self.reports), Counter())

    @property
    def answered_per_s(self) -> float:
        """Answers a second, until the last one was in."""
        return self.latency_s.size / max(one.lasted_s for one in self.reports)

    @property
    def late_ms(self) -> float:
        """How late the requests left, 99th percentile."""
        return float(np.percentile(np.concatenate([one.late_s for one in self.reports]), 99)) * 1e3

    @property
    def cpu(self) -> float:
        """Share of one core that the busiest generator used."""
        return max(one.cpu for one in self.reports)

    @property
    def generator_was_the_limit(self) -> bool:
        """Whether the requests left so late that the figures are about the generator, not about the server."""
        longest = np.nan_to_num([self.percentile_ms(99), self.max_ms])
        return self.cpu > BUSY or self.late_ms > max(1.0, 0.5 * float(longest[0] or longest[1]))


def arrivals(rate: float, seconds: float, spacing: Spacing, rng: np.random.Generator) -> NDArray[np.float64]:
    """Times from 0 up to `seconds` at which requests leave, at least one."""
    if spacing is Spacing.FIXED:
        return np.arange(0, seconds, 1 / rate)
    drawn = np.cumsum(rng.exponential(1 / rate, size=int(rate * seconds + 10 * (rate * seconds) ** 0.5 + 10)))
    return drawn[: max(1, int(np.searchsorted(drawn, seconds)))]


@dataclass(frozen=True)
class Generators:
    """Processes that wait for orders."""

    address: str
    """Of the server."""
    pipes: Sequence[Connection]
    """One a process."""

    def step(self, rate: float, seconds: float, spacing: Spacing, rng: np.random.Generator) -> Step:
        """Load the server for so long, at so many requests a second in all."""
        times = arrivals(rate, seconds, spacing, rng)
        for place, pipe in enumerate(self.pipes):
            pipe.send(Order(times[place :: len(self.pipes)], int(rng.integers(2**31))))
        try:
            return Step(rate, [pipe.recv() for pipe in self.pipes])
        except EOFError as error:
            raise NoAnswer(self.address, "UNAVAILABLE", "a load generator ended; what it said stands above.") from error


@contextmanager
def generators(target: Target, processes: int) -> Iterator[Generators]:
    """So many load generators, until the block ends."""
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    pairs = [context.Pipe() for _ in range(processes)]
    children = [context.Process(target=_generate, args=(theirs, target), daemon=True) for _, theirs in pairs]
    for child in children:
        child.start()
    for _, theirs in pairs:
        theirs.close()  # or the end of a child would go unnoticed
    try:
        yield Generators(target.dial.address, [ours for ours, _ in pairs])
    finally:
        for child in children:
            child.terminate()
            child.join()


def _generate(pipe: Connection, target: Target) -> None:
    """A generator's life: carry out orders until nobody gives any."""
    # select takes microseconds; epoll, asyncio's choice, rounds every wait up to a millisecond.
    with closing(asyncio.SelectorEventLoop(selectors.SelectSelector())) as loop:
        asyncio.set_event_loop(loop)
        stubs = loop.run_until_complete(_dial(target))
        gc.disable()  # a collection would hold up what is due
        while True:
            pipe.send(loop.run_until_complete(_carry_out(stubs, target, pipe.recv())))
            gc.collect()


async def _dial(target: Target) -> list[Any]:
    """One stub a connection."""
    own = [("grpc.use_local_subchannel_pool", 1)]  # else gRPC gives all channels of a process one connection
    connection = target.dial.connection()
    channels = [connection.open(grpc.aio, own) for _ in range(target.connections)]
    for channel in channels:
        await asyncio.wait_for(channel.channel_ready(), connection.timeout_s)
    return [partial(channel.unary_unary(PREDICT), metadata=connection.metadata()) for channel in channels]


async def _carry_out(stubs: list[Any], target: Target, order: Order) -> Report:
    """Send every request at its time, then wait for the answers."""
    run = _Run(order.at_s.size)
    loop, cpu, tasks = asyncio.get_running_loop(), time.process_time(), []
    start = loop.time() + LEAD_S
    for place, at_s in enumerate(order.at_s):
        due = start + float(at_s)
        await asyncio.sleep(max(0.0, due - loop.time()))
        message = target.messages[(order.first + place) % len(target.messages)]
        call = stubs[place % len(stubs)](message, timeout=target.dial.timeout_s)
        tasks.append(asyncio.create_task(run.take(place, due, call)))
        run.late_s[place] = loop.time() - due
    await asyncio.gather(*tasks)
    lasted = loop.time() - start
    used = (time.process_time() - cpu) / lasted
    return Report(run.latency_s, run.late_s, run.failed, _rungs(run.replies), lasted, used)


def _rungs(replies: Sequence[bytes]) -> Counter[str]:
    """Answers by rung of the fallback ladder; read when nothing is due any more."""
    rungs = Counter(pb.PredictResponse.FromString(reply).rung for reply in replies)
    return Counter({pb.Rung.Name(rung).removeprefix("RUNG_"): count for rung, count in rungs.items()})


class _Run:
    """What a step gathers."""

    def __init__(self, requests: int) -> None:
        self.latency_s, self.late_s = np.full(requests, np.nan), np.zeros(requests)
        self.failed: Counter[str] = Counter()
        self.replies: list[bytes] = []

    async def take(self, place: int, due: float, call: Any) -> None:
        """Wait for one answer."""
        try:
            reply: bytes = await call
        except grpc.RpcError as error:
            self.failed[error.code().name] += 1
            return
        self.latency_s[place] = asyncio.get_running_loop().time() - due
        self.replies.append(reply)
