"""How much a lane holds at once, and who comes too late: they are refused before they cost anything.

A server that has more to do than it can and takes every call in turn ends with answering nobody: each call has waited
so long that it expires while it is worked on. So where many are under way, a call is refused at once whose time would
not suffice as things are; its place goes to one that can still be answered.
"""

import logging
import math
import random
import time
from collections import deque

from lockstep.bundle import Bundle
from lockstep.errors import Overloaded
from serving.logs import PERIOD_S
from serving.settings import Settings

__all__ = ["Room"]

log = logging.getLogger(__name__)

AGAIN_S = 0.1
"""When a refused caller may come again, on average: jittered, so that those refused together do not come together."""
MANY = 16
"""Requests under way from which on the work that they are tells something of the next one's time."""
RECENT = 8
"""Batches of which the quickest tells what a row costs: a pause of the machine makes any other slow."""
CAUTION = 2.0
"""A call that is still to be read costs more than its share of the lane's work: its time should suffice twice."""


class Room:
    """The room of one lane. What waits and what is under way takes room until it is answered or given up."""

    def __init__(self, model: str, *, max_rows: int, max_requests: int) -> None:
        self._model, self._max_rows, self._max_requests = model, max_rows, max_requests
        self._rows = self._requests = 0
        self._row_s = deque[float](maxlen=RECENT)
        """The work on a row, of the last batches."""
        self._least_s = 0.0
        """The least of them."""
        self._say_again_s = 0.0

    @staticmethod
    def of(bundle: Bundle, settings: Settings) -> "Room":
        """That of a version, as the settings say."""
        most = settings.max_queue_rows, settings.max_queue_requests
        return Room(bundle.manifest.name, max_rows=most[0], max_requests=most[1])

    def take(self, rows: int, left_s: float = math.inf) -> None:
        """Room for one request of so many rows, of which the caller waits so long; an empty lane takes any.

        Raises Overloaded where there is none, or it would come too late.
        """
        full = self._rows + rows > self._max_rows or self._requests >= self._max_requests
        if self._requests and (full or left_s < self._backlog_s):
            self._say_full()
            retry_ms = round(1e3 * AGAIN_S * random.uniform(0.5, 1.5))
            raise Overloaded(self._model, self._requests, self._rows, retry_ms)
        self._rows += rows
        self._requests += 1

    def _say_full(self) -> None:
        """Once a minute, asked before a record is made: to refuse must stay cheap when it happens most."""
        now_s = time.monotonic()
        if now_s >= self._say_again_s:
            self._say_again_s = now_s + PERIOD_S
            facts = {"model": self._model, "requests": self._requests, "rows": self._rows}
            log.warning("too much to do: callers are told to come again later", extra=facts)

    @property
    def idle(self) -> bool:
        """Whether nothing takes room."""
        return not self._requests

    @property
    def needs_s(self) -> float:
        """How long a caller should have left whose call is still to be read; 0 where that cannot be told."""
        return CAUTION * self._backlog_s

    @property
    def _backlog_s(self) -> float:
        """How long the work on all that is here takes; 0 where it is little."""
        return self._rows * self._least_s if self._requests >= MANY else 0.0

    def worked(self, seconds: float, rows: int) -> None:
        """So long it took to check and to answer a batch of so many rows, without the wait for the store."""
        self._row_s.append(seconds / rows)
        self._least_s = min(self._row_s)

    def give_back(self, rows: int) -> None:
        """A request of so many rows has left."""
        self._rows -= rows
        self._requests -= 1
