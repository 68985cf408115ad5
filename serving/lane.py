"""Requests for one model that arrive together share one read of the store and one run of the model.

Nobody waits for a fixed time: an idle lane starts as soon as the event loop brings no further request, a few turns
after the first. While a batch is under way, requests gather, and leave together when it is done, or when the store has
kept it waiting for a moment; where those who were just answered have been coming back at once, with them
(`serving.company`). What one request does wrong, or how little time it has, is its own affair.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.errors import Overloaded
from lockstep.resolve import Resolved, resolve
from serving.answers import Scores, ViewSummary
from serving.company import Company
from serving.metrics import (
    ANSWER,
    BEGAN,
    CHECK,
    READ,
    Batch,
    Dropped,
    FoundRows,
    LaneMeter,
    Load,
    begun,
    current,
)
from serving.reading import Read, Rows, found, unreachable
from serving.room import Room
from serving.scoring import parts, scored, summaries, worst_rungs
from serving.strict import refusal
from serving.together import Joined, Unchecked, one_by_one, together
from serving.waiting import SharedRead, Waiting

__all__ = ["Lane"]

QUIET_TURNS = 2
"""Turns of the event loop without a new request after which a batch starts. A turn takes some 10 µs."""
MOST_GATHERED = 64
"""Requests with which a batch starts at once."""
MANY_ROWS = 200
"""Rows that are worth a batch of their own beside one that is under way: what a batch costs whatever its size is little
beside them, and the store reads the rows of one while the model scores those of the other.
"""

log = logging.getLogger(__name__)


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
        self._company = Company()
        self._waiting: deque[Waiting] = deque()
        self._rows_waiting = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._woken = False
        self._overtaking: asyncio.TimerHandle | None = None
        self._reading_since_s = 0.0
        """When the newest batch asked the store, on the monotonic clock."""

    @property
    def load(self) -> Load:
        """What it has to do now."""
        return Load(len(self._waiting), len(self._under_way))

    @property
    def room(self) -> Room | None:
        """What it holds at once; None: any number."""
        return self._room

    @property
    def read(self) -> Read:
        """What finds the rows of its views."""
        return self._read

    def score(
        self, request: Unchecked, read_by_s: float, *, answer_by_s: float = math.inf, strict: bool = False
    ) -> "asyncio.Future[Scores]":
        """The scores of a request, to be awaited or cancelled; it starts at once.

        `read_by_s` and `answer_by_s`, on the monotonic clock: until when it waits for the store, and its caller for it.
        Raises Overloaded where there is no room for it, at once. Fails with BadRequest, UnknownColumn or BadColumn, a
        `strict` one with RowRefused or RowUnreachable for an answer below the first rung. Else a store or a model that
        fails is no error: the rung says so.
        """
        if self._room is not None:
            self._enter(request.rows, self._room, answer_by_s - time.monotonic())
        waiting = Waiting(request, read_by_s, self._room, strict=strict)
        self._waiting.append(waiting)
        self._rows_waiting += waiting.rows
        self._company.came()
        self._wake(asyncio.get_running_loop())
        return waiting

    def _enter(self, rows: int, room: Room, left_s: float) -> None:
        """Take room for a request, which gives it back when it is done."""
        try:
            room.take(rows, left_s)
        except Overloaded:
            self._drop(Dropped.OVERLOAD)
            raise

    def _drop(self, why: Dropped) -> None:
        if self._meter is not None:
            self._meter.dropped(why)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start soon. While a batch is under way, few rows wait for it; a slow store holds nobody back for long."""
        if self._woken:
            return
        if not self._under_way or (len(self._under_way) == 1 and self._rows_waiting >= MANY_ROWS):
            self._woken = True
            loop.call_soon(self._gather, loop, 0, 0)
        elif self._overtaking is None:
            self._overtaking = loop.call_later(self._at_most(self._hold_s), self._overtake, loop)

    def _overtake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start beside a batch that the store keeps waiting. One that is long at work of its own is not overtaken: two
        at once would only share the core.
        """
        left_s = self._at_most(self._reading_since_s + self._hold_s - time.monotonic()) if self._waiting else 0.0
        if left_s > 0:
            self._overtaking = loop.call_later(left_s, self._overtake, loop)
        else:
            self._start()

    def _at_most(self, hold_s: float) -> float:
        """So long, and no longer than the store's share of any request that waits."""
        return max(min(hold_s, min(one.read_by_s for one in self._waiting) - time.monotonic()), 0.0)

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, quiet: int) -> None:
        """Let the loop turn while requests come in: what other connections have received needs a turn or two."""
        waiting = len(self._waiting)
        quiet = quiet + 1 if waiting == seen else 0
        if (quiet < QUIET_TURNS or self._is_expecting()) and waiting < MOST_GATHERED:
            loop.call_soon(self._gather, loop, waiting, quiet)
        else:
            self._woken = False
            self._start()

    def _is_expecting(self) -> bool:
        """Whether it is worth a moment to wait for more. The loop goes on turning: its timers know no moments."""
        return self._rows_waiting < MANY_ROWS and self._company.expected

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

    def _next_batch(self) -> list[Waiting]:
        """First come, first served, as many as fit. Whose caller went away is dropped before it costs anything."""
        batch: list[Waiting] = []
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
            self._rows_waiting -= first.rows
        return batch

    async def _run(self, batch: list[Waiting]) -> None:
        marks = begun()
        current.set(marks)
        try:
            batch, joined = self._checked(batch)
            marks[CHECK] = time.perf_counter()
            if joined is not None:
                rows = await self._found(joined, batch) if self.bundle.plan.views else {}
                marks[READ] = time.perf_counter()
                if not all(one.done() for one in batch):
                    self._answer(batch, joined, rows)
        except BaseException as error:
            for waiting in batch:
                if not waiting.done():
                    waiting.set_exception(RuntimeError("the batch failed") if _ends(error) else error)
            if _ends(error):
                raise

    def _checked(self, batch: list[Waiting]) -> tuple[list[Waiting], Joined | None]:
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

    async def _found(self, joined: Joined, batch: Sequence[Waiting]) -> Rows:
        """The rows of every view. A request whose time runs out meanwhile is answered without the store."""
        self._reading_since_s = time.monotonic()
        shared = SharedRead(batch, self._answer_late, self._done)
        try:
            return await found(self._read, self.bundle.plan, joined.given, len(joined.t))
        finally:
            shared.read()

    def _answer_late(self, late: list[Waiting]) -> None:
        """Without the store: a request gets an answer before its deadline."""
        marks = current.get()
        assert marks is not None, "every batch has them"
        late_marks = marks.copy()
        late_marks[READ] = time.perf_counter()
        batch_goes_on = current.set(late_marks)
        late, joined = self._checked(late)
        assert joined is not None, "they were checked before"
        self._answer(late, joined, unreachable(self.bundle.plan, len(joined.t)))
        current.reset(batch_goes_on)

    def _answer(self, batch: Sequence[Waiting], joined: Joined, rows: Rows) -> None:
        resolved = resolve(self.bundle.plan, rows, joined.given, joined.t)
        lengths, manifest = joined.lengths, self.bundle.manifest
        scores, rungs = scored(self.bundle, resolved, lengths)
        outcomes, worst = summaries(resolved, lengths), worst_rungs(rungs, lengths)
        for one, part, views, rung in zip(batch, parts(lengths), outcomes, worst, strict=True):
            refused = refusal(resolved, rungs, part) if one.strict else None
            if refused is not None and not one.done():
                one.set_exception(refused)
            if not one.done():
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
        """Tell of a batch, of which nothing may change any more. `since_s`: when its requests came."""
        marks = current.get()
        if marks is None:
            return
        marks[ANSWER] = time.perf_counter()
        self._company.answered(len(joined.lengths), marks[ANSWER] - marks[BEGAN])
        if self._room is not None:
            self._room.worked(marks[ANSWER] - marks[READ] + marks[CHECK] - marks[BEGAN], len(joined.t))
        if self._meter is not None:
            rows = FoundRows(resolved.found, resolved.event_us, joined.t, outcomes)
            self._meter.answered(Batch(joined.lengths, rungs, rows, since_s, marks))


def _ends(error: BaseException) -> bool:
    """Whether it means the end of the loop rather than a failure of this batch."""
    return not isinstance(error, Exception)
