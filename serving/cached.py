"""A cached model: stored predictions answer, and what has none gets the default or is scored live.

To the lane a prediction is a row of a view like any other, and `resolve` judges it by the one rule for time: it is
usable at t where it was made for a time up to t and is no older than the view's TTL.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.cached_model import SCORE, Cache, CachedModel, OnMiss
from lockstep.errors import ModelUnloaded, NoModelYet, UnknownModel
from lockstep.model_store import CHAMPION
from lockstep.prediction_key import PredictionKeys
from lockstep.ragged import Ints
from lockstep.resolve import PlanRows, Resolved, ViewRows, resolve
from lockstep.status import PRESENT, Rung
from serving.answers import Cached, Origin, Scores, ViewSummary
from serving.lane import Lane
from serving.metrics import LaneMeter, current
from serving.predictions import Found, Predictions
from serving.reader import Reader
from serving.reading import found_in_time
from serving.redis import RedisClient, open_client
from serving.room import Room
from serving.scoring import scored, summaries
from serving.settings import Settings
from serving.single_flight import Flight, Missing, Scored, SingleFlight
from serving.strict import refusal_of_cached
from serving.together import Joined

if TYPE_CHECKING:
    from serving.scorer import Served

__all__ = ["CachedLane", "CachedModels"]

HIT, DEFAULT, LIVE = np.int8(Origin.HIT), np.int8(Origin.DEFAULT), np.int8(Origin.LIVE)
_ALL_PRESENT, _ALL_HITS, _LIVE = bytes([PRESENT]), bytes([HIT]), bytes([LIVE])
"""For a look at all bytes of an array at once."""
_RUNGS = tuple(Rung)

log = logging.getLogger(__name__)


class Asker(Protocol):
    """Who waits in a lane, since when, and how long the store may take."""

    since_s: float
    read_by_s: float
    strict: bool

    def done(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def set_result(self, result: Scores, /) -> None:
        """Answer."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Refuse."""
        ...


class CachedModels:
    """Makes the lanes of cached models. They share one connection, opened with the first of them."""

    def __init__(self, models: "Served", reader: Reader, settings: Settings) -> None:
        self._models, self._reader, self._settings = models, reader, settings
        self._client: RedisClient | None = None

    def lane(self, bundle: Bundle, meter: LaneMeter | None) -> "CachedLane":
        """The lane of a bundle of kind cached. Raises BadConnection."""
        settings = self._settings
        if self._client is None:
            self._client = open_client(settings.redis_where, **settings.redis_times)
        live = _Live(self._models, self._reader, bundle)
        return CachedLane(bundle, Predictions(bundle, self._client, live.champion), live, settings, meter)

    async def close(self) -> None:
        """Give the connection back."""
        if self._client is not None:
            await self._client.close()


class _Live:
    """The model behind a cached one."""

    def __init__(self, models: "Served", reader: Reader, bundle: Bundle) -> None:
        self._models, self._reader = models, reader
        self._cache = _cache(bundle)

    def champion(self) -> str:
        """The version that the champion is now; '' where there is none."""
        return self._models.catalogue.aliases.get((self._cache.model, CHAMPION), "")

    async def score(self, rows: Missing, read_by_s: float) -> Scored | None:
        """Scores as the model itself would answer them; None where this process does not serve that version."""
        bundle = self._bundle(rows.version)
        if bundle is None:
            return None
        current.set(None)  # the stopwatch is that of the batch, which goes on without this task
        found = await found_in_time(self._reader.read, bundle.plan, rows.given, len(rows.t), read_by_s)
        resolved = resolve(bundle.plan, found, rows.given, rows.t)
        return Scored(*scored(bundle, resolved, [resolved.rows]))

    def _bundle(self, version: str) -> Bundle | None:
        name = self._cache.model
        try:
            bundle = self._models.find(name, version)
        except (UnknownModel, ModelUnloaded, NoModelYet) as error:
            log.error("a miss cannot be scored live: %s", error, extra={"reason": f"live {name}"})
            return None
        if PredictionKeys(bundle.plan).sha256 != self._cache.keys:
            log.error(
                "%s %s takes other columns; publish the cached model again", name, version, extra={"reason": name}
            )
            return None
        return bundle


def _cache(bundle: Bundle) -> Cache:
    assert isinstance(bundle.graph, CachedModel)
    return bundle.graph.cache


@dataclass(frozen=True)
class _Answers:
    """The answers of a batch, row by row; the misses are filled in as their scores come."""

    version: str
    scores: NDArray[np.float64]
    rungs: NDArray[np.int8]
    origins: NDArray[np.int8]
    age_us: Ints

    @staticmethod
    def of(resolved: Resolved, found: Found | None, t: Ints) -> "_Answers":
        """Hits, and the default for all others."""
        if found is not None and not resolved.found.tobytes().strip(_ALL_PRESENT):  # nearly always
            ages = t - resolved.event_us[0]
            return _Answers(found.version, resolved.columns[SCORE], found.rungs, np.zeros(len(t), np.int8), ages)
        hits = resolved.found[0] == PRESENT
        return _Answers(
            "" if found is None else found.version,
            resolved.columns[SCORE],
            np.where(hits, np.int8(Rung.PRIOR) if found is None else found.rungs, np.int8(Rung.PRIOR)),
            np.where(hits, HIT, DEFAULT),
            np.where(hits, t - resolved.event_us[0], 0),
        )

    def put(self, row: int, flight: Flight, t_us: int) -> None:
        """Let a row have the score that a flight brought, if it brought one."""
        made = None if flight.done.cancelled() else flight.done.result()
        if made is not None:
            self.scores[row], self.rungs[row] = made.scores[flight.place], made.rungs[flight.place]
            self.origins[row], self.age_us[row] = LIVE, t_us - flight.t_us


class CachedLane(Lane):
    """The requests to one cached model."""

    def __init__(
        self, bundle: Bundle, predictions: Predictions, live: _Live, settings: Settings, meter: LaneMeter | None
    ) -> None:
        super().__init__(
            bundle,
            predictions.read,
            max_rows=settings.max_rows,
            batch_rows=settings.batch_rows,
            hold_s=settings.batch_hold_ms / 1e3,
            room=Room.of(bundle, settings),
            meter=meter,
        )
        self._cache = _cache(bundle)
        self._flights = SingleFlight(
            live.score,
            lambda rows, made: predictions.keep(rows.version, rows.requests, *made, rows.t),
            bundle.plan.views[0].ttl_us,
        )
        self._finishing: set[asyncio.Task[None]] = set()

    def _answer(self, batch: Sequence[Asker], joined: Joined, found: Mapping[str, ViewRows] | PlanRows) -> None:
        """Answer every request that needs no live score; the others when theirs are there."""
        read = found if isinstance(found, Found) else None  # else it is late, and gets what is there at once
        resolved = resolve(self.bundle.plan, found, joined.given, joined.t)
        answers, views = _Answers.of(resolved, read, joined.t), summaries(resolved, joined.lengths)
        flights = {} if read is None else self._flights_of(read, joined, answers, batch)
        waiting = []
        for one, end, length, view in zip(batch, accumulate(joined.lengths), joined.lengths, views, strict=True):
            part = slice(end - length, end)
            awaited = {row: flights[row] for row in range(part.start, end) if row in flights} if flights else {}
            if awaited:
                waiting.append(self._later(self._finish(one, answers, part, view, awaited, joined.t)))
            else:
                self._tell(one, answers, part, view)
        count = partial(self._count, joined, resolved, answers.rungs, views, [one.since_s for one in batch])
        if waiting:
            self._later(_after(waiting, count))
        else:
            count()

    def _flights_of(
        self, read: Found, joined: Joined, answers: "_Answers", batch: Sequence[Asker]
    ) -> dict[int, Flight]:
        """By row: the live score that it waits for."""
        all_hits = not answers.origins.tobytes().strip(_ALL_HITS)
        if all_hits or not read.version or self._cache.on_miss is OnMiss.DEFAULT:
            return {}
        missing = np.flatnonzero(answers.origins)
        whole = Missing(read.version, read.requests, joined.given, joined.t)
        read_by_s = max(one.read_by_s for one in batch)
        return dict(zip(missing.tolist(), self._flights.join(whole.take(missing), read_by_s), strict=True))

    def _later(self, finishing: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(finishing)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return task

    async def _finish(
        self,
        one: Asker,
        answers: _Answers,
        part: slice,
        views: tuple[ViewSummary, ...],
        flights: Mapping[int, Flight],
        t: Ints,
    ) -> None:
        """Wait for the scores of the misses as long as the request has time; what is not there keeps the default."""
        left_s = max(one.read_by_s - time.monotonic(), 0.0)
        await asyncio.wait({flight.done for flight in flights.values()}, timeout=left_s)
        for row, flight in flights.items():
            if flight.done.done():
                answers.put(row, flight, int(t[row]))
        self._tell(one, answers, part, views)

    def _tell(self, one: Asker, answers: _Answers, part: slice, views: tuple[ViewSummary, ...]) -> None:
        if one.done():
            return
        manifest, rungs, origins = self.bundle.manifest, answers.rungs[part], answers.origins[part]
        if one.strict and rungs.any():
            one.set_exception(refusal_of_cached(rungs, origins, views))
            return
        made = Cached(self._cache.model, answers.version, origins, answers.age_us[part], rungs)
        seen = views
        if _LIVE in origins.tobytes():
            seen = tuple(view._replace(defaulted=int((origins == DEFAULT).sum())) for view in views)
        worst = _RUNGS[max(rungs.tobytes())]
        one.set_result(Scores(answers.scores[part], manifest.name, manifest.version, seen, worst, cached=made))


async def _after(tasks: "Sequence[asyncio.Task[None]]", call: Callable[[], None]) -> None:
    await asyncio.wait(tasks)
    call()
