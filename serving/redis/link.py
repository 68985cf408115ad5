"""One connection to one Redis server: commands go out as they come, answers come back in their order."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import hiredis

from serving.redis.breaker import Breaker
from serving.redis.terms import Access, Reply

__all__ = ["Link"]

log = logging.getLogger(__name__)


class _NobodyAsked(Exception):
    """The server says more than it was asked."""


@dataclass
class _Pending:
    """A command on its way."""

    answer: "asyncio.Future[list[Reply]]"
    replies: list[Reply]
    missing: int
    sent_s: float


class Link(asyncio.Protocol):
    """One open connection."""

    def __init__(
        self, access: Access, opened: Callable[[], None] = lambda: None, closed: Callable[[], None] = lambda: None
    ) -> None:
        """`opened` is called when the server leaves commands unanswered, `closed` when it answers again."""
        self._opened = opened
        self.breaker = Breaker(
            access.breaker_s,
            access.patience_s,
            oldest_s=lambda: self._pending[0].sent_s if self._pending else None,
            opened=self._disappoint,
            lost=self.abort,
            closed=closed,
        )
        self._reader = hiredis.Reader()
        self._pending: deque[_Pending] = deque()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is gone."""

    @property
    def is_open(self) -> bool:
        """Whether a command can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, command: bytes, replies: int) -> "asyncio.Future[list[Reply]]":
        """Send commands that have so many replies. The future fails with ConnectionError where the link breaks."""
        answer: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self.breaker.is_open or not self.is_open or self._transport is None:
            why = "it leaves commands unanswered" if self.breaker.is_open else "the connection is closed"
            answer.set_exception(ConnectionError(why))
            return answer
        self._pending.append(_Pending(answer, [], replies, time.monotonic()))
        self._transport.write(command)
        self.breaker.sent()
        return answer

    def abort(self) -> None:
        """Give the connection up; everything on its way fails."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(ConnectionError("the server did not answer in time"))

    def _disappoint(self) -> None:
        """Nobody waits any longer; what is answered later is passed over."""
        self._opened()
        for one in self._pending:
            if not one.answer.done():
                one.answer.set_exception(ConnectionError("it leaves commands unanswered"))

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except (hiredis.ProtocolError, _NobodyAsked) as error:
            log.error("what the server sent is not Redis's protocol: %s", error, extra={"reason": "redis protocol"})
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._fail(exc or ConnectionError("the server closed the connection"))
        if not self.closed.done():
            self.closed.set_result(None)

    def _take(self, reply: Reply) -> None:
        if not self._pending:
            raise _NobodyAsked(f"a reply that nobody asked for: {reply!r:.80}")
        first = self._pending[0]
        self.breaker.answered()
        first.replies.append(reply)
        first.missing -= 1
        if not first.missing:
            self._pending.popleft()
            if not first.answer.done():  # else its caller has given up
                first.answer.set_result(first.replies)

    def _fail(self, error: Exception) -> None:
        self.breaker.close()
        while self._pending:
            answer = self._pending.popleft().answer
            if not answer.done():
                answer.set_exception(error)
