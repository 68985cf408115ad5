"""What goes out on one connection: how much of it the peer takes, and who waits for its turn."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Protocol

from serving.http2.frames import LARGEST_WINDOW, Broken, ErrorCode
from serving.http2.outgoing import Outgoing
from serving.http2.patience import Patience

__all__ = ["FIRST_WINDOW", "Flow", "Line"]

FIRST_WINDOW: Final = 65_535
"""Bytes that are taken of a connection, and of a stream, before anything was said of it."""
_TAKEN: Final = 2
"""Frames by which a peer says that it took some data: for the stream, and for the connection."""


class Line(Protocol):
    """What is needed of a connection."""

    paused: bool
    """Whether so much waits for the peer that no more data are sent."""

    def write(self, *frames: bytes) -> None:
        """Send these, soon."""

    def idle(self, *, gone: bool) -> None:
        """There is no call now; `gone`: and none will come, nothing more is said."""


class Flow:
    """Implements `serving.http2.outgoing.Pipe`."""

    def __init__(self, line: Line, patience: Patience) -> None:
        self._line, self._patience, self.write = line, patience, line.write
        self._window = FIRST_WINDOW
        self.initial = FIRST_WINDOW
        """Bytes that the peer takes of a stream which begins."""
        self._blocked = OrderedDict[int, Outgoing]()

    def room(self) -> int:
        return 0 if self._line.paused else self._window

    def spend(self, count: int) -> None:
        self._window -= count
        self._patience.left += _TAKEN

    def block(self, outgoing: Outgoing) -> None:
        self._blocked[outgoing.stream] = outgoing

    def forget(self, stream: int) -> None:
        """It waits no more."""
        self._blocked.pop(stream, None)

    def widen(self, more: int) -> None:
        """The peer takes so many bytes more. Raises Broken."""
        self._window += more
        if not more:
            raise Broken(ErrorCode.PROTOCOL_ERROR, "a window of nothing")
        if self._window > LARGEST_WINDOW:
            raise Broken(ErrorCode.FLOW_CONTROL_ERROR, "the window of the connection is too large")
        self.pump()

    def resize(self, initial: int, all_out: Iterable[Outgoing]) -> None:
        """The peer takes so many bytes of a stream to begin with, and of these as many more. Raises Broken."""
        more, self.initial = initial - self.initial, initial
        for out in all_out:
            if out.window + more > LARGEST_WINDOW:
                raise Broken(ErrorCode.FLOW_CONTROL_ERROR, f"the window of stream {out.stream} is too large")
            out.widen(more)

    def pump(self) -> None:
        """Send what waited, in turn, as far as there is room now."""
        for _ in range(len(self._blocked)):
            if self.room() <= 0:
                return
            self._blocked.popitem(last=False)[1].pump()
