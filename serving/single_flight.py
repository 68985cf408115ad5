"""One computation for many callers of one key.

Whoever asks for a row that is being scored already waits for that score, if it may be used at the caller's own t by the
one rule for time: not made for a later t, and not older than the TTL.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array
from lockstep.ragged import Ints

__all__ = ["Flight", "Missing", "Scored", "SingleFlight"]

log = logging.getLogger(__name__)


class Missing(NamedTuple):
    """Rows without a usable prediction."""

    version: str
    requests: Sequence[bytes]
    """Their canonical bytes."""
    given: Mapping[str, Array]
    """By column, shape (rows,)."""
    t: Ints
    """µs, shape (rows,)."""

    def take(self, rows: Sequence[int] | Ints) -> "Missing":
        """Some of the rows."""
        given = {name: values[rows] for name, values in self.given.items()}
        return Missing(self.version, [self.requests[row] for row in rows], given, self.t[rows])


class Scored(NamedTuple):
    """Probabilities and the rungs that they stand on. Each of shape (rows,)."""

    scores: NDArray[np.float64]
    rungs: NDArray[np.int8]


@dataclass(eq=False)
class _Batch:
    """Rows that are scored together."""

    done: "asyncio.Future[Scored | None]"


class Flight(NamedTuple):
    """The score of one row, on its way."""

    batch: _Batch
    place: int
    """Of the row in its batch."""
    t_us: int

    @property
    def done(self) -> "asyncio.Future[Scored | None]":
        """What is found for the whole batch; None where the model is not at hand."""
        return self.batch.done


class SingleFlight:
    """The rows that are being scored."""

    def __init__(
        self,
        score: Callable[[Missing, float], Awaitable[Scored | None]],
        keep: Callable[[Missing, Scored], Awaitable[None]],
        ttl_us: int | None,
    ) -> None:
        """`score(rows, read_by_s)` makes the scores, `keep` stores them."""
        self._score, self._keep, self._ttl_us = score, keep, ttl_us
        self._flights: dict[tuple[str, bytes], Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, missing: Missing, read_by_s: float) -> list[Flight]:
        """A flight for each row: one that is under way, or a new one."""
        batch = _Batch(asyncio.get_running_loop().create_future())
        flights, fresh = list[Flight](), list[int]()
        for row, (request, t_us) in enumerate(zip(missing.requests, missing.t.tolist(), strict=True)):
            flight = self._flights.get((missing.version, request))
            if flight is None or not self._usable(flight, t_us):
                flight = self._flights[missing.version, request] = Flight(batch, len(fresh), t_us)
                fresh.append(row)
            flights.append(flight)
        if fresh:
            self._start(batch, missing.take(fresh), read_by_s)
        return flights

    def _usable(self, flight: Flight, t_us: int) -> bool:
        return flight.t_us <= t_us and (self._ttl_us is None or t_us - flight.t_us <= self._ttl_us)

    def _start(self, batch: _Batch, rows: Missing, read_by_s: float) -> None:
        task = asyncio.get_running_loop().create_task(self._run(batch, rows, read_by_s))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, batch: _Batch, rows: Missing, read_by_s: float) -> None:
        """Score the rows and tell who waits; the flights stay until the scores are stored, where others find them."""
        try:
            scored = await self._score(rows, read_by_s)
            batch.done.set_result(scored)
            if scored is not None:
                await self._keep(rows, scored)
        finally:
            batch.done.cancel()  # of no effect where the result is there
            for request in rows.requests:
                flight = self._flights.get((rows.version, request))
                if flight is not None and flight.batch is batch:
                    del self._flights[rows.version, request]

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("live scoring failed", exc_info=task.exception(), extra={"reason": "live scoring failed"})
