"""The load, made by a process of its own, the same for every side: what is ordered, and what is reported.

Every answer is kept, and after the round its scores are compared with those expected: the sides answer the same while
they are measured, and no rung of a fallback ladder counts as an answer.
"""

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.children import child
from benchmarks.predict.callers import Closed, Messages, Open, Order, Seen, Streams, carry_out
from benchmarks.predict.http2 import Connection
from protos.inference import grpc_service_pb2 as oip
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = [
    "INFER",
    "PREDICT",
    "STREAM",
    "Closed",
    "Generator",
    "Messages",
    "Open",
    "Order",
    "Report",
    "Streams",
    "Target",
    "generator",
    "scores_of",
]

PREDICT: Final = "/lockstep.v1.Scorer/Predict"
STREAM: Final = "/lockstep.v1.Scorer/PredictStream"
INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
SAME: Final = 1e-6


@dataclass(frozen=True)
class Target:
    """What is asked, and where."""

    address: str
    method: str
    kind: str
    """Name of a set of messages."""


@dataclass(frozen=True)
class Report:
    """What the generator saw."""

    rate: float
    """Answers a second, within the round's time."""
    latency_s: NDArray[np.float64]
    """Of each answer, also after the round's time; shape (answers,)."""
    late_s: NDArray[np.float64]
    """Open loop: how late each call left; else empty."""
    failed: int
    """Requests without an answer."""
    differing: int
    """Answers with another score than expected."""
    cpu: float
    """Share of one core that the generator used."""

    @property
    def answered(self) -> int:
        """Answers, those after the round's time too."""
        return int(self.latency_s.size)


def scores_of(method: str, reply: bytes) -> NDArray[np.float64]:
    """The scores in the answer of a method. Raises KeyError for a method that gives none."""
    return _SCORES[method](reply)


def _streamed(reply: bytes) -> NDArray[np.float64]:
    return np.array(pb.PredictStreamResponse.FromString(reply).response.scores)


def _predicted(reply: bytes) -> NDArray[np.float64]:
    return np.array(pb.PredictResponse.FromString(reply).scores)


def _inferred(reply: bytes) -> NDArray[np.float64]:
    answer = oip.ModelInferResponse.FromString(reply)
    return np.frombuffer(answer.raw_output_contents[0], "<f8")


_SCORES: Final = {PREDICT: _predicted, STREAM: _streamed, INFER: _inferred}


# ---- the process


@dataclass
class Generator:
    """The process, waiting for orders."""

    pipe: Any
    _rounds: int = 0

    def run(self, target: Target, order: Order) -> Report:
        """Carry out one order. Raises RuntimeError with what went wrong there."""
        self._rounds += 1
        self.pipe.send((target, order, self._rounds * 7919))  # each round begins with another message
        report: Report | str = self.pipe.recv()
        if isinstance(report, str):
            raise RuntimeError(f"{target.address} {target.method}: {report}")
        return report


@contextmanager
def generator(messages: Mapping[str, Messages]) -> Iterator[Generator]:
    """A process that knows these messages, until the block ends."""
    with child(_live, messages) as pipe:
        yield Generator(pipe)


def _live(pipe: "Pipe[Any, Any]", messages: Mapping[str, Messages]) -> None:
    """Carry out orders until nobody gives any."""
    gc.disable()  # a round makes no cycles, and a collection would hold it up
    while True:
        try:
            target, order, first = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_report(messages[target.kind], target, order, first))
        except (OSError, TimeoutError) as error:
            pipe.send(repr(error))


def _report(messages: Messages, target: Target, order: Order, first: int) -> Report:
    count = order.connections if isinstance(order, Closed) else 1
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(Connection(target.address, target.method))) for _ in range(count)]
        cpu, started = time.process_time(), time.perf_counter()
        seen = carry_out(order, connections, messages, first)
    used = (time.process_time() - cpu) / (time.perf_counter() - started)
    differing = _differing(messages, target.method, seen)
    return Report(seen.rate, np.array(seen.latency_s), np.array(seen.late_s), seen.failed, differing, used)


def _differing(messages: Messages, method: str, seen: Seen) -> int:
    if messages.scores is None:
        return 0
    return sum(not _same(scores_of(method, reply), messages.scores[place]) for place, reply in seen.replies)


def _same(scores: NDArray[np.float64], expected: NDArray[np.float64]) -> bool:
    return scores.shape == expected.shape and bool((np.abs(scores - expected) <= SAME).all())
