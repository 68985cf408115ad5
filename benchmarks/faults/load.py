"""Open-loop calls on several connections that are made again when they break: what became of each call, and when."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing.connection import Connection as Pipe
from select import select
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.children import child
from benchmarks.faults.line import UNTOUCHED, Line
from benchmarks.predict.http2 import ENDED
from benchmarks.predict.load import PREDICT
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["DEADLINE_S", "Caller", "Calls", "Fate", "caller"]

DEADLINE_S: Final = 0.5
CONNECTIONS: Final = 4
AGAIN_S: Final = 0.05
"""Between two attempts to connect."""
_NEVER: Final = np.inf


class Fate(IntEnum):
    """What became of a call."""

    ANSWERED = 0
    REFUSED = 1
    """The server ended it without an answer: an error, or no room for it."""
    LOST = 2
    """Its connection broke, or there was none."""
    NEVER = 3
    """Nothing came by its deadline."""


@dataclass(frozen=True)
class Calls:
    """Every call in the order in which they were due. Arrays of shape (calls,)."""

    due_s: NDArray[np.float64]
    """By `time.monotonic`, which all processes of a machine share."""
    took_s: NDArray[np.float64]
    """From then to its end; infinite where there was none."""
    fate: NDArray[np.int8]
    place: NDArray[np.int64]
    """Of its request among all requests."""
    score: NDArray[np.float64]
    """NaN where there was no answer."""
    rung: NDArray[np.int8]
    """-1 where there was no answer."""

    @property
    def in_time(self) -> NDArray[np.bool_]:
        """Answered within the deadline."""
        found: NDArray[np.bool_] = (self.fate == int(Fate.ANSWERED)) & (self.took_s <= DEADLINE_S)
        return found


class _Round:
    """One order on its way."""

    def __init__(self, address: str, requests: Sequence[bytes], due_s: NDArray[np.float64], first: int) -> None:
        self._address, self._requests, self._due = address, requests, due_s.tolist()
        calls = len(due_s)
        self._place = (first + np.arange(calls)) % len(requests)
        self._took, self._fate = np.full(calls, _NEVER), np.full(calls, int(Fate.NEVER), np.int8)
        self._replies: list[bytes | None] = [None] * calls
        self._lines: list[Line | None] = [None] * CONNECTIONS
        self._on_way: dict[Line, dict[int, int]] = {}
        """By connection: the call of each stream."""
        self._dial_at = [0.0] * CONNECTIONS
        self._waiting = deque[int]()
        """Calls for which no connection has room."""

    def run(self) -> Calls:
        """Every call leaves when it is due, or as soon after as this process can."""
        sent, calls = 0, len(self._due)
        give_up = self._due[-1] + 2 * DEADLINE_S
        while sent < calls or ((self._waiting or any(self._on_way.values())) and time.monotonic() < give_up):
            now = time.monotonic()
            self._give_up(now)
            self._send_waiting(now)
            while sent < calls and self._due[sent] <= now:
                self._waiting.append(sent)
                sent += 1
                self._send_waiting(now)
            wait_s = self._due[sent] - time.monotonic() if sent < calls else 0.01
            self._listen(max(0.0, min(wait_s, 0.01)))
        for line in self._on_way:
            line.close()
        return self._calls()

    def _give_up(self, now: float) -> None:
        """A call ends at its deadline, as with gRPC's clients: an answer that comes later finds nobody."""
        for line, calls in self._on_way.items():
            over = [stream for stream, call in calls.items() if self._due[call] + DEADLINE_S < now]
            for stream in over:
                line.cancel(stream)
                call = calls.pop(stream)
                if self._replies[call] is None:
                    self._end(call, Fate.NEVER, now)

    def _send_waiting(self, now: float) -> None:
        """First come, first served; a call whose deadline passes meanwhile is given up."""
        while self._waiting:
            call = self._waiting[0]
            line = self._line(call % CONNECTIONS, now)
            if self._due[call] + DEADLINE_S < now:
                self._end(call, Fate.REFUSED, now)
            elif line is not None:
                left_ms = max(1, round((self._due[call] + DEADLINE_S - now) * 1e3))
                self._on_way[line][line.call(self._requests[self._place[call]], f"{left_ms}m")] = call
            elif any(self._lines):
                return
            else:
                self._end(call, Fate.LOST, now)
            self._waiting.popleft()

    def _line(self, slot: int, now: float) -> Line | None:
        """The connection of a slot, else any other that has room; None where there is none."""
        line = self._lines[slot]
        if line is None or line.leaving:
            line = self._dial(slot, now)
        others = [one for one in self._lines if one is not None and not one.leaving]
        return next((one for one in (line, *others) if one is not None and len(self._on_way[one]) < one.most), None)

    def _dial(self, slot: int, now: float) -> Line | None:
        self._lines[slot] = None
        if now < self._dial_at[slot]:
            return None
        self._dial_at[slot] = now + AGAIN_S
        try:
            line = Line(self._address, PREDICT, f"{round(DEADLINE_S * 1e3)}m")
        except OSError:
            return None
        self._lines[slot], self._on_way[line] = line, {}
        return line

    def _listen(self, wait_s: float) -> None:
        for line in tuple(self._on_way):
            if line.leaving and not self._on_way[line]:
                self._drop(line)
        lines = {line.socket: line for line in self._on_way}
        full = [line.socket for line in self._on_way if self._flushed(line)]
        if not lines:
            time.sleep(wait_s)
            return
        readable, _, _ = select(list(lines), full, [], wait_s)
        for one in readable:
            self._read(lines[one])

    def _flushed(self, line: Line) -> bool:
        try:
            return line.flush()
        except OSError:
            return False  # reading says so too

    def _read(self, line: Line) -> None:
        try:
            events = line.receive()
        except OSError:
            self._drop(line)
            return
        now = time.monotonic()
        for stream, message in events:
            call = self._on_way[line].get(stream)
            if call is None:
                continue  # given up
            if message is UNTOUCHED:
                self._waiting.append(self._on_way[line].pop(stream))
            elif message is not ENDED:
                if now <= self._due[call] + DEADLINE_S:  # else it finds nobody
                    self._replies[call] = message
                    self._end(call, Fate.ANSWERED, now)
            else:
                del self._on_way[line][stream]
                if self._replies[call] is None:
                    self._end(call, Fate.REFUSED, now)

    def _drop(self, line: Line) -> None:
        for call in self._on_way.pop(line).values():
            if self._replies[call] is None:
                self._end(call, Fate.LOST, time.monotonic())
        self._lines = [None if one is line else one for one in self._lines]
        with suppress(OSError):
            line.close()

    def _end(self, call: int, fate: Fate, now: float) -> None:
        self._fate[call], self._took[call] = int(fate), now - self._due[call]

    def _calls(self) -> Calls:
        read = [None if one is None else pb.PredictResponse.FromString(one) for one in self._replies]
        score = np.array([np.nan if one is None else one.scores[0] for one in read])
        rung = np.array([-1 if one is None else one.rung for one in read], np.int8)
        return Calls(np.array(self._due), self._took, self._fate, self._place, score, rung)


@dataclass
class Caller:
    """A process that makes calls, waiting for orders."""

    pipe: Any

    def begin(self, address: str, due_s: NDArray[np.float64], first: int) -> None:
        """Make calls at these times, by `time.monotonic`, beginning with the request at `first`."""
        self.pipe.send((address, due_s, first))

    def end(self) -> Calls:
        """What became of them; waits for the last one."""
        calls: Calls = self.pipe.recv()
        return calls


@contextmanager
def caller(requests: Sequence[bytes]) -> Iterator[Caller]:
    """A process that knows these requests, of one row each, until the block ends."""
    with child(_live, requests) as pipe:
        yield Caller(pipe)


def _live(pipe: "Pipe[Any, Any]", requests: Sequence[bytes]) -> None:
    while True:
        try:
            address, due_s, first = pipe.recv()
        except EOFError:
            return
        pipe.send(_Round(address, requests, due_s, first).run())
