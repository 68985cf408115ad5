"""From a query to scores: the domain, without gRPC, Redis or protobuf.

check the request → read the views → resolve → functions and graph → link. Each step that can fail for a reason outside
the request has a rung to fall to, and every answer says which rung it stands on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lockstep import request
from lockstep.bundle import Bundle
from lockstep.errors import BadColumn, BadRequest, UnknownColumn
from lockstep.plan import Array, Plan
from lockstep.resolve import Resolved, resolve
from lockstep.status import Rung
from serving.deadline import Deadline
from serving.explain import FeatureColumn, explained
from serving.lane import Lane, ViewSummary, found_in_time, scored, summaries
from serving.models import Models
from serving.reader import Reader
from serving.settings import Settings

__all__ = ["Features", "Query", "Scorer", "Scores", "ViewSummary", "now_us"]


@dataclass(frozen=True)
class Query:
    """What a caller asks."""

    model: str
    version: str
    """A version, an alias, or '' for the champion."""
    columns: Mapping[str, Array | request.Values]
    """By name: of length rows or one, int64, float64 or objects that are str. Not yet checked."""
    event_us: NDArray[np.int64] | None
    """t in µs, shape (rows,) or (1,); None: the server's clock."""
    explain: bool = False
    """Whether the answer is to say what the model was given."""


@dataclass(frozen=True)
class Features:
    """What a model is given."""

    model: str
    version: str
    columns: tuple[FeatureColumn, ...]
    rungs: NDArray[np.int8]
    """The Rung of each row. Shape (rows,)."""


@dataclass(frozen=True)
class Scores:
    """The answer to a query."""

    scores: NDArray[np.float64]
    """Probabilities, shape (rows,), in the order of the rows."""
    model: str
    version: str
    views: tuple[ViewSummary, ...]
    rung: Rung
    """The worst rung that any row stands on."""
    features: Features | None = None
    """What the model was given, where the query asks for it."""


def now_us() -> int:
    """The clock of this machine, in µs."""
    return time.time_ns() // 1000


class Scorer:
    """Answers queries with the models it is given and the rows that its reader finds."""

    def __init__(
        self, models: Models, reader: Reader, settings: Settings, *, clock_us: Callable[[], int] = now_us
    ) -> None:
        self._models, self._reader, self._settings, self._clock_us = models, reader, settings, clock_us
        self._lanes: dict[tuple[str, str], Lane] = {}

    async def score(self, query: Query, deadline: Deadline) -> Scores:
        """Scores of every row. Raises BadRequest, UnknownModel, NoModelYet; a failing store or model does not raise."""
        bundle = self._models.find(query.model, query.version)
        given, t = self._checked(bundle.plan, query)
        if query.explain:
            return await self._explained(bundle, given, t, deadline)
        answer = await self._lane(bundle).score(given, t, self._read_by(deadline))
        return Scores(answer.scores, bundle.manifest.name, bundle.manifest.version, answer.views, answer.rung)

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
        given, t = self._checked(bundle.plan, query)
        resolved = await self._resolved(bundle.plan, given, t, deadline)
        return _features(bundle, resolved, len(t), names or bundle.plan.inputs)

    async def _explained(
        self, bundle: Bundle, given: Mapping[str, Array], t: NDArray[np.int64], deadline: Deadline
    ) -> Scores:
        """Scores, and what they were made of: one read for both."""
        resolved = await self._resolved(bundle.plan, given, t, deadline)
        scores, rungs = scored(bundle, resolved, [len(t)])
        features = _features(bundle, resolved, len(t), tuple(bundle.plan.by_name))
        (views,) = summaries(resolved, [len(t)])
        rung = Rung(int(rungs.max()))
        return Scores(scores, features.model, features.version, views, rung, replace(features, rungs=rungs))

    async def _resolved(
        self, plan: Plan, given: Mapping[str, Array], t: NDArray[np.int64], deadline: Deadline
    ) -> Resolved:
        found = await found_in_time(self._reader.read, plan, given, len(t), self._read_by(deadline))
        return resolve(plan, found, given, t)

    def _lane(self, bundle: Bundle) -> Lane:
        name = bundle.manifest.name, bundle.manifest.version
        lane = self._lanes.get(name)
        if lane is None or lane.bundle is not bundle:
            rows, hold_s = self._settings.batch_rows, self._settings.batch_hold_ms / 1e3
            lane = Lane(bundle, self._reader.read, batch_rows=rows, hold_s=hold_s)
            served = self._models.catalogue.bundles
            self._lanes = {**{other: kept for other, kept in self._lanes.items() if other in served}, name: lane}
        return lane

    def _read_by(self, deadline: Deadline) -> float:
        """When the store's share of the time ends, on the monotonic clock."""
        return time.monotonic() + deadline.remaining_s() * self._settings.reader_share

    def _checked(self, plan: Plan, query: Query) -> request.Query:
        t = query.event_us
        if t is None:
            t = np.array([self._clock_us()], np.int64)
        elif self._settings.refuse_event_timestamps:
            raise BadRequest("this server scores at its own clock; send no event_timestamp_us.")
        return request.check(plan, query.columns, t, max_rows=self._settings.max_rows)


def _features(bundle: Bundle, resolved: Resolved, rows: int, names: Sequence[str]) -> Features:
    columns = explained(bundle.plan, bundle.functions, resolved, rows, names)
    return Features(bundle.manifest.name, bundle.manifest.version, tuple(columns), resolved.rungs())
