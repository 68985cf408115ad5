"""The messages in the data of a stream: a flag, four bytes of length, the message. gRPC's PROTOCOL-HTTP2.md."""

import zlib
from struct import Struct
from typing import Final, NamedTuple

import grpc

__all__ = ["ENCODINGS", "PREFIX", "Assembler", "BadMessage", "Received", "TooLarge", "only"]

PREFIX: Final = Struct(">BL")
"""Whether it is compressed, and its length."""
ENCODINGS: Final = {"identity": None, "gzip": 31, "deflate": 15}
"""By name in grpc-encoding the window bits by which zlib reads it."""


class BadMessage(Exception):
    """Data that are no messages."""

    code = grpc.StatusCode.INTERNAL


class TooLarge(BadMessage):
    """A message larger than this server takes."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"received message larger than max ({size} vs. {most})")


class Received(NamedTuple):
    """A message as it came. It is expanded when its handler takes it: what waits is no larger than what was sent."""

    content: bytes
    compressed: bool

    @property
    def size(self) -> int:
        """Bytes of the stream that it took up."""
        return len(self.content) + PREFIX.size


def only(data: bytes, most: int) -> bytes | None:
    """The message that these data are, where they are one, not compressed, and nothing else: nearly always."""
    if len(data) < PREFIX.size:
        return None
    compressed, length = PREFIX.unpack_from(data)
    fits = length == len(data) - PREFIX.size and length <= most and not compressed
    return data[PREFIX.size :] if fits else None


class Assembler:
    """Puts the messages of one stream together."""

    __slots__ = ("_bits", "_compressed", "_length", "_most", "_parts")

    def __init__(self, encoding: str, most: int) -> None:
        """`encoding`: one of ENCODINGS; `most`: bytes of a message, after it was expanded too."""
        self._bits, self._most = ENCODINGS[encoding], most
        self._parts = bytearray()
        self._length: int | None = None
        self._compressed = False

    @property
    def missing(self) -> int:
        """Bytes that the message which has begun still lacks; 0 where none has."""
        return 0 if self._length is None else self._length - len(self._parts)

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._length is not None or bool(self._parts)

    def feed(self, data: bytes) -> list[Received]:
        """The messages that end in these data. Raises BadMessage, TooLarge."""
        if not self.partial and (message := only(data, self._most)) is not None:
            return [Received(message, compressed=False)]
        self._parts += data
        messages = []
        while (received := self._next()) is not None:
            messages.append(received)
        return messages

    def _next(self) -> Received | None:
        if self._length is None:
            if len(self._parts) < PREFIX.size:
                return None
            self._length = self._begin(*PREFIX.unpack_from(self._parts))
        if len(self._parts) < self._length:
            return None
        received = Received(bytes(self._parts[: self._length]), self._compressed)
        del self._parts[: self._length]
        self._length = None
        return received

    def _begin(self, flag: int, length: int) -> int:
        """The length of the message that begins."""
        if flag > 1 or (flag and self._bits is None):
            raise BadMessage("a message with the compressed flag set, which grpc-encoding does not name")
        if length > self._most:
            raise TooLarge(length, self._most)
        del self._parts[: PREFIX.size]
        self._compressed = bool(flag)
        return length

    def open(self, received: Received) -> bytes:
        """What it says. Raises BadMessage, TooLarge."""
        return self._expanded(received.content) if received.compressed else received.content

    def _expanded(self, content: bytes) -> bytes:
        assert self._bits is not None, "the flag was checked"
        expander = zlib.decompressobj(self._bits)
        try:
            whole = expander.decompress(content, self._most + 1)
        except zlib.error as error:
            raise BadMessage(f"a compressed message cannot be expanded: {error}") from error
        if len(whole) > self._most:
            raise TooLarge(len(whole), self._most)
        if not expander.eof:
            raise BadMessage("a compressed message is cut short")
        return whole
