"""Bytes in any pieces, any bytes at all, and peers that are slow, silent or gone."""

import asyncio
import itertools
import random
import struct
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from serving.http2 import connection, outgoing
from serving.http2 import frames as h2
from serving.http2.frames import ErrorCode, frame, settings, window_update
from tests.serving.http2.peers import OPENING, Raw, Served, block, call, dialled, literal, message, message_of, served

HEAD = h2.END_HEADERS
STREAMS = range(1, 20, 2)


def every_shape() -> bytes:
    """A preface, and calls in every shape."""
    whole = message(b"x" * 300)
    padded = bytes([7]) + whole + bytes(7)
    split = block("echo", literal("a", "b" * 50))
    return b"".join(
        [
            h2.PREFACE + settings({}) + frame(h2.PING, 0, 0, b"12345678"),
            call(1, "echo", b"y" * 5_000) + call(3, "size", b"y" * 100),
            frame(h2.HEADERS, HEAD | h2.WITH_PRIORITY, 5, bytes(5) + OPENING) + frame(h2.PRIORITY, 0, 5, bytes(5)),
            *(frame(h2.DATA, 0, 5, whole[at : at + 1]) for at in range(len(whole))),
            frame(h2.HEADERS, h2.END_STREAM, 7, split[:9]) + frame(h2.CONTINUATION, 0, 7, split[9:20]),
            frame(h2.CONTINUATION, 0, 7, b"") + frame(h2.CONTINUATION, HEAD, 7, split[20:]),
            frame(h2.HEADERS, HEAD | h2.PADDED, 9, b"\x03" + OPENING + bytes(3)),
            frame(h2.DATA, h2.PADDED | h2.END_STREAM, 9, padded) + frame(h2.DATA, h2.END_STREAM, 5, b""),
            frame(h2.HEADERS, HEAD, 11, block("echoes")) + 3 * frame(h2.DATA, 0, 11, whole + message(b"")),
            frame(h2.HEADERS, HEAD | h2.END_STREAM, 11, literal("trailer", "x")) + call(13, "none", b""),
            call(15, "count", b"5") + call(17, "refuse", b"") + window_update(0, 1_000),
            frame(h2.HEADERS, HEAD, 19, block("total")) + 3 * frame(h2.DATA, 0, 19, whole),
            frame(h2.DATA, h2.END_STREAM, 19, whole),
        ]
    )


VALID = every_shape()


async def _answers(server: Served, pieces: list[bytes]) -> list[tuple[bytes, dict[str, str]]]:
    async with dialled(server.port, greet=False) as peer:
        for piece in pieces:
            peer.send(piece)
            await asyncio.sleep(0)
        return [await peer.answer(stream) for stream in STREAMS]


@examples(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 8_000), max_size=40))
def test_replies_do_not_depend_on_how_bytes_arrive(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(VALID)]
    pieces = [VALID[begin:end] for begin, end in itertools.pairwise(bounds)]

    async def both() -> None:
        async with served() as server:
            whole = await _answers(server, [VALID])
            assert whole[0] == (message(b"y" * 5_000), {**whole[0][1], "grpc-status": "0"})
            assert [told["grpc-status"] for _, told in whole] == ["0", "0", "0", "13", "0", "0", "12", "0", "9", "0"]
            assert await _answers(server, pieces) == whole
            await server.settled(calls=0, connections=0)

    asyncio.run(both())


async def test_replies_do_not_depend_on_single_bytes() -> None:
    async with served() as server:
        assert await _answers(server, [VALID[at : at + 1] for at in range(len(VALID))]) == await _answers(
            server, [VALID]
        )


frames = st.builds(
    frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 3, 5, 7, 2, 99]),
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [OPENING, block("wait"), block("echoes"), message(b"x"), message(b"5"), bytes(4), bytes(8), b""]
        ),
    ),
)


@examples(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(sent=st.lists(frames, max_size=30), seed=st.integers())
def test_random_frames_harm_no_neighbour_and_leave_nothing(sent: list[bytes], seed: int) -> None:
    dice = random.Random(seed)
    mutated = bytearray(VALID)
    for _ in range(dice.randrange(6)):
        mutated[dice.randrange(24, len(mutated))] = dice.randrange(256)

    async def harmed() -> None:
        async with served() as server, dialled(server.port) as neighbour:
            async with dialled(server.port) as peer, dialled(server.port, greet=False) as other:
                peer.send(*sent)
                other.send(bytes(mutated))
                for stream in range(1, 9, 2):
                    began_s = time.monotonic()
                    neighbour.send(call(stream, "echo", b"fine"))
                    assert message_of((await neighbour.answer(stream))[0]) == b"fine"
                    assert time.monotonic() - began_s < 2
            await server.settled(calls=0, connections=1)

    asyncio.run(harmed())


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served() as made:
        yield made


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nXX"])
async def test_what_is_no_http2_is_told_so_and_ended(server: Served, sent: bytes) -> None:
    async with dialled(server.port, greet=False) as peer:
        peer.send(sent)
        assert b"HTTP/1.1 400 Bad Request" in await asyncio.wait_for(peer.reader.read(), 5)
    await server.settled(connections=0)


async def test_a_connection_begins_with_settings(server: Served) -> None:
    async with dialled(server.port, greet=False) as peer:
        peer.send(h2.PREFACE, frame(h2.SETTINGS, h2.ACK, 0, b""))
        farewell = await peer.ended()
        assert farewell is not None
        assert farewell.code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("sent", [b"", b"PRI", h2.PREFACE, h2.PREFACE + settings({})[:5]])
async def test_a_peer_that_never_greets_is_ended(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "GREETING_S", 0.05)
    async with served() as server, dialled(server.port, greet=False) as peer:
        peer.send(sent)
        assert await peer.ended() is None
        await server.settled(connections=0)


async def test_a_header_block_that_is_never_finished_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "GREETING_S", 0.05)
    async with served() as server, dialled(server.port) as peer:
        peer.send(frame(h2.HEADERS, 0, 1, OPENING))
        farewell = await peer.ended()
        assert farewell is not None
        assert farewell.code == ErrorCode.ENHANCE_YOUR_CALM


async def test_a_peer_that_goes_takes_its_calls_with_it(server: Served) -> None:
    async with dialled(server.port) as peer:
        peer.send(
            call(1, "wait", b""), frame(h2.HEADERS, HEAD, 3, block("echoes")), frame(h2.HEADERS, HEAD, 5, OPENING)
        )
        assert await peer.alive()
        assert server.calls == 3
    await server.settled(calls=0, connections=0)
    assert server.methods.cancelled == 1


async def test_an_error_of_ours_ends_its_connection_alone(
    server: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with dialled(server.port) as neighbour, dialled(server.port) as peer:
        peer.send(call(1, "wait", b""))
        assert await peer.alive()
        handler_of = server.server._service.handler_of
        monkeypatch.setattr(server.server._service, "handler_of", lambda path: 1 // 0)
        peer.send(call(3, "echo", b""))
        assert await peer.ended() is None
        monkeypatch.setattr(server.server._service, "handler_of", handler_of)
        neighbour.send(call(1, "echo", b"x"))
        assert message_of((await neighbour.answer(1))[0]) == b"x"
        await server.settled(calls=0, connections=1)
    assert "ZeroDivisionError" in caplog.text


async def _never_reads(server: Served, sent: bytes) -> tuple[Raw, int]:
    """Send this until the server takes no more; how much it was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_000)
    peer, count = Raw(reader, writer), 0
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    peer.send(h2.PREFACE, settings({h2.Setting.INITIAL_WINDOW_SIZE: h2.LARGEST_WINDOW}))
    peer.send(window_update(0, h2.LARGEST_WINDOW - 65_535))
    try:
        async with asyncio.timeout(1):
            while count < 200_000_000:
                peer.send(sent)
                count += len(sent)
                await writer.drain()
    except (TimeoutError, ConnectionError):
        pass
    return peer, count


async def test_a_peer_that_does_not_read_is_not_read_either_and_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "STALLED_S", 0.2)
    async with served() as server:
        odd, begun = frame(h2.HEADERS, HEAD | h2.END_STREAM, 1, block("none" + "x" * 100)), struct.Struct(">L")
        many = b"".join(odd[:5] + begun.pack(stream) + odd[9:] for stream in range(1, 100_001, 2))
        peer, _ = await _never_reads(server, many)
        (one,) = server.server._connections or [None]
        if one is not None and one._transport is not None:
            assert one._transport.get_write_buffer_size() < 8 * connection.OUT_BUFFER
        await server.settled(calls=0, connections=0)
        await peer.close()


async def test_a_reply_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "STALLED_S", 0.1)
    async with served() as server, dialled(server.port, window=3) as peer:
        peer.send(call(1, "grow", b"10"))
        data, told = await peer.answer(1)
        assert (len(data), told["reset"]) == (3, str(int(ErrorCode.CANCEL)))
        await server.settled()


async def test_a_watcher_that_takes_nothing_holds_nobody_up(server: Served) -> None:
    async with dialled(server.port, window=0) as peer:
        peer.send(call(1, "watch", b""))
        assert await peer.alive()
        server.methods.open.set()
        assert await peer.alive()
        peer.send(window_update(1, 100))
        data, told = await peer.answer(1)
        assert (data, told["grpc-status"]) == (message(b"first") + message(b"second"), "0")
