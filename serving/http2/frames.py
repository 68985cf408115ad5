"""HTTP/2 frames as bytes. RFC 9113, sections 4 to 7."""

from enum import IntEnum
from struct import Struct
from typing import Final

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "GOAWAY",
    "HEAD",
    "HEADERS",
    "LARGEST_FRAME",
    "LARGEST_WINDOW",
    "PADDED",
    "PING",
    "PREFACE",
    "PRIORITY",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "WITH_PRIORITY",
    "Broken",
    "ErrorCode",
    "Setting",
    "frame",
    "going_away",
    "reset",
    "settings",
    "unpadded",
    "window_update",
]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = Struct(">BHBBL")
"""Length (8 and 16 bits), kind, flags, stream; its highest bit is reserved."""
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20
LARGEST_FRAME: Final = 16_384
"""Bytes of a frame that every peer takes; this side takes no larger ones."""
LARGEST_WINDOW: Final = 2**31 - 1

_SETTING, _U32, _TWO = Struct(">HL"), Struct(">L"), Struct(">LL")


class ErrorCode(IntEnum):
    """Why a stream or a connection ends. RFC 9113, section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    """What peers tell each other of themselves. RFC 9113, section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Broken(Exception):
    """The peer broke a rule that concerns the whole connection, which ends."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview) -> bytes:
    """One frame."""
    length = len(payload)
    return HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """The frame that tells them."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*one) for one in values.items()))


def window_update(stream: int, more: int) -> bytes:
    """The frame that lets the peer send so many bytes more, on a stream or (0) the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _U32.pack(more))


def reset(stream: int, code: ErrorCode) -> bytes:
    """The frame that ends a stream at once."""
    return frame(RST_STREAM, 0, stream, _U32.pack(code))


def going_away(last_stream: int, code: ErrorCode, why: str = "") -> bytes:
    """The frame that says which streams are still served."""
    return frame(GOAWAY, 0, 0, _TWO.pack(last_stream, code) + why.encode()[:200])


def unpadded(flags: int, payload: bytes) -> bytes:
    """What a frame of data or headers holds beside its padding. Raises Broken."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
