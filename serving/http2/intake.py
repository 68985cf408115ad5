"""What comes in on one stream: its messages, and how much more of them the peer may send."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from serving.http2.frames import window_update
from serving.http2.messages import Assembler, BadMessage, Received

__all__ = ["WINDOW", "Intake", "Lender", "Overrun"]

WINDOW: Final = 1 << 17
"""Bytes that a peer may send on a stream before its handler has taken them."""


class Overrun(Exception):
    """A peer sent more than it may."""


class Lender:
    """Lets streams of one connection have messages that are larger than their windows, in turn, a few at a time."""

    def __init__(self, most: int) -> None:
        """`most`: bytes beyond their windows, of all streams together."""
        self._most = most
        self._lent: dict[Intake, int] = {}
        self._asked: dict[Intake, int] = {}

    def ask(self, intake: "Intake", count: int) -> None:
        """Call `lend` as soon as so many bytes beyond the window may come in."""
        self._asked[intake] = count
        self._lend()

    def settle(self, intake: "Intake") -> None:
        """What was lent, or asked for, is not needed any more."""
        self._asked.pop(intake, None)
        self._lent.pop(intake, None)
        self._lend()

    def _lend(self) -> None:
        while self._asked:
            intake, count = next(iter(self._asked.items()))
            if sum(self._lent.values()) + count > self._most:
                return
            del self._asked[intake]
            self._lent[intake] = count
            intake.lend(count)


class Intake:
    """Window + what waits + what was taken and not told the peer yet = WINDOW, at any time."""

    __slots__ = (
        "_arrived",
        "_assembler",
        "_borrows",
        "_ended",
        "_lender",
        "_queue",
        "_stream",
        "_taken",
        "_window",
        "_write",
    )

    def __init__(self, stream: int, assembler: Assembler, write: Callable[[bytes], None], lender: Lender) -> None:
        self._stream, self._assembler, self._write, self._lender = stream, assembler, write, lender
        self._queue: deque[Received] = deque()
        self._window, self._taken = WINDOW, 0
        self._borrows = self._ended = False
        self._arrived: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """Messages that no handler has taken yet."""
        return len(self._queue)

    def spend(self, size: int) -> None:
        """So many bytes came. Raises Overrun."""
        self._window -= size
        if self._window < 0:
            raise Overrun

    def take(self, data: bytes, padding: int) -> None:
        """These are what they hold, and `padding` the rest. Raises BadMessage."""
        if padding:
            self._grant(padding)
        messages = self._assembler.feed(data)
        self._queue += messages
        if messages:
            self.settle()
            self._wake()
        more = self._assembler.missing - self._window
        if more > 0 and not self._borrows:
            self._borrows = True
            self._lender.ask(self, more)

    def lend(self, count: int) -> None:
        """The message in the making may have so many bytes beyond the window; they count as taken in advance."""
        self._taken -= count
        self._grant(count)

    def settle(self) -> None:
        """The message that was larger than the window is here, or not wanted any more."""
        if self._borrows:
            self._borrows = False
            self._lender.settle(self)

    def end(self) -> None:
        """The peer has sent everything. Raises BadMessage where a message has begun."""
        self.leave()
        if self._assembler.partial:
            raise BadMessage("the stream ended within a message")

    def leave(self) -> None:
        """No more is taken than what waits; a message in the making is lost."""
        self._ended = True
        self._wake()

    def next(self) -> bytes:
        """The message that has waited longest. Raises BadMessage."""
        received = self._queue.popleft()
        self._taken += received.size
        if self._taken >= WINDOW // 2 and not self._ended:
            granted, self._taken = self._taken, 0
            self._grant(granted)
        return self._assembler.open(received)

    async def messages(self) -> AsyncIterator[bytes]:
        """All messages. Raises BadMessage."""
        while True:
            while self._queue:
                yield self.next()
            if self._ended:
                return
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    def _grant(self, count: int) -> None:
        self._window += count
        self._write(window_update(self._stream, count))

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
