"""Header blocks, put together from HEADERS and the CONTINUATIONs after it. RFC 9113, sections 6.2 and 6.10."""

from typing import Final, NamedTuple

from serving.http2.frames import CONTINUATION, END_HEADERS, END_STREAM, WITH_PRIORITY, Broken, ErrorCode, unpadded
from serving.http2.headers import LARGEST_BLOCK

__all__ = ["Block", "Blocks"]

_PRIORITY: Final = 5


class Block(NamedTuple):
    """A whole one."""

    stream: int
    content: bytes
    last: bool
    """Whether it ends its stream."""


class Blocks:
    """Those of one connection, of which only one at a time can have begun."""

    def __init__(self) -> None:
        self._stream, self._last, self._parts = 0, False, bytearray()
        self.began: object = None
        """Another object for each block that has begun and not ended; None: there is none."""

    def check(self, kind: int, stream: int) -> None:
        """Nothing may come between the parts of the block that has begun. Raises Broken."""
        if kind != CONTINUATION or stream != self._stream:
            raise Broken(ErrorCode.PROTOCOL_ERROR, "a header block is cut short")

    def begin(self, flags: int, stream: int, payload: bytes) -> Block | None:
        """HEADERS; the block where it is whole. Raises Broken."""
        part = unpadded(flags, payload)
        if flags & WITH_PRIORITY:
            if len(part) < _PRIORITY:
                raise Broken(ErrorCode.FRAME_SIZE_ERROR, "headers without their priority")
            part = part[_PRIORITY:]
        self._stream, self._last, self._parts = stream, flags & END_STREAM != 0, bytearray(part)
        self.began = object()
        return self._whole(flags)

    def go_on(self, flags: int, payload: bytes) -> Block | None:
        """CONTINUATION; the block where it is whole. Raises Broken."""
        if self.began is None:
            raise Broken(ErrorCode.PROTOCOL_ERROR, "a header block goes on that never began")
        self._parts += payload
        if len(self._parts) > LARGEST_BLOCK:
            raise Broken(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        return self._whole(flags)

    def _whole(self, flags: int) -> Block | None:
        if not flags & END_HEADERS:
            return None
        self.began = None
        return Block(self._stream, bytes(self._parts), self._last)
