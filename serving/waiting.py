"""Those who wait for scores, and the read that several of them share."""

import asyncio
import time
from collections.abc import Callable, Sequence

from serving.answers import Scores
from serving.reading import said_late
from serving.room import Room
from serving.together import Unchecked

__all__ = ["SharedRead", "Waiting"]


class Waiting(asyncio.Future[Scores]):
    """A request in the lane, and the promise of its answer. Whoever cancels it wants no answer any more."""

    def __init__(self, request: Unchecked, read_by_s: float, room: Room | None = None, *, strict: bool) -> None:
        """`room`: what it takes up room of until it is done."""
        super().__init__()
        self._room = room
        self.request = request
        self.columns = tuple(request.columns)
        self.rows = request.rows
        self.strict = strict
        self.read_by_s = read_by_s
        """When the store's share of its time ends, on the monotonic clock."""
        self.since_s = time.perf_counter()
        self.batch: SharedRead | None = None

    def set_result(self, result: Scores) -> None:
        """As a future."""
        super().set_result(result)
        self._leave()

    def set_exception(self, exception: type[BaseException] | BaseException) -> None:
        """As a future."""
        super().set_exception(exception)
        self._leave()

    def cancel(self, msg: object = None) -> bool:
        """As a future; a batch that nobody waits for any more needs no rows."""
        cancelled = super().cancel(msg)
        if cancelled:
            self._leave()
            if self.batch is not None:
                self.batch.end_if_done()
        return cancelled

    def _leave(self) -> None:
        """Give the room back. Not as a callback: that would cost each request a turn of the loop."""
        if self._room is not None:
            self._room.give_back(self.rows)


class SharedRead:
    """Requests that share a read, and the one task that reads and answers."""

    __slots__ = ("_answer_late", "_given_up", "_loop", "_task", "_timer", "requests")

    def __init__(
        self,
        requests: Sequence[Waiting],
        answer_late: Callable[[list[Waiting]], None],
        given_up: Callable[["asyncio.Task[None]"], None],
    ) -> None:
        """For the task that this is called in. `given_up` is told of it where nobody waits for it any more: a reader
        may never end, even when it is cancelled.
        """
        self.requests, self._answer_late, self._given_up = requests, answer_late, given_up
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        for one in requests:
            one.batch = self
        self._timer = self._loop.call_later(self._left_s(), self._on_time)

    def _left_s(self) -> float:
        """Until the first request's time for the store ends; 0 where nobody waits any more."""
        soonest_s = min((one.read_by_s for one in self.requests if not one.done()), default=0.0)
        return max(soonest_s - time.monotonic(), 0.0)

    def _on_time(self) -> None:
        """A request whose time runs out is answered without the store; the others go on waiting."""
        now_s = time.monotonic()
        late = [one for one in self.requests if one.read_by_s <= now_s and not one.done()]
        if late:
            said_late()
            self._answer_late(late)
        if not self.end_if_done():
            self._timer = self._loop.call_later(self._left_s(), self._on_time)

    def end_if_done(self) -> bool:
        """Give the read up where nobody waits for it."""
        done = all(one.done() for one in self.requests)
        if done and self._task is not None:
            self._task.cancel()
            self._given_up(self._task)
        return done

    def read(self) -> None:
        """The store has answered. Who waited and what they waited for know each other no more: else only the collector
        of cycles would free them.
        """
        self._timer.cancel()
        self._task, self.requests = None, ()
