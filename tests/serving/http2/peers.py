"""A server of small methods, and a client that sends any bytes."""

import asyncio
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from hpack import Decoder

from serving.http2 import Server
from serving.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    frame,
    settings,
)
from serving.http2.service import Shedding

__all__ = [
    "MOST",
    "OPENING",
    "Frame",
    "Methods",
    "Raw",
    "Served",
    "block",
    "call",
    "dialled",
    "literal",
    "message",
    "message_of",
    "served",
]

MOST = 1 << 20
"""Bytes of a message."""


@dataclass
class Methods:
    """What is served under /t.T/, and what became of it."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    most_running: int = 0
    cancelled: int = 0

    async def echo(self, message: bytes, context: Any) -> bytes:
        return message

    async def remaining(self, message: bytes, context: Any) -> bytes:
        return repr(context.time_remaining()).encode()

    async def metadata(self, message: bytes, context: Any) -> bytes:
        return repr(dict(context.invocation_metadata())).encode()

    async def wait(self, message: bytes, context: Any) -> bytes:
        """Answers once `open` is set."""
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return message

    async def fail(self, message: bytes, context: Any) -> bytes:
        raise ValueError("a secret")

    async def refuse(self, message: bytes, context: Any) -> bytes:
        await context.abort(
            grpc.StatusCode.FAILED_PRECONDITION, "no: 100 % é\n", (("why", "x"), ("why-bin", b"\x00\xff"))
        )
        raise AssertionError

    async def size(self, message: bytes, context: Any) -> bytes:
        return str(len(message)).encode()

    async def grow(self, message: bytes, context: Any) -> bytes:
        return b"x" * int(message)

    async def echoes(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    async def lazy(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Takes no message before `open` is set."""
        await self.open.wait()
        async for message in messages:
            yield str(len(message)).encode()

    async def count(self, message: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(message)):
            yield str(number).encode()

    async def watch(self, message: bytes, context: Any) -> None:
        await context.write(b"first")
        await self.open.wait()
        await context.write(b"second")

    async def total(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        return str(sum([len(message) async for message in messages])).encode()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        unary = (self.echo, self.remaining, self.metadata, self.wait, self.fail, self.refuse, self.size, self.grow)
        return {
            **{one.__name__: grpc.unary_unary_rpc_method_handler(one) for one in unary},
            **{one.__name__: grpc.stream_stream_rpc_method_handler(one) for one in (self.echoes, self.lazy)},
            **{one.__name__: grpc.unary_stream_rpc_method_handler(one) for one in (self.count, self.watch)},
            "total": grpc.stream_unary_rpc_method_handler(self.total),
        }


@dataclass
class Served:
    """A server that runs."""

    server: Server
    methods: Methods
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def calls(self) -> int:
        """How many are not over."""
        return sum(len(connection.session.calls) for connection in self.server._connections)

    @property
    def connections(self) -> int:
        return len(self.server._connections)

    async def settled(self, calls: int = 0, connections: int | None = None) -> None:
        """Wait until so few are left. Raises TimeoutError."""
        async with asyncio.timeout(5):
            while self.calls > calls or (connections is not None and self.connections > connections):
                await asyncio.sleep(0.005)


@asynccontextmanager
async def served(
    *,
    max_calls: int = 100,
    context: Any = None,
    shedding: Shedding | None = None,
) -> AsyncIterator[Served]:
    """A server of `Methods`; nothing of it is left afterwards."""
    server = Server(max_message_bytes=MOST, max_calls=max_calls, share_port=False, shedding=shedding)
    methods = Methods()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", methods.handlers()),))
    port = server.add_port("127.0.0.1:0", context)
    await server.start()
    made = Served(server, methods, port)
    try:
        yield made
    finally:
        await server.stop(0)
    assert (made.connections, server._tasks, methods.running) == (0, set(), 0)


@dataclass(frozen=True)
class Frame:
    """One that the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a reset or a farewell."""
        return int.from_bytes(self.payload[:4] if self.kind == RST_STREAM else self.payload[4:8], "big")


class Raw:
    """A client of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.decoder = Decoder()
        self.kept = defaultdict[int, list[Frame]](list)
        """Of streams that nobody has asked for yet."""

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> Frame:
        """The next one. Raises IncompleteReadError at the end of the connection, TimeoutError."""
        async with asyncio.timeout(5):
            head = await self.reader.readexactly(9)
            length = int.from_bytes(head[:3], "big")
            return Frame(head[3], head[4], int.from_bytes(head[5:], "big"), await self.reader.readexactly(length))

    async def next(self, kind: int, stream: int | None = None) -> Frame:
        """The next one of a kind; those before it are passed over, but for their headers' tables."""
        while True:
            got = await self.frame()
            if got.kind == kind and stream in (None, got.stream):
                return got

    async def answer(self, stream: int) -> tuple[bytes, dict[str, str]]:
        """Data and headers of a stream, to its end; {"reset": code} where it is reset."""
        data, told = b"", dict[str, str]()
        while True:
            got = self.kept[stream].pop(0) if self.kept[stream] else await self.frame()
            if got.stream != stream:
                self.kept[got.stream].append(got)
                continue
            if got.kind == RST_STREAM:
                return data, {"reset": str(got.code)}
            if got.kind == DATA:
                data += got.payload
            elif got.kind == HEADERS:
                told |= {str(name): str(value) for name, value in self.decoder.decode(got.payload)}
            if got.flags & END_STREAM:
                return data, told

    async def quiet(self) -> bool:
        """Wait for what the server says to what was sent, and keep it for `answer`."""
        return await self.alive(keep=True) and await self.alive(
            keep=True
        )  # a call that came with the first answers now

    async def ended(self) -> Frame | None:
        """Wait for the end of the connection; the farewell with an error code, if there was one."""
        farewell = None
        try:
            while True:
                got = await self.frame()
                if got.kind == GOAWAY:
                    farewell = got
        except (asyncio.IncompleteReadError, ConnectionError):
            return farewell

    async def alive(self, *, keep: bool = False) -> bool:
        """Whether a ping comes back; `keep` what comes before it for `answer`."""
        self.send(frame(PING, 0, 0, b"alive???"))
        while True:
            got = await self.frame()
            if got.kind == PING and got.payload == b"alive???" and got.flags & ACK:
                return True
            if keep:
                self.kept[got.stream].append(got)

    async def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def dialled(port: int, *, greet: bool = True, window: int | None = None) -> AsyncIterator[Raw]:
    """A connection. `window`: that the client gives to each stream."""
    raw = Raw(*await asyncio.open_connection("127.0.0.1", port))
    if greet:
        raw.send(PREFACE, settings({} if window is None else {4: window}))  # type: ignore[dict-item]
    try:
        yield raw
    finally:
        await raw.close()


def literal(name: str, value: str | bytes, *, kept: bool = False) -> bytes:
    """A header that is spelled out; `kept` in the table."""
    texts = (name.encode(), value if isinstance(value, bytes) else value.encode())
    assert all(len(text) < 127 for text in texts)
    return (b"\x40" if kept else b"\x00") + b"".join(bytes([len(text)]) + text for text in texts)


def block(method: str, *more: bytes, kept: bool = False) -> bytes:
    """The headers of a call of /t.T/method."""
    own = [literal(":path", f"/t.T/{method}", kept=kept), literal("content-type", "application/grpc", kept=kept)]
    return b"\x83\x86" + b"".join(own) + b"".join(more)


OPENING = block("echo")


def message(content: bytes, *, compressed: bool = False) -> bytes:
    """As it stands in the data of a stream."""
    return struct.pack(">BL", compressed, len(content)) + content


def message_of(data: bytes) -> bytes:
    """The one in these data."""
    flag, length = struct.unpack(">BL", data[:5])
    assert (flag, length) == (0, len(data) - 5)
    return data[5:]


def call(stream: int, method: str, content: bytes, *more: bytes) -> bytes:
    """A whole call of one message."""
    return frame(HEADERS, END_HEADERS, stream, block(method, *more)) + frame(DATA, END_STREAM, stream, message(content))
