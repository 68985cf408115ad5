"""A connection as gRPC's clients keep one, for a generator of loads: it knows what the server has said of itself."""

import struct
from typing import Final

from benchmarks.predict.http2 import Connection, Event, frame

__all__ = ["UNTOUCHED", "Line"]

_RST, _GOAWAY, _MOST_STREAMS = 3, 7, 3
_REFUSED_STREAM, _CANCEL = struct.pack(">I", 7), struct.pack(">I", 8)
"""Two frames, a setting and two error codes: RFC 9113, 6.4, 6.8, 6.5.2 and 7."""
_ANY: Final = 2**31 - 1
"""Calls that a server takes which says nothing of it."""
UNTOUCHED: Final = b"untouched"
"""In the place of an answer: the server has not begun the call, and gRPC's clients make such a call again."""


class Line(Connection):
    """It has no more calls on it than the server allows, none before the server has said how many, and none that are
    new once the server goes away; the answers to those that were made still come.
    """

    leaving = False
    most = 0
    """Calls at once."""

    def cancel(self, stream: int) -> None:
        """Wait for a call no longer."""
        self._out += frame(_RST, 0, stream, _CANCEL)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        if kind == _RST and payload == _REFUSED_STREAM:
            events.append((stream, UNTOUCHED))
        super()._take(kind, flags, stream, payload, events)

    def _take_control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _GOAWAY:
            self.leaving = True
        else:
            super()._take_control(kind, flags, stream, payload)

    def _take_settings(self, payload: bytes) -> None:
        super()._take_settings(payload)
        self.most = dict(struct.iter_unpack(">HI", payload)).get(_MOST_STREAMS, self.most or _ANY)
