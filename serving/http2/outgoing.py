"""What goes out on one stream: headers, messages as there is room for them, and the status after them."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import grpc

from serving.http2 import replies
from serving.http2.frames import LARGEST_FRAME, ErrorCode, reset
from serving.http2.messages import PREFIX
from serving.http2.outbox import Outbox

__all__ = ["Outgoing", "Pipe"]

AHEAD: Final = 1 << 16
"""Bytes that may wait for the peer before a handler of many replies has to wait too."""
SILENT_S: Final = 0.02
"""How long the status of a stream that is refused waits for the first message of its caller. A client of grpc.aio that
writes to a stream which has just ended is told "Internal error from Core" in place of the status."""
STALLED_S: Final = 60.0
"""How long a peer may take nothing of a reply that is complete."""


class Pipe(Protocol):
    """What all streams of a connection go out through."""

    def write(self, *frames: bytes) -> None:
        """Send these, soon, together with what else there is."""

    def room(self) -> int:
        """Bytes of data that the connection takes now."""

    def spend(self, count: int) -> None:
        """So many of them were sent."""

    def block(self, outgoing: "Outgoing") -> None:
        """Call `pump` when there is room again."""


class Outgoing:
    """The half of a call that speaks."""

    __slots__ = ("_drained", "_ended", "_ending", "_opened", "_outbox", "_pipe", "_silent", "done", "stream", "window")

    def __init__(self, pipe: Pipe, stream: int, window: int, ended: Callable[[], None], *, silent: bool) -> None:
        """`window`: bytes of data that the peer takes. `ended` is called when the last byte is out.

        `silent`: the peer may have to be heard before it is told that its call has ended.
        """
        self._pipe, self.stream, self.window, self._ended, self._silent = pipe, stream, window, ended, silent
        self._opened = False
        self._outbox: Outbox | None = None
        self._ending: bytes | None = None
        self._drained: asyncio.Future[None] | None = None
        self.done = False
        """Whether the status was decided on; nothing more is said then."""

    @property
    def waits(self) -> bool:
        """Whether there is something that was not sent yet."""
        return self._ending is not None or (self._outbox is not None and self._outbox.size > 0)

    def reply(self, message: bytes) -> None:
        """The one reply of a call, and its end."""
        size = len(message) + PREFIX.size
        if self.done:
            return
        if size <= LARGEST_FRAME and size <= self.window and size <= self._pipe.room() and not self._opened:
            self._pipe.spend(size)
            self._pipe.write(*replies.whole(self.stream, message))
            self.done = True
            self._finish()
        else:
            self._put(message)
            self.end(grpc.StatusCode.OK)

    async def write(self, message: bytes) -> None:
        """Send one of several replies; returns when there is room for more."""
        if self.done:
            raise asyncio.CancelledError
        if self._put(message).size > AHEAD:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def _put(self, message: bytes) -> Outbox:
        if not self._opened:
            self._opened = True
            self._pipe.write(replies.headers(self.stream))
        self._outbox = self._outbox or Outbox()
        self._outbox.put(message)
        self.pump()
        return self._outbox

    def end(self, code: grpc.StatusCode, details: str = "", metadata: Iterable[tuple[str, str | bytes]] = ()) -> None:
        """The status of the call, after what waits to be sent; the first one counts."""
        if self.done:
            return
        self.done = True
        self._ending = replies.ending(self.stream, code, details, metadata, alone=not self._opened)
        loop = asyncio.get_running_loop()
        if self._silent:
            loop.call_later(SILENT_S, self.heard)
        self.pump()
        if self._outbox is not None and self._outbox.size:
            loop.call_later(STALLED_S, self._check_stalled, self._outbox.size)

    def drop(self) -> None:
        """What waits to be sent is not sent; a status is."""
        if self._outbox is not None:
            self._outbox.clear()
        self._go_on()

    def cancel(self) -> None:
        """Nothing more is said."""
        self.done, self._ending, self._ended = True, None, _nothing
        self.drop()

    def heard(self) -> None:
        """The peer has begun to speak, or is not going to."""
        if self._silent:
            self._silent = False
            if self.done:
                self.pump()

    def widen(self, more: int) -> None:
        """The peer takes so many bytes more, or less."""
        self.window += more
        if self._outbox is not None and self._outbox.size:
            self.pump()

    def pump(self) -> None:
        """Send what there is room for, and the status after it."""
        outbox = self._outbox
        while outbox is not None and outbox.size:
            room = min(self.window, self._pipe.room(), LARGEST_FRAME)
            if room <= 0:
                if self.window > 0:
                    self._pipe.block(self)
                return
            part = outbox.take(room)
            self.window -= len(part)
            self._pipe.spend(len(part))
            self._pipe.write(replies.data(self.stream, part))
        self._go_on()
        if self._ending is not None and not self._silent:
            self._pipe.write(self._ending)
            self._ending = None
            self._finish()

    def _finish(self) -> None:
        """Tell whose half this is, and let go of it: two that hold each other are left to the garbage collector, which
        stops everybody for some ms every few thousand calls.
        """
        ended, self._ended = self._ended, _nothing
        ended()

    def _go_on(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _check_stalled(self, before: int) -> None:
        left = 0 if self._outbox is None else self._outbox.size
        if left == before:
            self._pipe.write(reset(self.stream, ErrorCode.CANCEL))
            ended = self._ended
            self.cancel()
            ended()
        elif left:
            asyncio.get_running_loop().call_later(STALLED_S, self._check_stalled, left)


def _nothing() -> None:
    """Nobody is to be told."""
