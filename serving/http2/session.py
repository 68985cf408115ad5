"""What the frames of one connection mean: its streams, flow control, and the rules that a peer has to keep."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import grpc

from serving.http2 import control, replies
from serving.http2 import frames as h2
from serving.http2.blocks import Blocks
from serving.http2.call import Call
from serving.http2.flow import FIRST_WINDOW, Flow, Line
from serving.http2.frames import Broken, ErrorCode, Setting
from serving.http2.headers import LARGEST_LIST, Malformed, NotGrpc, Opening, Refused, RequestHeaders
from serving.http2.intake import WINDOW, Lender
from serving.http2.patience import Patience
from serving.http2.pressure import Pressure
from serving.http2.service import Service, refusing

__all__ = ["Session"]

CONNECTION_WINDOW: Final = 1 << 24
"""Bytes that may be on their way to us on one connection."""
LARGE_MESSAGES: Final = 4
"""Messages larger than the window of a stream that may be on their way to us on one connection."""
ACKNOWLEDGE_S: Final = 1.0
"""How long a peer has to acknowledge that the server goes away."""
MANY: Final = 16
"""Calls of a connection from which on it is asked whether another one is turned away."""
_DRAIN_PING: Final = b"draining"
_PLAIN: Final = h2.PADDED | h2.WITH_PRIORITY | h2.END_HEADERS
_EARNED: Final = 4
"""Frames that are no work which a call makes up for: its reset, a ping, two window updates."""
_NOTHING: Final = Opening("", None, "identity", ())

log = logging.getLogger(__name__)


class Session:
    """One peer. Implements `serving.http2.call.Wire`."""

    def __init__(self, service: Service, line: Line) -> None:
        self._service, self._line, self.write = service, line, line.write
        self.max_message_bytes = service.max_message_bytes
        self.lender = Lender(LARGE_MESSAGES * service.max_message_bytes)
        self.calls: dict[int, Call] = {}
        """By stream, all that are not over."""
        self.last = 0
        """The newest stream."""
        self.told_settings = False
        """Whether the peer has told its settings, with which it has to begin."""
        self.blocks = Blocks()
        self._headers, self._patience, self._pressure = RequestHeaders(), Patience(), Pressure()
        self.flow = Flow(line, self._patience)
        self._received = 0
        self._going = self._gone = False

    def greet(self) -> None:
        """Tell the peer what it may do."""
        own = {
            Setting.MAX_CONCURRENT_STREAMS: self._service.max_calls,
            Setting.INITIAL_WINDOW_SIZE: WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: LARGEST_LIST,
        }
        self.write(h2.settings(own), h2.window_update(0, CONNECTION_WINDOW - FIRST_WINDOW))
        if self._service.draining:
            self.drain()

    # ---- frames in

    def frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """One frame of the peer. Raises Broken."""
        if self.blocks.began is not None:
            self.blocks.check(kind, stream)
        if kind == h2.DATA:
            self._on_data(flags, stream, payload)
        elif not self.told_settings and (kind != h2.SETTINGS or flags & h2.ACK):
            raise Broken(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        elif kind == h2.HEADERS:
            self._on_headers(flags, stream, payload)
        elif kind in _OTHERS:
            _OTHERS[kind](self, flags, stream, payload)
        else:
            self._patience.tire()  # a kind of frame that nobody knows yet is to be ignored

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._received += size
        if self._received >= CONNECTION_WINDOW // 2:
            self.write(h2.window_update(0, self._received))
            self._received = 0
        if flags & h2.PADDED:
            payload = h2.unpadded(flags, payload)
        last = flags & h2.END_STREAM != 0
        if not payload and not last:
            self._patience.tire()
        call = self.calls.get(stream)
        if call is not None:
            call.receive(payload, size=size, last=last)
        elif not self._was(stream):
            raise Broken(ErrorCode.PROTOCOL_ERROR, f"data on stream {stream}, which is idle")

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & _PLAIN == h2.END_HEADERS:
            self._on_block(stream, payload, last=flags & h2.END_STREAM != 0)
        elif (block := self.blocks.begin(flags, stream, payload)) is not None:
            self._on_block(block.stream, block.content, last=block.last)

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        self._patience.tire()
        if (block := self.blocks.go_on(flags, payload)) is not None:
            self._on_block(block.stream, block.content, last=block.last)

    def _on_block(self, stream: int, block: bytes, *, last: bool) -> None:
        if stream <= self.last or stream % 2 == 0:
            self._on_trailers(stream, block, last=last)
            return
        self.last = stream
        try:
            opening = self._headers.read(block)
        except Malformed as error:
            log.debug("stream %d: %s", stream, error)
            self._decline(h2.reset(stream, ErrorCode.PROTOCOL_ERROR))
        except NotGrpc as error:
            self._decline(replies.http_only(stream, error.status))
        except Refused as error:
            self._open(stream, _NOTHING, refusing(error.code, str(error)), last=last)
        else:
            self._open(stream, opening, self._service.method(opening.path), last=last)

    def _decline(self, answer: bytes) -> None:
        self._patience.tire()
        self.write(answer)

    def _on_trailers(self, stream: int, block: bytes, *, last: bool) -> None:
        """A second block of a stream, of which nothing is used but that it ends the stream."""
        if not self._was(stream):
            raise Broken(ErrorCode.PROTOCOL_ERROR, f"stream {stream} is not the client's to open")
        self._patience.tire()
        self._headers.skip(block)
        call = self.calls.get(stream)
        if call is not None and last:
            call.receive(b"", size=0, last=True)
        elif call is not None:
            call.reset(ErrorCode.PROTOCOL_ERROR)

    def _open(self, stream: int, opening: Opening, handler: grpc.RpcMethodHandler, *, last: bool) -> None:
        many = handler.request_streaming or handler.response_streaming
        if self._gone or (self._going and many) or self._full():
            self._decline(h2.reset(stream, ErrorCode.REFUSED_STREAM))  # clients call again, elsewhere or later
            return
        left_s = opening.timeout_s
        if left_s is not None and opening.path in self._service.shedding.paths and self._late(opening.path, left_s):
            self._patience.left += _EARNED
            self.write(replies.too_late(stream))
            return
        self.calls[stream] = call = Call(self, stream, opening, handler, self.flow.initial)
        call.begin()
        if last:
            call.receive(b"", size=0, last=True)

    def _late(self, path: str, left_s: float) -> bool:
        """Whether a call is refused at once, as one that would be answered too late."""
        count = len(self.calls)
        self._pressure.seen(left_s, full=count >= self._service.max_calls - 1)
        return count >= MANY and self._service.shedding.turns_away(path, left_s, self._pressure.needs_s)

    def _full(self) -> bool:
        """Whether there are too many calls.

        Those that a peer has given up, and whose handlers still end, count half: it may have begun others by now.
        """
        most = self._service.max_calls
        if len(self.calls) < most:
            return False
        return len(self.calls) >= 2 * most or sum(not call.out.done for call in self.calls.values()) >= most

    def _was(self, stream: int) -> bool:
        """Whether the stream has been opened before."""
        return stream % 2 == 1 and stream <= self.last

    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None:
        control.check_reset(payload)
        if not self._was(stream):
            raise Broken(ErrorCode.PROTOCOL_ERROR, f"a reset of stream {stream}, which is idle")
        call = self.calls.get(stream)
        self._patience.tire(1 if call is None else _EARNED)
        if call is not None:
            call.cancel()

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        told = control.settings_of(flags, stream, payload)
        self._patience.tire(1 + len(self.calls) // 16)
        if flags & h2.ACK:
            return
        self.told_settings = True
        if Setting.INITIAL_WINDOW_SIZE in told:
            self.flow.resize(told[Setting.INITIAL_WINDOW_SIZE], [call.out for call in self.calls.values()])
        self.write(h2.frame(h2.SETTINGS, h2.ACK, 0, b""))

    def _on_window(self, flags: int, stream: int, payload: bytes) -> None:
        more = control.window_of(payload)
        self._patience.tire()
        if stream == 0:
            self.flow.widen(more)
        elif (call := self.calls.get(stream)) is not None:
            if not more or call.out.window + more > h2.LARGEST_WINDOW:
                call.reset(ErrorCode.FLOW_CONTROL_ERROR if more else ErrorCode.PROTOCOL_ERROR)
            else:
                call.out.widen(more)
        elif not self._was(stream):
            raise Broken(ErrorCode.PROTOCOL_ERROR, f"a window for stream {stream}, which is idle")

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        control.check_ping(stream, payload)
        self._patience.tire()
        if not flags & h2.ACK:
            self.write(h2.frame(h2.PING, h2.ACK, 0, payload))
        elif payload == _DRAIN_PING and self._going:
            self._refuse_new()

    def _on_priority(self, flags: int, stream: int, payload: bytes) -> None:
        control.check_priority(stream, payload)
        self._patience.tire()

    def _on_push(self, flags: int, stream: int, payload: bytes) -> None:
        raise Broken(ErrorCode.PROTOCOL_ERROR, "clients do not push")

    def _on_going_away(self, flags: int, stream: int, payload: bytes) -> None:
        control.check_going_away(stream, payload)
        self._patience.tire()  # it opens no more streams; those that are open go on

    # ---- the end

    def forget(self, call: Call) -> None:
        if self.calls.pop(call.stream, None) is not None:
            self.flow.forget(call.stream)
            self._patience.left += _EARNED
            if not self.calls:
                self._line.idle(gone=self._gone)

    def drain(self) -> None:
        """Tell the peer to go elsewhere, answer what is under way, then end."""
        self._going = True
        ping = h2.frame(h2.PING, 0, 0, _DRAIN_PING)
        self.write(h2.going_away(h2.LARGEST_WINDOW, ErrorCode.NO_ERROR, "the server is going away"), ping)
        asyncio.get_running_loop().call_later(ACKNOWLEDGE_S, self._refuse_new)
        for call in list(self.calls.values()):
            call.leave()

    def _refuse_new(self) -> None:
        """The peer knows; what it sent before is here."""
        if not self._gone:
            self._gone = True
            self.write(h2.going_away(self.last, ErrorCode.NO_ERROR, "the server is going away"))
            if not self.calls:
                self._line.idle(gone=True)

    def cancel(self) -> None:
        """All calls end."""
        for call in list(self.calls.values()):
            call.cancel()


_OTHERS: Final[dict[int, Callable[[Session, int, int, bytes], None]]] = {
    h2.RST_STREAM: Session._on_reset,
    h2.SETTINGS: Session._on_settings,
    h2.WINDOW_UPDATE: Session._on_window,
    h2.PING: Session._on_ping,
    h2.PRIORITY: Session._on_priority,
    h2.GOAWAY: Session._on_going_away,
    h2.PUSH_PROMISE: Session._on_push,
    h2.CONTINUATION: Session._on_continuation,
}
