"""One connection of TCP or TLS: bytes to frames and back, and how long a peer may take for what it has to do."""

import asyncio
import logging
from typing import Final, cast

from serving.http2 import frames as h2
from serving.http2.frames import Broken, ErrorCode
from serving.http2.service import Service
from serving.http2.session import Session

__all__ = ["Connection"]

OUT_BUFFER: Final = 1 << 20
"""Bytes that wait for a peer that does not read, before calls are held up and nothing is read from it either."""
STALLED_S: Final = 60.0
"""How long a peer that is held up so may take nothing at all."""
GREETING_S: Final = 10.0
"""How long a peer may take to begin to speak HTTP/2, or to send a header block that it has begun."""
PARTING_S: Final = 0.25
"""How long a peer that was told everything has to close the connection by itself; what it sends till then is read, or
the system would throw away with it what it was told."""
LINGER_S: Final = 5.0
"""How long a peer has to take what was said before its connection was closed."""

log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """A peer. Implements `serving.http2.flow.Line`."""

    def __init__(self, service: Service, connections: "set[Connection]") -> None:
        """`connections`: where it is kept for as long as it is open, or has calls."""
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._rest, self._out = b"", list[bytes]()
        self._greeted = self._flushing = self._closing = False
        self._greeting: asyncio.TimerHandle | None = None
        self._stalling: asyncio.TimerHandle | None = None
        self.paused = False
        self.session = Session(service, self)
        self.over = self._loop.create_future()
        """Done when the connection is, and the last of its calls."""

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport.set_write_buffer_limits(high=OUT_BUFFER)
        self._connections.add(self)
        self.session.greet()
        self._greeting = self._loop.call_later(GREETING_S, self._check_greeted)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._greeting is not None:
            self._greeting.cancel()
        self._go_on()
        self.session.cancel()
        self._settle()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        data = self._rest + data if self._rest else data
        began = self.session.blocks.began
        try:
            self._rest = data[self._read(data, 0 if self._greeted else self._greet(data)) :]
        except Broken as error:
            self._fail(error)
        if self.session.blocks.began not in (began, None):
            self._loop.call_later(GREETING_S, self._check_block, self.session.blocks.began)

    def eof_received(self) -> bool:
        self.close()  # a client that is done sending is gone
        return False

    def pause_writing(self) -> None:
        """It does not read: no more is read from it, or what it asks for would pile up here."""
        self.paused = True
        if self._transport is not None:
            self._transport.pause_reading()
            self._watch(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._go_on()
        if self._transport is not None and not self._closing:
            self._transport.resume_reading()
        self.session.flow.pump()

    def _go_on(self) -> None:
        self.paused = False
        if self._stalling is not None:
            self._stalling.cancel()
            self._stalling = None

    # ---- in

    def _greet(self, data: bytes) -> int:
        """Look for the preface; returns its length once it is there. Raises Broken."""
        seen = data[: len(h2.PREFACE)]
        if not h2.PREFACE.startswith(seen):
            self._out.clear()
            self.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            raise Broken(ErrorCode.PROTOCOL_ERROR, "this port speaks gRPC, over HTTP/2 alone")
        self._greeted = len(seen) == len(h2.PREFACE)
        return len(seen) if self._greeted else 0

    def _read(self, data: bytes, at: int) -> int:
        """Take all frames that are whole; returns where they end. Raises Broken."""
        end, unpack, take = len(data) if self._greeted else 0, h2.HEAD.unpack_from, self.session.frame
        while end - at >= h2.HEAD.size:
            high, low, kind, flags, stream = unpack(data, at)
            start = at + h2.HEAD.size
            stop = start + (high << 16 | low)
            if stop - start > h2.LARGEST_FRAME:
                raise Broken(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {stop - start} bytes")
            if stop > end:
                break
            take(kind, flags, stream & 0x7FFFFFFF, data[start:stop])
            at = stop
        return at

    # ---- out

    def write(self, *frames: bytes) -> None:
        self._out += frames
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is not None and not self._closing and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    # ---- what takes too long

    def _check_greeted(self) -> None:
        if not self.session.told_settings:
            self.close()

    def _check_block(self, began: object) -> None:
        if began is not None and began is self.session.blocks.began:
            self._fail(Broken(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end"))

    def _watch(self, before: int) -> None:
        self._stalling = self._loop.call_later(STALLED_S, self._check_stalled, before)

    def _check_stalled(self, before: int) -> None:
        if self._transport is not None:
            waiting = self._transport.get_write_buffer_size()
            if waiting < before:
                self._watch(waiting)
            else:
                self.abort()

    # ---- the end

    def idle(self, *, gone: bool) -> None:
        if self._transport is None:
            self._settle()
        elif gone:
            self._loop.call_later(PARTING_S, self.close)

    def _fail(self, error: Broken) -> None:
        log.debug("a connection is ended: %s", error)
        if self._greeted:
            self.write(h2.going_away(self.session.last, error.code, str(error)))
        self._rest = b""
        self.close()

    def close(self) -> None:
        """Send what there is to send, end the connection, and its calls with it."""
        self._flush()
        if self._transport is not None and not self._closing:
            self._closing = True
            self._transport.close()
            self._loop.call_later(LINGER_S, self.abort)
        self.session.cancel()

    def abort(self) -> None:
        """End the connection now."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()
        self.session.cancel()
        self._settle()

    def _settle(self) -> None:
        if self._transport is None and not self.session.calls and not self.over.done():
            self._connections.discard(self)
            self.over.set_result(None)
