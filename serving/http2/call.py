"""One call on one stream: what its handler is given as `grpc.aio.ServicerContext`, and what gRPC's rules ask of it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import aclosing
from typing import Any, Final, Protocol

import grpc

from serving.http2.doing import Doing, begins_at_once
from serving.http2.frames import ErrorCode, reset
from serving.http2.headers import Metadata, Opening
from serving.http2.intake import Intake, Lender, Overrun
from serving.http2.messages import Assembler, BadMessage, only
from serving.http2.outgoing import Outgoing, Pipe

__all__ = ["Call", "Wire"]

LEAVING: Final = "the server is going away; call again"

log = logging.getLogger(__name__)


class Wire(Protocol):
    """What a call needs of its connection."""

    max_message_bytes: int
    lender: Lender

    @property
    def flow(self) -> Pipe:
        """What messages go out through."""

    def write(self, *frames: bytes) -> None:
        """Send these, soon."""

    def forget(self, call: "Call") -> None:
        """Nothing will be done for it any more."""


class Call:
    """A call, from its headers to its status."""

    __slots__ = (
        "_at_s",
        "_handler",
        "_intake",
        "_leaving",
        "_loop",
        "_opening",
        "_peer_done",
        "_task",
        "_timer",
        "_wire",
        "out",
        "stream",
    )

    def __init__(self, wire: Wire, stream: int, opening: Opening, handler: grpc.RpcMethodHandler, window: int) -> None:
        """`window`: bytes of data that the peer takes on this stream."""
        self._loop = asyncio.get_running_loop()
        self._wire, self.stream, self._opening, self._handler = wire, stream, opening, handler
        self._intake: Intake | None = None
        self._task: asyncio.Task[None] | Doing | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at_s: float | None = None
        self._leaving = self._peer_done = False
        self.out = Outgoing(wire.flow, stream, window, self._said, silent=handler.request_streaming)
        """What is said to the peer."""

    def begin(self) -> None:
        """Start its clock; a call of many messages starts to work."""
        if self._opening.timeout_s is not None:
            self._at_s = time.monotonic() + self._opening.timeout_s
            self._timer = self._loop.call_later(self._opening.timeout_s, self._expire)
        if self._handler.request_streaming:
            self._work(self._streaming(self._requests(self._take_in())))

    # ---- what the peer says

    def receive(self, data: bytes, *, size: int, last: bool) -> None:
        """Take data; `size` bytes of the window they took up. `last`: the peer has no more."""
        if last and self._intake is None and not self.out.done and not self._peer_done:
            message = only(data, self._wire.max_message_bytes)
            if message is not None:  # nearly always
                self._peer_done = True
                self._start(message)
                return
        self._receive(data, size, last)

    def _receive(self, data: bytes, size: int, last: bool) -> None:
        if self._peer_done:
            self.reset(ErrorCode.STREAM_CLOSED)
            return
        self._peer_done = last
        intake = self._intake or self._take_in()
        try:
            intake.spend(size)
            self.out.heard()
            if not self.out.done:
                self._take(intake, data, size - len(data))
        except Overrun:
            self.reset(ErrorCode.FLOW_CONTROL_ERROR)
        except BadMessage as error:
            self._fail(error.code, str(error))

    def _take_in(self) -> Intake:
        assembler = Assembler(self._opening.encoding, self._wire.max_message_bytes)
        self._intake = Intake(self.stream, assembler, self._wire.write, self._wire.lender)
        return self._intake

    def _take(self, intake: Intake, data: bytes, padding: int) -> None:
        intake.take(data, padding)
        if self._peer_done:
            intake.end()
        if not self._handler.request_streaming:
            self._maybe_start(intake)

    def _maybe_start(self, intake: Intake) -> None:
        """A call of one message begins to work when the peer has sent it, and said that it is all."""
        if intake.waiting > 1 or (self._peer_done and not intake.waiting):
            self._fail(grpc.StatusCode.INTERNAL, f"one message is expected, {intake.waiting} came")
        elif self._peer_done:
            self._start(intake.next())

    # ---- how it ends

    def cancel(self) -> None:
        """The peer wants no answer any more, or cannot get one: nothing more is said."""
        self._peer_done = True
        self.out.cancel()
        if self._task is None:
            self._said()
        else:
            self._release()
            self._task.cancel()

    def reset(self, code: ErrorCode) -> None:
        """End the stream at once, without a status."""
        self._wire.write(reset(self.stream, code))
        self.cancel()

    def leave(self) -> None:
        """The server goes away: what was received is answered, no more messages are taken."""
        self._leaving = True
        if self._handler.request_streaming and self._intake is not None:
            self._intake.leave()
        elif self._handler.response_streaming:
            self._fail(grpc.StatusCode.UNAVAILABLE, LEAVING)  # it would go on for as long as the peer listens

    def _expire(self) -> None:
        if self.out.done:  # its answer waits for a peer that does not read
            self.reset(ErrorCode.CANCEL)
        else:
            self._fail(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _fail(self, code: grpc.StatusCode, details: str) -> None:
        """End the call whatever its handler does, which is told to stop."""
        if not self.out.done:
            self.out.drop()
            self.out.end(code, details)
            if self._task is not None:
                self._task.cancel()

    def _said(self) -> None:
        """Everything is out."""
        self._release()
        if self._task is None:
            self._wire.forget(self)

    def _release(self) -> None:
        """Nothing more is said on the stream, and nothing more is taken from it.

        No RST_STREAM tells the peer to be silent: gRPC's own clients take it, after a reply of trailers alone, for the
        loss of the status.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._intake is not None:
            self._intake.settle()

    # ---- the handler

    def _start(self, message: bytes) -> None:
        handler = self._handler
        if handler.response_streaming:
            self._work(self._streaming(message))
        elif begins_at_once(handler.unary_unary):
            self._task = doing = Doing(self._unary(message), self._left)
            doing.begin()
        else:
            self._work(self._unary(message))

    def _work(self, doing: Coroutine[Any, Any, None]) -> None:
        self._task = task = self._loop.create_task(doing)
        task.add_done_callback(self._left)

    def _left(self, task: "asyncio.Task[None] | Doing") -> None:
        """The handler is done. Whatever it ended with, its call gets a status."""
        self._task = None
        if task.cancelled():
            self.out.end(grpc.StatusCode.CANCELLED, "the server gave the call up")
        elif (error := task.exception()) is not None:
            self._failed(error)
        if self.out.done and not self.out.waits:
            self._wire.forget(self)

    def _failed(self, error: BaseException) -> None:
        if not self.out.done and not isinstance(error, grpc.aio.AbortError):  # the services that are not ours
            log.error("a handler failed", exc_info=error, extra={"method": self._opening.path})
        self.out.end(grpc.StatusCode.UNKNOWN, "internal error")

    async def _unary(self, message: bytes) -> None:
        handler = self._handler
        read, write = handler.request_deserializer, handler.response_serializer
        reply = await handler.unary_unary(message if read is None else read(message), self)
        self.out.reply(reply if write is None else write(reply))

    async def _streaming(self, request: Any) -> None:
        handler = self._handler
        given = request if handler.request_streaming else self._read(request)
        if handler.response_streaming:
            await self._replies((handler.stream_stream or handler.unary_stream)(given, self))
            cut = self._leaving and not self._peer_done
            self.out.end(*((grpc.StatusCode.UNAVAILABLE, LEAVING) if cut else (grpc.StatusCode.OK, "")))
        else:
            self.out.reply(self._written(await handler.stream_unary(given, self)))

    async def _replies(self, answered: Any) -> None:
        """Of a generator; or of a coroutine that writes them by itself."""
        if not hasattr(answered, "__aiter__"):
            await answered
            return
        async with aclosing(answered):
            async for reply in answered:
                await self.write(reply)

    async def _requests(self, intake: Intake) -> AsyncIterator[Any]:
        try:
            async for message in intake.messages():
                yield self._read(message)
        except BadMessage as error:
            self._fail(error.code, str(error))
            raise asyncio.CancelledError from error

    def _read(self, message: bytes) -> Any:
        read = self._handler.request_deserializer
        return message if read is None else read(message)

    def _written(self, reply: Any) -> bytes:
        write = self._handler.response_serializer
        written: bytes = reply if write is None else write(reply)
        return written

    # ---- grpc.aio.ServicerContext, as far as handlers use it

    def time_remaining(self) -> float | None:
        """Seconds until the caller gives up; None: it never does."""
        return None if self._at_s is None else max(self._at_s - time.monotonic(), 0.0)

    def invocation_metadata(self) -> Metadata:
        """The caller's own headers, as pairs."""
        return self._opening.metadata

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[tuple[str, str | bytes]] = ()
    ) -> None:
        """End the call with this status. Raises grpc.aio.AbortError, which the handler lets through."""
        self.out.end(code, details, trailing_metadata)
        raise grpc.aio.AbortError("aborted by the handler")

    async def write(self, reply: Any) -> None:
        """Send one of several replies; returns when there is room for more."""
        await self.out.write(self._written(reply))
