"""From a query to scores: the domain, without gRPC, Redis or protobuf.

check the request → read the views → resolve → functions and graph → link. Each step that can fail for a reason outside
the request has a rung to fall to, and every answer says which rung it stands on.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lockstep import request
from lockstep.bundle import Bundle
from lockstep.errors import BadColumn, BadRequest, UnknownColumn
from lockstep.model import CACHED
from lockstep.plan import Array
from lockstep.resolve import Resolved, resolve
from lockstep.status import Rung
from lockstep.times import now_us
from serving.answers import Features, Scores, ViewSummary
from serving.deadline import Deadline
from serving.explain import explained
from serving.lane import Lane
from serving.metrics import Batch, FoundRows, Load, Meters
from serving.mixes import Mixes
from serving.models import Catalogue
from serving.reader import Reader
from serving.reading import Read, found_in_time
from serving.room import Room
from serving.scoring import scored, summaries
from serving.settings import Settings
from serving.strict import refusal
from serving.together import Unchecked

if TYPE_CHECKING:
    from serving.cached import CachedModels

__all__ = ["Features", "Query", "Scorer", "Scores", "ViewSummary"]


NO_FEATURES: Mapping[str, Array | request.Values] = MappingProxyType({})


class Query(NamedTuple):
    """What a caller asks."""

    model: str
    version: str
    """A version, an alias, or '' for the champion."""
    columns: Mapping[str, Array | request.Values]
    """By name: of length rows or one, int64, float64 or objects that are str. Not yet checked."""
    event_us: Array | request.Values | None
    """t in µs, integers, of shape (rows,) or (1,); None: the server's clock."""
    explain: bool = False
    """Whether the answer is to say what the model was given."""
    strict: bool = False
    """Whether an error is wanted rather than an answer below the first rung."""
    sent: Mapping[str, Array | request.Values] = NO_FEATURES
    """Stored features that the caller sends, as `columns`; they win over what is stored."""


class Served(Protocol):
    """Where a scorer finds its bundles: `serving.models.Models`, which follows a store, or fewer."""

    @property
    def catalogue(self) -> Catalogue:
        """What can be served now."""
        ...

    def find(self, name: str, version: str) -> Bundle:
        """The bundle that a version or an alias means. Raises UnknownModel, NoModelYet."""
        ...


class Scorer:
    """Answers queries with the models it is given and the rows that its reader finds."""

    def __init__(
        self,
        models: Served,
        reader: Reader,
        settings: Settings,
        *,
        clock_us: Callable[[], int] = now_us,
        meters: Meters | None = None,
    ) -> None:
        """`meters` are told what is done."""
        self._meters = meters
        self._models, self._reader, self._settings, self._clock_us = models, reader, settings, clock_us
        self._lanes: dict[int, Lane] = {}
        """By identity of the plan."""
        self._mixes = Mixes()
        self._cached: CachedModels | None = None

    def loads(self) -> dict[tuple[str, str], Load]:
        """What there is to do now, by model and version."""
        loads: dict[tuple[str, str], Load] = {}
        for lane in self._lanes.values():
            version = lane.bundle.manifest.name, lane.bundle.manifest.version
            before = loads.get(version, Load(0, 0))
            loads[version] = Load(before.waiting + lane.load.waiting, before.batches + lane.load.batches)
        return loads

    def needs_s(self) -> float:
        """How long a caller should have left, whichever of the models at work it asks; 0 where any time may do."""
        rooms = [lane.room for lane in self._lanes.values()]
        return min((room.needs_s for room in rooms if room is not None and not room.idle), default=0.0)

    async def score(self, query: Query, deadline: Deadline) -> Scores:
        """Scores of every row. Raises BadRequest, UnknownModel, NoModelYet; a failing store or model does not raise."""
        return await self.start(query, deadline)

    def start(self, query: Query, deadline: Deadline) -> "asyncio.Future[Scores]":
        """The same, to be awaited or cancelled later. Raises UnknownModel and NoModelYet at once."""
        bundle, columns = self._models.find(query.model, query.version), query.columns
        if query.sent:
            bundle, columns = self._mixes.of(bundle, columns, query.sent)
        unchecked = Unchecked(columns, self._times(query))
        if query.explain:
            return asyncio.ensure_future(self._explained(bundle, unchecked, deadline, strict=query.strict))
        read_by_s = self._read_by(deadline)
        return self._lane(bundle).score(unchecked, read_by_s, answer_by_s=deadline.at_s, strict=query.strict)

    async def close(self) -> None:
        """Give back what was opened for cached models."""
        if self._cached is not None:
            await self._cached.close()

    async def features(self, query: Query, names: Sequence[str], deadline: Deadline) -> Features:
        """What the model is given for every row: the columns named, else its inputs. Raises UnknownColumn, and what
        `score` raises.
        """
        bundle = self._models.find(query.model, query.version)
        for place, name in enumerate(names):
            if name not in bundle.plan.by_name:
                raise UnknownColumn(name, bundle.plan.by_name)
            if place > len(bundle.plan.by_name) or name in names[:place]:
                raise BadColumn(name, "asked for twice; every feature is named at most once.")
        resolved, _ = await self._resolved(bundle, Unchecked(query.columns, self._times(query)), deadline)
        return _features(bundle, resolved, names or bundle.plan.inputs)

    async def _explained(self, bundle: Bundle, unchecked: Unchecked, deadline: Deadline, *, strict: bool) -> Scores:
        """Scores, and what they were made of: one read for both."""
        if bundle.manifest.kind == CACHED.name:
            return _with_rungs(await self._lane(bundle).score(unchecked, self._read_by(deadline), strict=strict))
        resolved, t = await self._resolved(bundle, unchecked, deadline)
        scores, rungs = scored(bundle, resolved, [resolved.rows])
        refused = refusal(resolved, rungs, slice(0, resolved.rows)) if strict else None
        if refused is not None:
            raise refused
        features = _features(bundle, resolved, tuple(bundle.plan.by_name))
        (views,) = summaries(resolved, [resolved.rows])
        rung = Rung(int(rungs.max()))
        if self._meters is not None:
            found = FoundRows(resolved.found, resolved.event_us, t, [views])
            self._lane(bundle)  # its meter lives as long
            self._meters.lane(bundle).answered(Batch([resolved.rows], rungs, found))
        return Scores(scores, features.model, features.version, views, rung, replace(features, rungs=rungs))

    async def _resolved(
        self, bundle: Bundle, unchecked: Unchecked, deadline: Deadline
    ) -> tuple[Resolved, NDArray[np.int64]]:
        """The plan's columns, and t of each row."""
        plan = bundle.plan
        given, t = request.check(plan, unchecked.columns, unchecked.t, max_rows=self._settings.max_rows)
        found = await found_in_time(self._reads(bundle), plan, given, len(t), self._read_by(deadline))
        return resolve(plan, found, given, t), t

    def _reads(self, bundle: Bundle) -> Read:
        """What reads its stored columns."""
        return self._lane(bundle).read if bundle.manifest.kind == CACHED.name else self._reader.read

    def _lane(self, bundle: Bundle) -> Lane:
        lane = self._lanes.get(id(bundle.plan))
        if lane is None or lane.bundle is not bundle:
            lane = self._new_lane(bundle)
            self._drop_lanes()
            self._lanes[id(bundle.plan)] = lane
        return lane

    def _drop_lanes(self) -> None:
        """Those of plans that nobody can ask for any more. What is under way in them ends as it would."""
        current = {id(one.plan) for one in (*self._models.catalogue.bundles.values(), *self._mixes.bundles)}
        for plan in self._lanes.keys() - current:
            lane = self._lanes.pop(plan)
            if self._meters is not None:
                self._meters.no_more(lane.bundle)

    def _new_lane(self, bundle: Bundle) -> Lane:
        settings, meter = self._settings, None if self._meters is None else self._meters.lane(bundle)
        if bundle.manifest.kind == CACHED.name:
            return self._cached_models().lane(bundle, meter)
        return Lane(
            bundle,
            self._reader.read,
            max_rows=settings.max_rows,
            batch_rows=settings.batch_rows,
            hold_s=settings.batch_hold_ms / 1e3,
            room=Room.of(bundle, settings),
            meter=meter,
        )

    def _cached_models(self) -> "CachedModels":
        """What cached models need, Redis among it, is imported when the first of them is met."""
        if self._cached is None:
            from serving.cached import CachedModels

            self._cached = CachedModels(self._models, self._reader, self._settings)
            # Predictions are kept with it. To import it with the first of them would hold up the loop, and 9 MB are too
            # much for those that keep none.
            asyncio.get_running_loop().run_in_executor(None, import_module, "pyarrow.compute")
        return self._cached

    def _read_by(self, deadline: Deadline) -> float:
        """When the store's share of the time ends, on the monotonic clock."""
        return time.monotonic() + deadline.remaining_s() * self._settings.reader_share

    def _times(self, query: Query) -> Array | request.Values:
        if query.event_us is None:
            return request.Ints([self._clock_us()])
        if self._settings.refuse_event_timestamps:
            raise BadRequest("this server scores at its own clock; send no event_timestamp_us.")
        return query.event_us


def _features(bundle: Bundle, resolved: Resolved, names: Sequence[str]) -> Features:
    columns = explained(bundle.plan, bundle.functions, resolved, resolved.rows, names)
    return Features(bundle.manifest.name, bundle.manifest.version, tuple(columns), resolved.rungs())


def _with_rungs(scores: Scores) -> Scores:
    """A cached model's answer with the rung of each row. What was given to the model then is not known any more."""
    assert scores.cached is not None
    return scores._replace(features=Features(scores.model, scores.version, (), scores.cached.rungs))
