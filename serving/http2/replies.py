"""What this side says on a stream, as bytes: headers, messages, trailers. Nothing of it changes the peer's table."""

import base64
import re
from collections.abc import Iterable
from itertools import cycle
from struct import Struct
from typing import Final

import grpc

from serving.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LARGEST_FRAME,
    frame,
)
from serving.http2.messages import ENCODINGS, PREFIX

__all__ = ["LARGEST_REPLY", "data", "ending", "headers", "http_only", "too_late", "whole"]

LARGEST_REPLY: Final = LARGEST_FRAME - PREFIX.size
"""Bytes of a message that goes out in one frame."""
_LONGEST: Final = 6_000
"""Bytes of a status message; gRPC's clients take 8 KiB of trailers."""
_NO_TABLE: Final = b"\x20"
"""Sets the table of this side to 0 bytes: a peer may then allow it as few as it likes, and need not be told."""
_STATUS_200: Final = b"\x88"
_STATUS: Final = 8
"""Place of `:status` in the static table."""
_CONTENT_TYPE: Final = 31


def _integer(value: int, bits: int) -> bytes:
    """RFC 7541, section 5.1; the bits before it are 0."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out, value = bytearray([most]), value - most
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(text: bytes) -> bytes:
    return _integer(len(text), 7) + text


def _field(name: int | str, value: str) -> bytes:
    """A field that goes into no table, its name by its place in the static one or spelled out."""
    named = _integer(name, 4) if isinstance(name, int) else b"\x00" + _text(name.encode("ascii"))
    return named + _text(value.encode("latin-1"))


_ENCODINGS: Final = _field("grpc-accept-encoding", ",".join(ENCODINGS))
_OPENING: Final = _NO_TABLE + _STATUS_200 + _field(_CONTENT_TYPE, "application/grpc")
_OK: Final = _field("grpc-status", "0")
_WHOLE: Final = Struct(f">BHBBL{len(_OPENING)}sBHBBLBL")
_TRAILERS: Final = Struct(f">BHBBL{len(_OK)}s")


def whole(stream: int, message: bytes) -> tuple[bytes, bytes, bytes]:
    """A reply of one message, of at most LARGEST_REPLY bytes, and the end of its stream."""
    length = len(message)
    begin = _WHOLE.pack(
        0, len(_OPENING), HEADERS, END_HEADERS, stream, _OPENING, 0, length + 5, DATA, 0, stream, 0, length
    )
    return begin, message, _TRAILERS.pack(0, len(_OK), HEADERS, END_HEADERS | END_STREAM, stream, _OK)


def headers(stream: int) -> bytes:
    """The frame before the first message."""
    return frame(HEADERS, END_HEADERS, stream, _OPENING)


def data(stream: int, content: bytes | memoryview) -> bytes:
    """A frame of data."""
    return frame(DATA, 0, stream, content)


def ending(
    stream: int, code: grpc.StatusCode, details: str, metadata: Iterable[tuple[str, str | bytes]], *, alone: bool
) -> bytes:
    """The frame that ends a stream and says how the call went; `alone`: no headers went before it."""
    block = _OPENING + _ENCODINGS if alone else b""
    block += _field("grpc-status", str(code.value[0]))
    if details:
        block += _field("grpc-message", _percent_encoded(details))
    for name, value in metadata:
        text = value if isinstance(value, str) else base64.b64encode(value).rstrip(b"=").decode("ascii")
        block += _field(name.lower(), text)
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)


def too_late(stream: int) -> bytes:
    """The answer to a call for which there is no time. It has to be cheap, so it is made in advance."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, next(_TOO_LATE))


def _too_late(retry_ms: int) -> bytes:
    words = f"this server has as much to do as it can answer in time; try again in {retry_ms} ms, or ask another."
    return b"".join(
        [
            _OPENING,
            _ENCODINGS,
            _field("grpc-status", str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])),
            _field("grpc-message", words),
            _field("grpc-retry-pushback-ms", str(retry_ms)),
        ]
    )


_TOO_LATE: Final = cycle(_too_late(50 + 37 * i % 101) for i in range(101))
"""Those who are turned away together come again at different times, 50 to 150 ms later."""


def http_only(stream: int, status: int) -> bytes:
    """The answer to a request that is no call of gRPC."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, _NO_TABLE + _field(_STATUS, str(status)))


def _percent_encoded(text: str) -> str:
    """Status messages: printable ASCII but % as it is, all other bytes of UTF-8 as %XX."""
    encoded = "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in text.encode())
    return encoded if len(encoded) <= _LONGEST else re.sub("%.?$", "", encoded[:_LONGEST])
