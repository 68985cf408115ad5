"""How much a lane holds at once: beyond that a request is refused before it costs anything."""

import logging
import random
import time

from lockstep.bundle import Bundle
from lockstep.errors import Overloaded
from serving.logs import PERIOD_S
from serving.settings import Settings

__all__ = ["Room"]

log = logging.getLogger(__name__)

AGAIN_S = 0.1
"""When a refused caller may come again, on average: jittered, so that those refused together do not come together."""


class Room:
    """The room of one lane. What waits and what is under way takes room until it is answered or given up."""

    def __init__(self, model: str, *, max_rows: int, max_requests: int) -> None:
        self._model, self._max_rows, self._max_requests = model, max_rows, max_requests
        self._rows = self._requests = 0
        self._say_again_s = 0.0

    @staticmethod
    def of(bundle: Bundle, settings: Settings) -> "Room":
        """That of a version, as the settings say."""
        most = settings.max_queue_rows, settings.max_queue_requests
        return Room(bundle.manifest.name, max_rows=most[0], max_requests=most[1])

    def take(self, rows: int) -> None:
        """Room for one request of so many rows; an empty lane takes any. Raises Overloaded where there is none."""
        if self._requests and (self._rows + rows > self._max_rows or self._requests >= self._max_requests):
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
            log.warning("no room: callers are told to come again later", extra=facts)

    def give_back(self, rows: int) -> None:
        """A request of so many rows has left."""
        self._rows -= rows
        self._requests -= 1
