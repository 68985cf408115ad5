"""gRPC calls on one HTTP/2 connection, as cheap as Python can make them: a generator that takes a core measures itself.

A call costs some 50 µs here, a third of what it costs with grpc.aio. It is a client for loads alone: no TLS, no
retries; of a response it reads the messages, and whether there were any. A call that ends without one has failed.

Frames: RFC 9113. Header blocks: RFC 7541; the first request of a connection puts its headers into the server's dynamic
table, every other names them by their places, as gRPC's own clients do.
"""

import socket
import struct
from collections import defaultdict, deque
from contextlib import suppress
from typing import Final

__all__ = ["ENDED", "Connection", "Event", "frame"]

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SETTING: Final = 4
_INITIAL_WINDOW: Final = 65_535
_LARGEST_WINDOW: Final = 2**31 - 1
_LARGEST_FRAME: Final = 16_384
"""What every server takes; a message is sent in one."""
_PREFIX: Final = 5
"""Of a message: a flag and its length."""
_REFILL: Final = 2**30
_READ: Final = 1 << 18
_POST_HTTP: Final = b"\x83\x86"
"""`:method: POST` and `:scheme: http`, from the static table."""
_FIRST_DYNAMIC: Final = 62
_DEADLINE: Final = "20S"
_OWN_DEADLINE: Final = bytes((0x0F, _FIRST_DYNAMIC - 0x0F))
"""A literal that goes into no table, its name that of the newest entry: grpc-timeout."""

ENDED: Final = None
Event = tuple[int, bytes | None]
"""A stream, and a message of it; ENDED where the server has ended the stream."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, 4.1."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(address: str, method: str, deadline: str) -> tuple[bytes, bytes]:
    """The header block of a connection's first request, and that of all later ones."""
    pairs = [
        (":path", method),
        (":authority", address),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", deadline),
    ]
    literal = b"".join(
        b"\x40" + b"".join(bytes((len(text),)) + text.encode() for text in pair) for pair in pairs
    )  # "with incremental indexing", no name from a table
    places = range(_FIRST_DYNAMIC + len(pairs) - 1, _FIRST_DYNAMIC - 1, -1)  # the newest entry comes first
    return _POST_HTTP + literal, _POST_HTTP + bytes(0x80 | place for place in places)


class Connection:
    """One connection. `call`, `begin`, `send` and `end` write into a buffer, `flush` sends it."""

    def __init__(self, address: str, method: str, deadline: str = _DEADLINE) -> None:
        """Dial host:port; `deadline` of each call, as grpc-timeout says it. Raises OSError."""
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._first, self._later = _headers(address, method, deadline)
        self._block = self._first
        self._next = 1
        self._in, self._partial = bytearray(), defaultdict[int, bytearray](bytearray)
        self._window, self._initial = _INITIAL_WINDOW, _INITIAL_WINDOW
        self._windows: dict[int, int] = {}
        """Of the streams that were begun and not ended; the one message of a call is smaller than its window."""
        self._waiting: deque[tuple[int, bytes, int]] = deque()
        self._received = 0
        settings = struct.pack(">HI", _INITIAL_WINDOW_SETTING, _LARGEST_WINDOW)
        grant = struct.pack(">I", _LARGEST_WINDOW - _INITIAL_WINDOW)
        self._out = bytearray(_PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW, 0, 0, grant))

    def call(self, message: bytes, deadline: str = "") -> int:
        """Make a call of one message; returns its stream. Raises ValueError where it is too large for one frame.

        `deadline`: its own, in the place of the connection's; the first call of a connection has that.
        """
        stream = self._open(deadline)
        self._write(stream, message, _END_STREAM)
        return stream

    def begin(self) -> int:
        """Begin a call of many messages; returns its stream."""
        stream = self._open()
        self._windows[stream] = self._initial
        return stream

    def send(self, stream: int, message: bytes) -> None:
        """One message of a call that was begun."""
        self._write(stream, message, 0)

    def end(self, stream: int) -> None:
        """No more messages of this call."""
        self._out += frame(_DATA, _END_STREAM, stream, b"")

    def flush(self) -> bool:
        """Send what is in the buffer, as far as the socket takes it; returns whether something is left."""
        if self._out:
            with suppress(BlockingIOError):
                del self._out[: self.socket.send(self._out)]
        return bool(self._out)

    def receive(self) -> list[Event]:
        """What the server has said since. Raises ConnectionError where it ended the connection."""
        read = self.socket.recv(_READ)
        if not read:
            raise ConnectionError("the server ended the connection")
        self._in += read
        return self._events()

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def _open(self, deadline: str = "") -> int:
        stream = self._next
        self._next += 2
        block = self._block
        if deadline and block is self._later:
            block = block[:-1] + _OWN_DEADLINE + bytes((len(deadline),)) + deadline.encode()
        self._out += frame(_HEADERS, _END_HEADERS, stream, block)
        self._block = self._later
        return stream

    def _write(self, stream: int, message: bytes, flags: int) -> None:
        size = len(message) + _PREFIX
        if size > _LARGEST_FRAME:
            raise ValueError(f"a message of {len(message)} bytes; this client sends up to {_LARGEST_FRAME - _PREFIX}")
        whole = frame(_DATA, flags, stream, b"\x00" + struct.pack(">I", len(message)) + message)
        if self._waiting or not self._has_room(stream, size):
            self._waiting.append((stream, whole, size))
        else:
            self._put(stream, whole, size)

    def _has_room(self, stream: int, size: int) -> bool:
        return size <= self._window and size <= self._windows.get(stream, size)

    def _put(self, stream: int, frame: bytes, size: int) -> None:
        self._out += frame
        self._window -= size
        if stream in self._windows:
            self._windows[stream] -= size

    def _events(self) -> list[Event]:
        """The events of all frames that are whole."""
        events: list[Event] = []
        data, start = bytes(self._in), 0
        while len(data) - start >= 9:
            end = start + 9 + int.from_bytes(data[start : start + 3], "big")
            if end > len(data):
                break
            kind, flags, stream = data[start + 3], data[start + 4], int.from_bytes(data[start + 5 : start + 9], "big")
            self._take(kind, flags, stream, data[start + 9 : end], events)
            start = end
        del self._in[:start]
        return events

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        if kind == _DATA:
            self._take_data(stream, payload, events)
        elif kind == _RST:
            events.append((stream, ENDED))
            return
        elif kind != _HEADERS:
            self._take_control(kind, flags, stream, payload)
            return
        if flags & _END_STREAM:
            self._windows.pop(stream, None)
            events.append((stream, ENDED))

    def _take_data(self, stream: int, payload: bytes, events: list[Event]) -> None:
        """Messages begin with a flag byte and their length, and do not care for frames."""
        self._received += len(payload)
        if self._received >= _REFILL:
            self._out += frame(_WINDOW, 0, 0, struct.pack(">I", self._received))
            self._received = 0
        if stream not in self._partial and len(payload) == 5 + int.from_bytes(payload[1:5], "big"):
            events.append((stream, payload[5:]))  # nearly always
            return
        rest = self._partial.pop(stream, bytearray()) + payload
        while len(rest) >= 5 and len(rest) >= (end := 5 + int.from_bytes(rest[1:5], "big")):
            events.append((stream, bytes(rest[5:end])))
            del rest[:end]
        if rest:
            self._partial[stream] = rest

    def _take_control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _PING and not flags & _ACK:
            self._out += frame(_PING, _ACK, 0, payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._take_settings(payload)
            self._out += frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _WINDOW:
            self._take_grant(stream, int.from_bytes(payload, "big"))
        elif kind == _GOAWAY:
            raise ConnectionError(f"the server goes away: {payload[8:].decode(errors='replace')}")

    def _take_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SETTING:
                self._windows = {stream: left + value - self._initial for stream, left in self._windows.items()}
                self._initial = value

    def _take_grant(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
        elif stream in self._windows:
            self._windows[stream] += size
        while self._waiting and self._has_room(self._waiting[0][0], self._waiting[0][2]):
            self._put(*self._waiting.popleft())
