"""From a query to scores: the domain, without gRPC, Redis or protobuf.

check the request → read the views → resolve → functions and graph → link. Each step that can fail for a reason outside
the request has a rung to fall to, and every answer says which rung it stands on.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockstep import request
from lockstep.bundle import Bundle
from lockstep.errors import BadRequest
from lockstep.plan import Array, Plan
from lockstep.resolve import Resolved, ViewRows, resolve
from lockstep.status import Rung, Status
from serving.deadline import Deadline
from serving.models import Models
from serving.reader import Reader
from serving.settings import Settings

__all__ = ["Query", "Scorer", "Scores", "ViewSummary", "now_us"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Query:
    """What a caller asks."""

    model: str
    version: str
    """A version, an alias, or '' for the champion."""
    columns: Mapping[str, Array]
    """By name: shape (rows,) or (1,), int64, float64 or objects that are str. Not yet checked."""
    event_us: NDArray[np.int64] | None
    """t in µs, shape (rows,) or (1,); None: the server's clock."""


@dataclass(frozen=True)
class ViewSummary:
    """What was found for one view over all rows of a query."""

    view: str
    counts: Mapping[Status, int]
    """Feature values by status, only those that occurred; they add up to rows × features of the view."""
    defaulted: int
    """Feature values in place of which the plan's default was used."""


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


def now_us() -> int:
    """The clock of this machine, in µs."""
    return time.time_ns() // 1000


class Scorer:
    """Answers queries with the models it is given and the rows that its reader finds."""

    def __init__(
        self, models: Models, reader: Reader, settings: Settings, *, clock_us: Callable[[], int] = now_us
    ) -> None:
        self._models, self._reader, self._settings, self._clock_us = models, reader, settings, clock_us

    async def score(self, query: Query, deadline: Deadline) -> Scores:
        """Scores of every row. Raises BadRequest, UnknownModel, NoModelYet; a failing store or model does not raise."""
        bundle = self._models.find(query.model, query.version)
        given, t = self._checked(bundle.plan, query)
        found = await self._read(bundle.plan, given, len(t), deadline)
        resolved = resolve(bundle.plan, found, given, t)
        # On the event loop: a run takes tens of microseconds, as long as the way to a thread and back.
        scores, ran = _run(bundle, resolved, len(t))
        rung = Rung(int(resolved.rungs(len(t)).max())) if ran else Rung.PRIOR
        views = tuple(summaries(bundle.plan, resolved))
        return Scores(scores, bundle.manifest.name, bundle.manifest.version, views, rung)

    def _checked(self, plan: Plan, query: Query) -> request.Query:
        t = query.event_us
        if t is None:
            t = np.array([self._clock_us()], np.int64)
        elif self._settings.refuse_event_timestamps:
            raise BadRequest("this server scores at its own clock; send no event_timestamp_us.")
        return request.check(plan, query.columns, t, max_rows=self._settings.max_rows)

    async def _read(
        self, plan: Plan, given: Mapping[str, Array], rows: int, deadline: Deadline
    ) -> Mapping[str, ViewRows]:
        """The rows of every view; all UNREACHABLE where the reader fails or takes more than its share of the time."""
        if not plan.views:
            return {}
        reading = asyncio.ensure_future(self._reader.read(plan, given, rows))
        reading.add_done_callback(_log_failure)
        try:
            # Not wait_for: that waits for the cancelled reader, which may never give up.
            await asyncio.wait({reading}, timeout=deadline.remaining_s() * self._settings.reader_share)
        finally:
            in_time = reading.done()
            reading.cancel()
        if in_time and not reading.cancelled() and reading.exception() is None:
            return reading.result()
        if not in_time:
            log.error("the store did not answer in its share of the deadline", extra={"reason": "store too slow"})
        return {view.name: ViewRows.missing(rows, Status.UNREACHABLE) for view in plan.views}


def _log_failure(reading: "asyncio.Future[dict[str, ViewRows]]") -> None:
    if not reading.cancelled() and reading.exception() is not None:
        log.error("the reader failed", exc_info=reading.exception(), extra={"reason": "reader failed"})


def _run(bundle: Bundle, resolved: Resolved, rows: int) -> tuple[NDArray[np.float64], bool]:
    """Probabilities, and whether the model gave all of them; where it did not, its prior stands in."""
    facts = {"model": bundle.manifest.name, "version": bundle.manifest.version}
    try:
        scores = bundle.score(resolved.columns, rows)
    except Exception:  # functions and graphs are the user's: anything can come out of them
        log.exception("the model failed, its prior is answered", extra={"reason": "model failed", **facts})
        return np.full(rows, bundle.manifest.prior), False
    broken = ~np.isfinite(scores)
    if broken.any():
        log.error("the model gave no number, its prior is answered", extra={"reason": "no number", **facts})
        return np.where(broken, bundle.manifest.prior, scores), False
    return scores, True


def summaries(plan: Plan, resolved: Resolved) -> list[ViewSummary]:
    """What was found, counted per view over all rows; views of which the plan takes no feature are left out."""
    return [_summary(view.name, names, resolved) for view in plan.views if (names := _columns(plan, view.name))]


def _columns(plan: Plan, view: str) -> list[str]:
    return [column.name for column, _ in plan.stored(view)]


def _summary(view: str, names: list[str], resolved: Resolved) -> ViewSummary:
    counts = np.bincount(np.concatenate([resolved.status[name] for name in names]), minlength=len(Status))
    defaulted = sum(int(resolved.defaulted[name].sum()) for name in names)
    return ViewSummary(view, {status: int(counts[status]) for status in Status if counts[status]}, defaulted)
