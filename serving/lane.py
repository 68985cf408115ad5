"""Requests for one model that arrive together share one read of the store and one run of the model.

Nobody waits for a fixed time: an idle lane starts as soon as the event loop brings no further request, a few turns
after the first. While a batch is under way, requests gather, and leave together when it is done, or when the store has
kept it waiting for a moment. What one request does wrong, or how little time it has, is its own affair.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.errors import Overloaded
from lockstep.plan import Array, Plan
from lockstep.resolve import PlanRows, Resolved, ViewRows, resolve
from lockstep.status import Rung, Status
from serving.answers import Scores, ViewSummary
from serving.metrics import (
    ANSWER,
    CHECK,
    MODEL,
    READ,
    TRANSFORM,
    Batch,
    Dropped,
    FoundRows,
    LaneMeter,
    Load,
    begun,
    current,
)
from serving.room import Room
from serving.strict import refusal
from serving.together import Joined, Unchecked, one_by_one, together

__all__ = ["Lane", "Read", "found_in_time", "scored", "summaries"]

Rows = Mapping[str, ViewRows] | PlanRows
Read = Callable[[Plan, Mapping[str, Array], int], Awaitable[Rows]]

QUIET_TURNS = 2
"""Turns of the event loop without a new request after which a batch starts. A turn takes some 10 µs."""
MOST_GATHERED = 64
"""Requests with which a batch starts at once."""

log = logging.getLogger(__name__)


class _Waiting(asyncio.Future[Scores]):
    """A request in the lane, and the promise of its answer. Whoever cancels it wants no answer any more."""

    def __init__(self, request: Unchecked, read_by_s: float, *, strict: bool) -> None:
        super().__init__()
        self.request = request
        self.columns = tuple(request.columns)
        self.rows = request.rows
        self.strict = strict
        self.read_by_s = read_by_s
        """When the store's share of its time ends, on the monotonic clock."""
        self.since_s = time.perf_counter()
        self.batch: _Batch | None = None

    def cancel(self, msg: object = None) -> bool:
        """As a future; a batch that nobody waits for any more needs no rows."""
        cancelled = super().cancel(msg)
        if self.batch is not None and all(one.done() for one in self.batch.requests):
            _give_up(self.batch.reading)
        return cancelled


@dataclass(frozen=True)
class _Batch:
    """Requests that share a read."""

    requests: Sequence[_Waiting]
    reading: "asyncio.Future[Rows]"


class Lane:
    """One model's requests."""

    def __init__(
        self,
        bundle: Bundle,
        read: Read,
        *,
        max_rows: int,
        batch_rows: int,
        hold_s: float,
        room: Room | None = None,
        meter: LaneMeter | None = None,
    ) -> None:
        """`max_rows`: most rows of a request; `batch_rows`: of a batch of several requests; `hold_s`: how long a batch
        that waits for the store holds the next one back; `room`: what it holds at once, None for any number;
        `meter` is told of every batch.
        """
        self._meter, self._room = meter, room
        self.bundle, self._read = bundle, read
        self._max_rows, self._batch_rows, self._hold_s = max_rows, batch_rows, hold_s
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._woken = False
        self._overtaking: asyncio.TimerHandle | None = None

    @property
    def load(self) -> Load:
        """What it has to do now."""
        return Load(len(self._waiting), len(self._under_way))

    @property
    def read(self) -> Read:
        """What finds the rows of its views."""
        return self._read

    def score(self, request: Unchecked, read_by_s: float, *, strict: bool = False) -> "asyncio.Future[Scores]":
        """The scores of a request, to be awaited or cancelled; it starts at once.

        Raises Overloaded where there is no room for it, at once. Fails with BadRequest, UnknownColumn or BadColumn, a
        `strict` one with RowRefused or RowUnreachable for an answer below the first rung. Else a store or a model that
        fails is no error: the rung says so.
        """
        waiting = _Waiting(request, read_by_s, strict=strict)
        if self._room is not None:
            self._enter(waiting, self._room)
        self._waiting.append(waiting)
        self._wake(asyncio.get_running_loop())
        return waiting

    def _enter(self, waiting: _Waiting, room: Room) -> None:
        """Take room for it until it is done."""
        try:
            room.take(waiting.rows)
        except Overloaded:
            self._drop(Dropped.OVERLOAD)
            raise
        waiting.add_done_callback(lambda _: room.give_back(waiting.rows))

    def _drop(self, why: Dropped) -> None:
        if self._meter is not None:
            self._meter.dropped(why)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start soon. While a batch is under way, wait for it; a store that is slow holds nobody back for long."""
        if self._woken:
            return
        if not self._under_way:
            self._woken = True
            loop.call_soon(self._gather, loop, 0, 0)
        elif self._overtaking is None:
            left_s = min(one.read_by_s for one in self._waiting) - time.monotonic()
            self._overtaking = loop.call_later(max(min(self._hold_s, left_s), 0.0), self._start)

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, quiet: int) -> None:
        """Let the loop turn while requests come in: those that gRPC has received need a few turns to get here."""
        waiting = len(self._waiting)
        quiet = quiet + 1 if waiting == seen else 0
        if quiet < QUIET_TURNS and waiting < MOST_GATHERED:
            loop.call_soon(self._gather, loop, waiting, quiet)
        else:
            self._woken = False
            self._start()

    def _start(self) -> None:
        if self._overtaking is not None:
            self._overtaking.cancel()
            self._overtaking = None
        batch = self._next_batch()
        if batch:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._run(batch))
            self._under_way.add(task)
            task.add_done_callback(self._done)
            if self._waiting:
                self._wake(loop)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if self._waiting:
            self._wake(asyncio.get_running_loop())

    def _next_batch(self) -> list[_Waiting]:
        """First come, first served, as many as fit. Whose caller went away is dropped before it costs anything."""
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            first = self._waiting[0]
            if not first.done():
                rows += first.rows
                if batch and (rows > self._batch_rows or first.columns != batch[0].columns):
                    break
                batch.append(first)
            else:
                self._drop(Dropped.GONE)
            self._waiting.popleft()
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        marks = begun()
        current.set(marks)
        try:
            batch, joined = self._checked(batch)
            marks[CHECK] = time.perf_counter()
            if joined is not None:
                found = await self._found(joined, batch) if self.bundle.plan.views else {}
                marks[READ] = time.perf_counter()
                if not all(one.done() for one in batch):
                    self._answer(batch, joined, found)
        except BaseException as error:
            for waiting in batch:
                if not waiting.done():
                    waiting.set_exception(RuntimeError("the batch failed") if _ends(error) else error)
            if _ends(error):
                raise

    def _checked(self, batch: list[_Waiting]) -> tuple[list[_Waiting], Joined | None]:
        """The requests with which nothing is wrong, as one; the others are told what is."""
        plan, requests = self.bundle.plan, [one.request for one in batch]
        joined = together(plan, requests, max_rows=self._max_rows)
        if joined is not None:
            return batch, joined
        joined, errors = one_by_one(plan, requests, max_rows=self._max_rows)
        good = []
        for waiting, error in zip(batch, errors, strict=True):
            if error is None:
                good.append(waiting)
            elif not waiting.done():
                waiting.set_exception(error)
        return good, joined

    async def _found(self, joined: Joined, batch: Sequence[_Waiting]) -> Rows:
        """The rows of every view. A request whose time runs out meanwhile is answered without the store."""
        plan = self.bundle.plan
        reading = asyncio.ensure_future(self._read(plan, joined.given, len(joined.t)))
        shared = _Batch(batch, reading)
        for one in batch:
            one.batch = shared
        try:
            while not await _done_by(reading, _soonest_s(batch)):
                self._answer_late([one for one in batch if one.read_by_s <= time.monotonic() and not one.done()])
                if all(one.done() for one in batch):
                    break
        finally:
            _give_up(reading)
        found = _result(reading)
        return _unreachable(plan, len(joined.t)) if found is None else found

    def _answer_late(self, late: list[_Waiting]) -> None:
        """Without the store: a request gets an answer before its deadline."""
        if late:
            marks = current.get()
            assert marks is not None, "every batch has them"
            late_marks = marks.copy()
            late_marks[READ] = time.perf_counter()
            batch_goes_on = current.set(late_marks)
            log.error("the store did not answer in its share of the deadline", extra={"reason": "store too slow"})
            late, joined = self._checked(late)
            assert joined is not None, "they were checked before"
            self._answer(late, joined, _unreachable(self.bundle.plan, len(joined.t)))
            current.reset(batch_goes_on)

    def _answer(self, batch: Sequence[_Waiting], joined: Joined, found: Rows) -> None:
        resolved = resolve(self.bundle.plan, found, joined.given, joined.t)
        lengths, manifest = joined.lengths, self.bundle.manifest
        scores, rungs = scored(self.bundle, resolved, lengths)
        outcomes = summaries(resolved, lengths)
        for one, part, views in zip(batch, _parts(lengths), outcomes, strict=True):
            refused = refusal(resolved, rungs, part) if one.strict else None
            if refused is not None and not one.done():
                one.set_exception(refused)
            if not one.done():
                rung = Rung(int(rungs[part].max()))
                one.set_result(Scores(scores[part], manifest.name, manifest.version, views, rung))
        self._count(joined, resolved, rungs, outcomes, [one.since_s for one in batch])

    def _count(
        self,
        joined: Joined,
        resolved: Resolved,
        rungs: NDArray[np.int8],
        outcomes: Sequence[tuple[ViewSummary, ...]],
        since_s: Sequence[float],
    ) -> None:
        """Tell the meter of a batch; nothing of it may change afterwards. `since_s`: when its requests came."""
        marks = current.get()
        if self._meter is not None and marks is not None:
            marks[ANSWER] = time.perf_counter()
            rows = FoundRows(resolved.found, resolved.event_us, joined.t, outcomes)
            self._meter.answered(Batch(joined.lengths, rungs, rows, since_s, marks))


def _parts(lengths: Sequence[int]) -> Iterator[slice]:
    """Where the rows of each request lie."""
    first = 0
    for length in lengths:
        yield slice(first, first + length)
        first += length


def _soonest_s(batch: Sequence[_Waiting]) -> float:
    """When the first request's time for the store ends; at once where nobody waits any more."""
    return min((one.read_by_s for one in batch if not one.done()), default=0.0)


def _ends(error: BaseException) -> bool:
    """Whether it means the end of the loop rather than a failure of this batch."""
    return not isinstance(error, Exception)


async def found_in_time(read: Read, plan: Plan, given: Mapping[str, Array], rows: int, read_by_s: float) -> Rows:
    """What a reader finds; all UNREACHABLE where it fails, or is not done by `read_by_s` on the monotonic clock."""
    if not plan.views:
        return {}
    task = asyncio.ensure_future(read(plan, given, rows))
    try:
        if not await _done_by(task, read_by_s):
            log.error("the store did not answer in its share of the deadline", extra={"reason": "store too slow"})
    finally:
        _give_up(task)
    found = _result(task)
    return _unreachable(plan, rows) if found is None else found


async def _done_by(reading: "asyncio.Future[Rows]", moment_s: float) -> bool:
    """Wait for a reader. Not wait_for: that waits for the cancelled reader, which may never give up."""
    await asyncio.wait({reading}, timeout=max(moment_s - time.monotonic(), 0.0))
    return reading.done()


def _give_up(reading: "asyncio.Future[Rows]") -> None:
    if not reading.done():
        reading.add_done_callback(_result)  # it may still fail, and nobody else is there to be told
        reading.cancel()


def _result(reading: "asyncio.Future[Rows]") -> Rows | None:
    """What it found; None where it failed, which is logged, or is not done."""
    if not reading.done() or reading.cancelled():
        return None
    if reading.exception() is not None:
        log.error("the reader failed", exc_info=reading.exception(), extra={"reason": "reader failed"})
        return None
    return reading.result()


def _unreachable(plan: Plan, rows: int) -> PlanRows:
    return PlanRows.missing(plan, rows, Status.UNREACHABLE)


def scored(bundle: Bundle, resolved: Resolved, lengths: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Probabilities and rungs of all rows. Where the model fails for the whole, each request is tried by itself."""
    rows = sum(lengths)
    scores, rungs = _run(bundle, resolved.columns, rows, alone=len(lengths) == 1), resolved.rungs()
    if scores is None and len(lengths) == 1:
        scores = np.full(rows, np.nan)
    if scores is None:
        each = []
        for length, part in zip(lengths, _parts(lengths), strict=True):
            columns = {name: values[part] for name, values in resolved.columns.items()}
            found = _run(bundle, columns, length, alone=True)
            each.append(np.full(length, np.nan) if found is None else found)
        scores = np.concatenate(each)
    broken = ~np.isfinite(scores)
    if broken.any():
        log.error("the model gave no number, its prior is answered", extra={"reason": "no number", **_facts(bundle)})
        scores, rungs = np.where(broken, bundle.manifest.prior, scores), np.where(broken, np.int8(Rung.PRIOR), rungs)
    return scores, rungs


def _run(bundle: Bundle, columns: Mapping[str, Array], rows: int, *, alone: bool) -> NDArray[np.float64] | None:
    """None where the model fails. On the event loop: a run takes about as long as the way to a thread and back."""
    try:
        inputs = bundle.inputs(columns, rows)
        transformed_s = time.perf_counter()
        scores = bundle.score_inputs(inputs)
        marks = current.get()
        if marks is not None:
            marks[TRANSFORM], marks[MODEL] = transformed_s, time.perf_counter()
    except Exception:  # functions and graphs are the user's: anything can come out of them
        if alone:
            log.exception("the model failed, its prior is answered", extra={"reason": "model failed", **_facts(bundle)})
        return None
    return scores


def _facts(bundle: Bundle) -> dict[str, str]:
    return {"model": bundle.manifest.name, "version": bundle.manifest.version}


def summaries(resolved: Resolved, lengths: Sequence[int]) -> list[tuple[ViewSummary, ...]]:
    """For each request what was found, counted per view over its rows; `lengths` are the requests' rows, in order."""
    stored = resolved.plan.stored_columns
    names = tuple(view.name for view in stored.views)
    if not names:
        return [()] * len(lengths)
    shape = len(lengths), len(names)
    owner = np.repeat(np.arange(len(lengths)), lengths) * len(names) + stored.view_of[:, None]
    tally = np.bincount((owner * len(Status) + resolved.found).ravel(), minlength=shape[0] * shape[1] * len(Status))
    if resolved.replaced.any():
        defaulted = np.bincount(owner[resolved.replaced], minlength=shape[0] * shape[1])
    else:
        defaulted = np.zeros(shape[0] * shape[1], np.int64)
    each = np.concatenate([tally.reshape(*shape, len(Status)), defaulted.reshape(*shape, 1)], axis=2)
    return [_summaries(names, one.tobytes()) for one in each]


@lru_cache(maxsize=4096)
def _summaries(names: tuple[str, ...], counts: bytes) -> tuple[ViewSummary, ...]:
    """Most requests have one of a few outcomes; the same outcome is the same object."""
    rows = np.frombuffer(counts, np.int64).reshape(len(names), len(Status) + 1).tolist()
    return tuple(ViewSummary(name, tuple(row[:-1]), row[-1]) for name, row in zip(names, rows, strict=True))
