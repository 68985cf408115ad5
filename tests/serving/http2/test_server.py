"""Clients that are not ours: grpcio's two, and one made of `h2`."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from serving.http2.intake import WINDOW
from tests.serving.http2.peers import MOST, Served, message, served

LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served() as made:
        yield made


@pytest.fixture
async def channel(server: Served) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address, options=LARGE) as made:
        yield made


# ---- grpcio


async def test_all_kinds_of_methods_answer(channel: grpc.aio.Channel) -> None:
    assert await channel.unary_unary("/t.T/echo")(b"x") == b"x"
    assert [one async for one in channel.unary_stream("/t.T/count")(b"3")] == [b"0", b"1", b"2"]
    assert await channel.stream_unary("/t.T/total")(iter([b"ab", b"c"])) == b"3"
    assert [one async for one in channel.stream_stream("/t.T/echoes")(iter([b"a", b"", b"c"]))] == [b"a", b"", b"c"]


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_530, WINDOW - 5, WINDOW, WINDOW + 1, MOST])
async def test_messages_of_any_size_come_and_go_whole(channel: grpc.aio.Channel, size: int) -> None:
    content = random.Random(size).randbytes(size)
    assert await channel.unary_unary("/t.T/echo")(content) == content
    assert [one async for one in channel.stream_stream("/t.T/echoes")(iter([content] * 3))] == [content] * 3


async def test_many_large_messages_go_both_ways_at_once(server: Served, channel: grpc.aio.Channel) -> None:
    echo, echoes = channel.unary_unary("/t.T/echo"), channel.stream_stream("/t.T/echoes")
    content = [random.Random(place).randbytes(MOST - place) for place in range(16)]

    async def stream() -> list[bytes]:
        return [one async for one in echoes(iter(content[:6]))]

    async with asyncio.timeout(20):
        replies, *streams = await asyncio.gather(asyncio.gather(*map(echo, content)), stream(), stream(), stream())
    assert replies == content
    assert streams == [content[:6]] * 3
    await server.settled()


async def test_a_message_larger_than_the_limit_is_refused(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary("/t.T/echo")(bytes(MOST + 1))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await channel.unary_unary("/t.T/echo")(b"x") == b"x"


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read(server: Served, algorithm: grpc.Compression) -> None:
    async with grpc.aio.insecure_channel(server.address, compression=algorithm) as channel:
        assert await channel.unary_unary("/t.T/echo")(b"x" * 200_000) == b"x" * 200_000


async def test_deadlines_and_cancellations_reach_handlers(server: Served, channel: grpc.aio.Channel) -> None:
    wait = channel.unary_unary("/t.T/wait")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await wait(b"", timeout=0.05)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    given_up = wait(b"")
    await asyncio.sleep(0.05)
    given_up.cancel()
    await server.settled()
    assert server.methods.cancelled == 2


async def test_words_metadata_and_trailers_cross(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary("/t.T/refuse")(b"")
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no: 100 % é\n")
    assert tuple(raised.value.trailing_metadata()) == (("why", "x"), ("why-bin", b"\x00\xff"))
    told = await channel.unary_unary("/t.T/metadata")(b"", metadata=(("a", "b"), ("c-bin", b"\x00\x01")))
    assert b"'a': 'b'" in told
    assert b"'c-bin': b'\\x00\\x01'" in told


async def test_a_stream_that_waits_for_its_reader_holds_up_no_other_call(server: Served) -> None:
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.http2.lookahead_bytes", 65_535)]) as channel:
        reader = aiter(channel.unary_stream("/t.T/count")(b"50000"))
        assert await anext(reader) == b"0"
        async with asyncio.timeout(5):
            assert await channel.unary_unary("/t.T/echo")(b"x") == b"x"
        assert [one async for one in reader][-1] == b"49999"


async def test_the_synchronous_client_works_from_many_threads(server: Served) -> None:
    def ask() -> None:
        with grpc.insecure_channel(server.address) as channel:
            echo = channel.unary_unary("/t.T/echo")
            assert [call.result() for call in [echo.future(bytes([one])) for one in range(200)]] == [
                bytes([one]) for one in range(200)
            ]

    await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))
    await server.settled()


# ---- the end


async def test_a_stop_under_load_answers_or_refuses_every_call_and_loses_none() -> None:
    """On a second server: what the first one refuses goes there, without the caller's doing."""
    async with served() as first, served() as second:
        targets = f"ipv4:127.0.0.1:{first.port},127.0.0.1:{second.port}"
        options = [("grpc.lb_policy_name", "round_robin"), ("grpc.enable_retries", 1)]
        async with grpc.aio.insecure_channel(targets, options=options) as channel:
            echo, over = channel.unary_unary("/t.T/echo"), asyncio.Event()
            while first.connections == 0 or second.connections == 0:
                await echo(b"", wait_for_ready=True)

            async def caller() -> int:
                count = 0
                while not over.is_set():
                    assert await echo(b"x", wait_for_ready=True, timeout=5) == b"x"
                    count += 1
                return count

            callers = [asyncio.create_task(caller()) for _ in range(16)]
            await asyncio.sleep(0.2)
            began_s = time.monotonic()
            await first.server.stop(5)
            assert time.monotonic() - began_s < 3
            await asyncio.sleep(0.1)
            over.set()
            assert sum(await asyncio.gather(*callers)) > 16


async def test_a_stop_lets_calls_end_and_takes_leave_of_streams(channel: grpc.aio.Channel, server: Served) -> None:
    waiting = channel.unary_unary("/t.T/wait")(b"answered")
    stream = channel.stream_stream("/t.T/echoes")()
    watch = channel.unary_stream("/t.T/watch")(b"")
    await stream.write(b"received")
    assert [await stream.read(), await watch.read()] == [b"received", b"first"]
    stopping = asyncio.create_task(server.server.stop(5))
    for call in (stream, watch):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not stopping.done()
    server.methods.open.set()
    assert await waiting == b"answered"
    async with asyncio.timeout(2):
        await stopping


async def test_a_stop_cancels_what_takes_too_long(channel: grpc.aio.Channel, server: Served) -> None:
    waiting = channel.unary_unary("/t.T/wait")(b"")
    while not server.methods.running:
        await asyncio.sleep(0.01)
    began_s = time.monotonic()
    await server.server.stop(0.1)
    assert time.monotonic() - began_s < 1
    assert (server.methods.cancelled, server.calls, server.connections) == (1, 0, 0)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await waiting
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_port_that_is_taken_is_told(server: Served) -> None:
    with pytest.raises(OSError, match="in use"):
        server.server.add_port(server.address)


# ---- h2


class Odd:
    """A client that does what gRPC's own never do."""

    def __init__(self, port: int, window: int = 65_535) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.h2.initiate_connection()
        self.events = list[Any]()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def open(self, stream: int, method: str, **more: Any) -> None:
        own = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/t.T/{method}"),
            (":authority", "a"),
            ("content-type", "application/grpc"),
        ]
        self.h2.send_headers(stream, own, **more)

    def until(self, kind: type[Any], stream: int) -> list[Any]:
        """All events up to one of a stream."""
        while not any(isinstance(one, kind) and one.stream_id == stream for one in self.events):
            self.events += self.h2.receive_data(self.socket.recv(65_536))
            self.flush()
        found, self.events = self.events, []
        return found

    def answer(self, stream: int) -> tuple[bytes, int]:
        """The data of a stream, and in how many frames."""
        parts = [one for one in self.until(h2.events.StreamEnded, stream) if isinstance(one, h2.events.DataReceived)]
        return b"".join(one.data for one in parts if one.stream_id == stream), len(parts)


@pytest.fixture
def odd(server: Served) -> Iterator[Callable[..., Odd]]:
    """Makes them."""
    made = []

    def make(**more: Any) -> Odd:
        made.append(Odd(server.port, **more))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


async def test_data_of_single_bytes_with_padding_cost_no_window(odd: Callable[..., Odd]) -> None:
    def ask() -> None:
        peer, content = odd(), message(b"x" * 2_000)  # with the padding four times what the window holds
        peer.open(1, "echo", priority_weight=3, priority_depends_on=0)
        for place in range(len(content)):
            if peer.h2.local_flow_control_window(1) < 300:
                peer.until(h2.events.WindowUpdated, 1)
            peer.h2.send_data(1, content[place : place + 1], pad_length=255, end_stream=place + 1 == len(content))
            peer.flush()
        assert peer.answer(1)[0] == content

    await asyncio.to_thread(ask)


async def test_a_reply_goes_through_a_window_of_one_byte(odd: Callable[..., Odd]) -> None:
    def ask() -> None:
        peer, content = odd(window=1), message(b"abc" * 20)
        peer.open(1, "echo")
        peer.h2.send_data(1, content, end_stream=True)
        peer.flush()
        got, events = b"", list[Any]()
        while not any(isinstance(one, h2.events.StreamEnded) for one in events):
            events = peer.h2.receive_data(peer.socket.recv(65_536))
            for one in events:
                if isinstance(one, h2.events.DataReceived):
                    assert len(one.data) == 1
                    got += one.data
                    if len(got) < len(content):
                        peer.h2.increment_flow_control_window(1, 1)
            peer.flush()
        assert got == content

    await asyncio.to_thread(ask)


async def test_many_settings_pings_and_long_headers_go_between(odd: Callable[..., Odd]) -> None:
    def ask() -> None:
        peer = odd()
        for stream in range(1, 99, 2):
            own = [("x-long", "y" * 9_000)] if stream % 4 == 1 else []
            head = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/t.T/echo"),
                (":authority", "a"),
                ("content-type", "application/grpc"),
            ]
            peer.h2.send_headers(stream, [*head, *own])
            peer.h2.ping(b"%8d" % stream)
            peer.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: stream * 40})
            peer.h2.prioritize(stream, weight=9)
            peer.h2.send_data(stream, message(b"x"))
            peer.h2.send_headers(stream, [("trailer", "y")], end_stream=True)
            peer.flush()
            assert peer.answer(stream)[0] == message(b"x")

    await asyncio.to_thread(ask)
