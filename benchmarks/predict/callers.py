"""Callers on one connection or several: closed-loop for throughput, open-loop for latency, streams.

In a closed loop each caller asks again when it has its answer. In an open loop calls leave at fixed times, and a
latency counts from the time at which its call should have left. One thread and no event loop: `select` waits to the
microsecond, an event loop's timers to the millisecond.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from select import select
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.predict.http2 import ENDED, Connection

__all__ = ["Closed", "Messages", "Open", "Order", "Seen", "Streams", "carry_out"]

LEAD_S: Final = 0.02
"""Between the order and the first arrival of an open loop."""
MOST_CALLS: Final = 100
"""At once on a connection; the scorer takes 128."""
PATIENCE_S: Final = 20.0


@dataclass(frozen=True)
class Closed:
    """Callers that wait for their answers."""

    callers: int
    seconds: float
    connections: int = 1
    """Each caller keeps to one of them."""


@dataclass(frozen=True)
class Open:
    """Calls at a fixed rate."""

    rate: float
    """Calls a second."""
    seconds: float


@dataclass(frozen=True)
class Streams:
    """Streams with some requests of each on the way."""

    streams: int
    ahead: int
    """Of each stream."""
    seconds: float


Order = Closed | Open | Streams
Stream = tuple[Connection, int]
"""One stream of a connection."""


@dataclass(frozen=True)
class Messages:
    """One set of messages: requests as they go over the wire, and what to expect."""

    requests: Sequence[bytes]
    scores: Sequence[NDArray[np.float64]] | None
    """Of each request, shape (rows,); None: whatever comes is right."""


@dataclass
class Seen:
    """What came of an order."""

    rate: float = 0.0
    """Answers a second within the round's time; of an open loop, until the last one came."""
    latency_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    """How late the calls of an open loop left."""
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    """Place of the request, and its answer."""
    failed: int = 0


def carry_out(order: Order, connections: Sequence[Connection], messages: Messages, first: int) -> Seen:
    """Carry out an order, beginning with the message at `first`; only closed loops use more than one connection.

    Raises OSError, TimeoutError where nothing comes.
    """
    round_ = _Round(connections, messages, first)
    match order:
        case Closed():
            round_.closed(order)
        case Open():
            round_.open(order)
        case Streams():
            round_.streams(order)
    return round_.seen


class _Round:
    """One order on its way."""

    def __init__(self, connections: Sequence[Connection], messages: Messages, first: int) -> None:
        self.seen = Seen()
        self._connections = {connection.socket: connection for connection in connections}
        self._messages, self._next = messages, first
        self._sent: dict[Stream, deque[tuple[int, float]]] = {}
        """The requests on their way: the place of each, and when it should have left."""

    def closed(self, order: Closed) -> None:
        """Every caller asks, and asks again when its call has ended."""
        start = time.perf_counter()
        until, in_time = start + order.seconds, 0
        connections = list(self._connections.values())
        for caller in range(order.callers):
            self._call(connections[caller % len(connections)], time.perf_counter())
        while self._sent:
            for stream, message, now in self._events(PATIENCE_S):
                if message is not ENDED:
                    self._note(stream, message, now)
                    in_time += now < until
                    continue
                self._ended(stream)
                if now < until:
                    self._call(stream[0], time.perf_counter())
        self.seen.rate = in_time / order.seconds

    def open(self, order: Open) -> None:
        """Calls leave when they are due, whether or not others have ended."""
        (connection,) = self._connections.values()
        due = (time.perf_counter() + LEAD_S + np.arange(0, order.seconds, 1 / order.rate)).tolist()
        left = 0
        while left < len(due) or self._sent:
            while self._room(due, left) and due[left] <= (now := time.perf_counter()):
                self.seen.late_s.append(now - due[left])
                self._call(connection, due[left])
                left += 1
            next_due = self._room(due, left)
            wait_s = due[left] - time.perf_counter() if next_due else PATIENCE_S
            for stream, message, now in self._events(max(0.0, wait_s), due=next_due):
                if message is ENDED:
                    self._ended(stream)
                else:
                    self._note(stream, message, now)
        self.seen.rate = len(self.seen.latency_s) / max(order.seconds, time.perf_counter() - due[0])

    def _room(self, due: Sequence[float], left: int) -> bool:
        """Whether another call may leave: a connection has so many at once, and gRPC's clients keep the others."""
        return left < len(due) and len(self._sent) < MOST_CALLS

    def streams(self, order: Streams) -> None:
        """Every stream keeps so many requests on their way, until the time is over."""
        (connection,) = self._connections.values()
        start = time.perf_counter()
        until, in_time = start + order.seconds, 0
        for _ in range(order.streams):
            stream = connection, connection.begin()
            self._sent[stream] = deque()
            for _ in range(order.ahead):
                self._send(stream)
        while self._sent:
            for stream, message, now in self._events(PATIENCE_S):
                if message is ENDED:
                    self._ended(stream)
                    continue
                self._note(stream, message, now)
                in_time += now < until
                if now < until:
                    self._send(stream)
                elif not self._sent[stream]:
                    connection.end(stream[1])
        self.seen.rate = in_time / order.seconds

    def _message(self) -> tuple[int, bytes]:
        place = self._next % len(self._messages.requests)
        self._next += 1
        return place, self._messages.requests[place]

    def _call(self, connection: Connection, due: float) -> None:
        place, message = self._message()
        self._sent[connection, connection.call(message)] = deque([(place, due)])

    def _send(self, stream: Stream) -> None:
        place, message = self._message()
        stream[0].send(stream[1], message)
        self._sent[stream].append((place, time.perf_counter()))

    def _events(self, wait_s: float, *, due: bool = False) -> Iterator[tuple[Stream, bytes | None, float]]:
        """Send what was written; then what comes within some time, and when it was read.

        Raises TimeoutError where nothing comes, unless the next call is due then.
        """
        full = [one for one, connection in self._connections.items() if connection.flush()]
        readable, writable, _ = select(list(self._connections), full, [], wait_s)
        for one in readable:
            connection = self._connections[one]
            events, now = connection.receive(), time.perf_counter()
            for stream, message in events:
                yield (connection, stream), message, now
        if not (readable or writable or due):
            raise TimeoutError(f"no answer for {wait_s} s")

    def _note(self, stream: Stream, message: bytes, now: float) -> None:
        place, due = self._sent[stream].popleft()
        self.seen.replies.append((place, message))
        self.seen.latency_s.append(now - due)

    def _ended(self, stream: Stream) -> None:
        """Note that a stream has ended; what was still on its way there has failed."""
        self.seen.failed += len(self._sent.pop(stream))
