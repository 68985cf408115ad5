"""Rules of HTTP/2, kept and broken, frame by frame."""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator

import pytest

from serving.http2 import frames as h2
from serving.http2.frames import ErrorCode, frame, settings, window_update
from serving.http2.intake import WINDOW
from tests.serving.http2.peers import MOST, OPENING, Served, block, call, dialled, literal, message, message_of, served

U32 = struct.Struct(">L")
HEAD = h2.END_HEADERS
OPEN = frame(h2.HEADERS, HEAD, 1, OPENING)
OVER = OPEN + frame(h2.DATA, h2.END_STREAM, 1, message(b"x"))
WAITS = call(1, "wait", b"x")


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served() as made:
        yield made


def told(number: int, value: int) -> bytes:
    return frame(h2.SETTINGS, 0, 0, struct.pack(">HL", number, value))


CONNECTION_ERRORS = {
    "data on stream 0": (frame(h2.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data on an idle stream": (frame(h2.DATA, 0, 5, b"x"), ErrorCode.PROTOCOL_ERROR),
    "headers on stream 0": (frame(h2.HEADERS, HEAD, 0, OPENING), ErrorCode.PROTOCOL_ERROR),
    "headers on an even stream": (frame(h2.HEADERS, HEAD, 2, OPENING), ErrorCode.PROTOCOL_ERROR),
    "a frame too large": (frame(h2.DATA, 0, 1, bytes(h2.LARGEST_FRAME + 1)), ErrorCode.FRAME_SIZE_ERROR),
    "more padding than data": (OPEN + frame(h2.DATA, h2.PADDED, 1, b"\x02x"), ErrorCode.PROTOCOL_ERROR),
    "padding without its length": (OPEN + frame(h2.DATA, h2.PADDED, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "headers shorter than their priority": (
        frame(h2.HEADERS, HEAD | h2.WITH_PRIORITY, 1, b"\x00"),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "a block cut by another frame": (
        frame(h2.HEADERS, 0, 1, OPENING[:9]) + frame(h2.PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a block cut by another stream's": (
        frame(h2.HEADERS, 0, 1, OPENING[:9]) + frame(h2.CONTINUATION, HEAD, 3, OPENING[9:]),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a continuation of nothing": (frame(h2.CONTINUATION, HEAD, 1, OPENING), ErrorCode.PROTOCOL_ERROR),
    "a block without end": (
        frame(h2.HEADERS, 0, 1, OPENING) + 5 * frame(h2.CONTINUATION, 0, 1, bytes(16_000)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a block that is no HPACK": (frame(h2.HEADERS, HEAD, 1, b"\xff\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    "a place of no table": (frame(h2.HEADERS, HEAD, 1, b"\xbe"), ErrorCode.COMPRESSION_ERROR),
    "headers that grow without end": (
        frame(h2.HEADERS, HEAD, 1, literal("x", b"y" * 120, kept=True) + b"\xbe" * 1_000),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "a priority of stream 0": (frame(h2.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "a priority out of shape": (frame(h2.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "a reset of an idle stream": (frame(h2.RST_STREAM, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a reset of stream 0": (frame(h2.RST_STREAM, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a reset out of shape": (OPEN + frame(h2.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "settings of a stream": (frame(h2.SETTINGS, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "settings out of shape": (frame(h2.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "an acknowledgement with settings": (frame(h2.SETTINGS, h2.ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "push neither on nor off": (told(2, 2), ErrorCode.PROTOCOL_ERROR),
    "an initial window too large": (told(4, 1 << 31), ErrorCode.FLOW_CONTROL_ERROR),
    "frames too small": (told(5, h2.LARGEST_FRAME - 1), ErrorCode.PROTOCOL_ERROR),
    "frames too large": (told(5, 1 << 24), ErrorCode.PROTOCOL_ERROR),
    "an initial window that widens another too far": (
        WAITS + window_update(1, h2.LARGEST_WINDOW - 65_535) + told(4, 65_536),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a push": (frame(h2.PUSH_PROMISE, HEAD, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a ping of a stream": (frame(h2.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a ping out of shape": (frame(h2.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "a farewell of a stream": (frame(h2.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a farewell out of shape": (frame(h2.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "a window of nothing": (window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "a window too large": (window_update(0, h2.LARGEST_WINDOW), ErrorCode.FLOW_CONTROL_ERROR),
    "a window out of shape": (frame(h2.WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "a window of an idle stream": (window_update(1, 1), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS)
async def test_a_broken_rule_ends_its_connection_alone(server: Served, sent: bytes, code: ErrorCode) -> None:
    async with dialled(server.port) as neighbour, dialled(server.port) as peer:
        peer.send(sent)
        farewell = await peer.ended()
        assert farewell is not None
        assert farewell.code == code
        neighbour.send(call(1, "echo", b"still here"))
        data, headers = await neighbour.answer(1)
        assert (message_of(data), headers["grpc-status"]) == (b"still here", "0")
        await server.settled(calls=0, connections=1)


STREAM_ERRORS = {
    "data after the end": (WAITS + frame(h2.DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    "the end twice": (WAITS + frame(h2.HEADERS, HEAD | h2.END_STREAM, 1, b"\x88"), ErrorCode.STREAM_CLOSED),
    "headers in the middle": (OPEN + frame(h2.HEADERS, HEAD, 1, literal("a", "b")), ErrorCode.PROTOCOL_ERROR),
    "more data than the window": (
        frame(h2.HEADERS, HEAD, 1, block("lazy"))
        + (WINDOW // 16_000 + 1) * frame(h2.DATA, 0, 1, message(bytes(15_995))),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a window of nothing": (WAITS + window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
    "a window too large": (WAITS + window_update(1, h2.LARGEST_WINDOW), ErrorCode.FLOW_CONTROL_ERROR),
    "no path": (frame(h2.HEADERS, HEAD, 1, b"\x83\x86"), ErrorCode.PROTOCOL_ERROR),
    "no headers": (frame(h2.HEADERS, HEAD, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "a path twice": (frame(h2.HEADERS, HEAD, 1, OPENING[:2] + literal(":path", "/") + OPENING[2:]), 1),
    "a pseudo-header too late": (frame(h2.HEADERS, HEAD, 1, OPENING + literal(":authority", "a")), 1),
    "a pseudo-header of responses": (frame(h2.HEADERS, HEAD, 1, b"\x88" + OPENING), ErrorCode.PROTOCOL_ERROR),
    "a name with capitals": (frame(h2.HEADERS, HEAD, 1, block("echo", literal("Name", "x"))), 1),
    "an empty name": (frame(h2.HEADERS, HEAD, 1, block("echo", literal("", "x"))), ErrorCode.PROTOCOL_ERROR),
    "a value of two lines": (frame(h2.HEADERS, HEAD, 1, block("echo", literal("name", "x\r\ny: z"))), 1),
    "a header of the connection": (frame(h2.HEADERS, HEAD, 1, block("echo", literal("connection", "close"))), 1),
    "a deadline that is none": (frame(h2.HEADERS, HEAD, 1, block("echo", literal("grpc-timeout", "1s"))), 1),
    "bytes that are not base64": (frame(h2.HEADERS, HEAD, 1, block("echo", literal("x-bin", "?"))), 1),
}


@pytest.mark.parametrize(("sent", "code"), STREAM_ERRORS.values(), ids=STREAM_ERRORS)
async def test_a_broken_rule_of_a_stream_ends_it_alone(server: Served, sent: bytes, code: ErrorCode) -> None:
    async with dialled(server.port) as peer:
        peer.send(sent, call(3, "echo", b"goes on"))
        assert (await peer.next(h2.RST_STREAM)).code == code
        assert message_of((await peer.answer(3))[0]) == b"goes on"
        await server.settled()


IGNORED = {
    "a frame of a kind that nobody knows": frame(0x77, 0xFF, 0, b"anything") + frame(0x77, 0xFF, 9, b""),
    "a setting that nobody knows": told(0x77, 7),
    "a priority of an idle stream": frame(h2.PRIORITY, 0, 99, bytes(5)),
    "a farewell": frame(h2.GOAWAY, 0, 0, bytes(8) + b"bye"),
    "an answer to no ping": frame(h2.PING, h2.ACK, 0, b"draining"),
    "the reserved bit of a stream": frame(h2.PRIORITY, 0, 1 << 31 | 1, bytes(5)),
    "a window for a stream that is over": OVER + window_update(1, 5),
    "data for a stream that is over": OVER + frame(h2.RST_STREAM, 0, 1, bytes(4)) + frame(h2.DATA, 1, 1, b"late"),
    "headers for a stream that is over": OVER + frame(h2.RST_STREAM, 0, 1, bytes(4)) + frame(1, 5, 1, b"\x88"),
    "streams that were passed over": frame(h2.HEADERS, HEAD, 7, OPENING) + frame(h2.RST_STREAM, 0, 5, bytes(4)),
}


@pytest.mark.parametrize("sent", IGNORED.values(), ids=IGNORED)
async def test_what_is_odd_and_legal_is_taken(server: Served, sent: bytes) -> None:
    async with dialled(server.port) as peer:
        peer.send(sent, call(101, "echo", b"goes on"))
        assert message_of((await peer.answer(101))[0]) == b"goes on"


async def test_requests_that_are_no_calls_get_a_status_of_http(server: Served) -> None:
    async with dialled(server.port) as peer:
        peer.send(frame(h2.HEADERS, 5, 1, b"\x82\x86" + literal(":path", "/")))
        peer.send(frame(h2.HEADERS, 5, 3, b"\x83\x86" + literal(":path", "/") + literal("content-type", "text/html")))
        assert (await peer.answer(1))[1] == {":status": "405"}
        assert (await peer.answer(3))[1] == {":status": "415"}


async def test_calls_that_are_refused_are_told_why(server: Served) -> None:
    many = b"".join(literal(f"x-{place}", b"y" * 100) for place in range(140))
    async with dialled(server.port) as peer:
        peer.send(call(1, "nothing", b""), call(3, "echo", b"", literal("grpc-encoding", "br")))
        large = block("echo", many)
        peer.send(frame(h2.HEADERS, 0, 5, large[:16_000]), frame(h2.CONTINUATION, HEAD, 5, large[16_000:]))
        peer.send(frame(h2.DATA, 1, 5, message(b"")))
        answers = [(await peer.answer(stream))[1] for stream in (1, 3, 5)]
    assert [one["grpc-status"] for one in answers] == ["12", "12", "8"]
    assert answers[0]["grpc-message"] == "there is no method /t.T/nothing"
    assert answers[1]["grpc-accept-encoding"] == "identity,gzip,deflate"


BAD_MESSAGES = {
    "none": (b"", "13"),
    "a part": (message(b"abc")[:-1], "13"),
    "a part of a prefix": (b"\x00\x00", "13"),
    "two": (2 * message(b"a"), "13"),
    "one too large": (message(bytes(MOST + 1))[:100], "8"),
    "one compressed by nothing": (message(b"x", compressed=True), "13"),
    "a flag that nobody knows": (b"\x02" + message(b"x")[1:], "13"),
}


@pytest.mark.parametrize(("data", "status"), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
async def test_data_that_are_no_message_are_refused(server: Served, data: bytes, status: str) -> None:
    async with dialled(server.port) as peer:
        peer.send(OPEN, frame(h2.DATA, h2.END_STREAM, 1, data))
        assert (await peer.answer(1))[1]["grpc-status"] == status
        await server.settled()


def packed(content: bytes, encoding: str) -> bytes:
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}[encoding])
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_messages_are_expanded_up_to_the_limit(server: Served, encoding: str) -> None:
    said = literal("grpc-encoding", encoding)
    contents = [
        packed(bytes(MOST), encoding),
        packed(bytes(MOST + 1), encoding),
        b"no",
        packed(bytes(99), encoding)[:-9],
    ]
    async with dialled(server.port) as peer:
        for place, content in enumerate(contents):
            stream = 2 * place + 1
            data = message(content, compressed=True)
            peer.send(frame(h2.HEADERS, HEAD, stream, block("size", said)), frame(h2.DATA, 1, stream, data))
        answers = [await peer.answer(stream) for stream in (1, 3, 5, 7)]
    assert message_of(answers[0][0]) == str(MOST).encode()
    assert [told["grpc-status"] for _, told in answers] == ["0", "8", "13", "13"]


async def test_bombs_on_a_stream_wait_as_small_as_they_came_and_widen_no_window(server: Served) -> None:
    bomb = message(packed(bytes(MOST), "gzip"), compressed=True)
    async with dialled(server.port) as peer:
        peer.send(frame(h2.HEADERS, HEAD, 1, block("lazy", literal("grpc-encoding", "gzip"))))
        count = WINDOW // len(bomb)
        peer.send(*(frame(h2.DATA, 0, 1, bomb) for _ in range(count)))
        assert await peer.alive()
        (connection,) = server.server._connections
        (one,) = connection.session.calls.values()
        assert one._intake is not None
        assert sum(map(len, (got.content for got in one._intake._queue))) < WINDOW
        server.methods.open.set()
        peer.send(frame(h2.DATA, 1, 1, b""))
        granted, data, got = 0, b"", await peer.frame()
        while not got.flags & h2.END_STREAM or got.kind != h2.HEADERS:
            granted += U32.unpack(got.payload)[0] if (got.kind, got.stream) == (h2.WINDOW_UPDATE, 1) else 0
            data += got.payload if got.kind == h2.DATA else b""
            got = await peer.frame()
    assert granted <= count * len(bomb)
    assert data == count * message(str(MOST).encode())


async def test_streams_beyond_the_limit_are_refused_and_others_take_the_place_of_those_given_up() -> None:
    async with served(max_calls=3) as server, dialled(server.port) as peer:
        peer.send(*(call(stream, "wait", b"") for stream in (1, 3, 5, 7)))
        assert (await peer.answer(7))[1] == {"reset": str(int(ErrorCode.REFUSED_STREAM))}
        peer.send(*(frame(h2.RST_STREAM, 0, stream, U32.pack(8)) for stream in (1, 3, 5)))
        peer.send(*(call(stream, "wait", b"") for stream in (9, 11, 13)))  # with the resets, in one read
        server.methods.open.set()
        assert [(await peer.answer(stream))[1]["grpc-status"] for stream in (9, 11, 13)] == ["0", "0", "0"]
        assert server.methods.most_running <= 6


async def test_a_deadline_ends_a_call_and_its_handler(server: Served) -> None:
    async with dialled(server.port) as peer:
        peer.send(
            call(1, "wait", b"", literal("grpc-timeout", "20m")),
            call(3, "remaining", b"", literal("grpc-timeout", "3S")),
        )
        peer.send(call(5, "remaining", b"", literal("grpc-timeout", "99999999H")), call(7, "remaining", b""))
        assert 2.9 < float(message_of((await peer.answer(3))[0])) <= 3
        assert float(message_of((await peer.answer(5))[0])) > 1e9
        assert message_of((await peer.answer(7))[0]) == b"None"
        assert (await peer.answer(1))[1]["grpc-status"] == "4"
        await server.settled()
        assert server.methods.cancelled == 1


async def test_a_reset_at_any_time_ends_its_handler(server: Served) -> None:
    async with dialled(server.port) as peer:
        opening, rest = call(1, "wait", b"")[: 9 + len(block("wait"))], frame(h2.RST_STREAM, 0, 1, U32.pack(8))
        peer.send(opening, rest)  # before its message
        peer.send(call(3, "wait", b""), frame(h2.RST_STREAM, 0, 3, U32.pack(8)))  # before it has begun
        peer.send(call(5, "wait", b""))
        assert await peer.alive()
        peer.send(frame(h2.RST_STREAM, 0, 5, U32.pack(8)))  # while it works
        peer.send(call(7, "echo", b"x"))
        assert message_of((await peer.answer(7))[0]) == b"x"
        peer.send(frame(h2.RST_STREAM, 0, 7, U32.pack(8)))  # after its answer
        assert await peer.alive()
        await server.settled()
        assert server.methods.cancelled == 1


async def test_a_handler_that_fails_tells_nothing_of_it(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with dialled(server.port) as peer:
        peer.send(call(1, "fail", b""))
        told = (await peer.answer(1))[1]
        assert (told["grpc-status"], told["grpc-message"]) == ("2", "internal error")
    assert "a secret" in caplog.text


async def test_words_and_trailers_of_a_refusal_are_encoded(server: Served) -> None:
    async with dialled(server.port) as peer:
        peer.send(call(1, "refuse", b""))
        told = (await peer.answer(1))[1]
    assert told["grpc-message"] == "no: 100 %25 %C3%A9%0A"
    assert (told["why"], told["why-bin"]) == ("x", "AP8")


async def test_metadata_of_bytes_are_read_padded_or_not_and_one_or_many(server: Served) -> None:
    async with dialled(server.port) as peer:
        more = literal("a-bin", "AP8"), literal("b-bin", "AP8="), literal("c-bin", "AP8,AQ=="), literal("d", "x y")
        peer.send(call(1, "metadata", b"", *more))
        told = message_of((await peer.answer(1))[0])
    assert told == repr({"a-bin": b"\0\xff", "b-bin": b"\0\xff", "c-bin": b"\0\xff\1", "d": "x y"}).encode()


FLOODS = {
    "pings": frame(h2.PING, 0, 0, bytes(8)),
    "settings": settings({}),
    "empty data": frame(h2.DATA, 0, 1, b""),
    "resets of what is over": frame(h2.RST_STREAM, 0, 1, bytes(4)),
    "priorities": frame(h2.PRIORITY, 0, 1, bytes(5)),
    "windows": window_update(1, 1),
    "frames that nobody knows": frame(0x77, 0, 0, b""),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_floods_end_their_connection(server: Served, flood: bytes) -> None:
    async with dialled(server.port) as peer:
        peer.send(frame(h2.HEADERS, HEAD, 1, block("lazy")))
        reading = asyncio.create_task(peer.ended())
        for _ in range(20):
            if not peer.writer.is_closing():
                peer.send(1_000 * flood)
            await asyncio.sleep(0)
        farewell = await reading
        assert farewell is not None
        assert farewell.code == ErrorCode.ENHANCE_YOUR_CALM
        await server.settled(calls=0, connections=0)


async def test_empty_continuations_end_their_connection(server: Served) -> None:
    async with dialled(server.port) as peer:
        peer.send(frame(h2.HEADERS, 0, 1, OPENING), 12_000 * frame(h2.CONTINUATION, 0, 1, b""))
        farewell = await peer.ended()
        assert farewell is not None
        assert farewell.code == ErrorCode.ENHANCE_YOUR_CALM


async def test_a_caller_whose_calls_all_run_out_of_time_keeps_its_connection(server: Served) -> None:
    async with dialled(server.port) as peer:
        for begin in range(1, 40_001, 200):
            streams = range(begin, begin + 200, 2)
            peer.send(*(call(stream, "wait", b"") for stream in streams))
            peer.send(*(frame(h2.RST_STREAM, 0, stream, U32.pack(8)) for stream in streams))
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert await peer.alive()
        await server.settled()
        assert server.methods.most_running <= 200


async def test_windows_that_are_closed_and_opened_by_settings_are_kept(server: Served) -> None:
    async with dialled(server.port, window=0) as peer:
        peer.send(call(1, "echo", b"abc" * 1_000), call(3, "echo", b"abc" * 1_000))
        size = 0
        for window, most in ((100, 100), (0, 100), (50, 100), (150, 150)):  # in between it is less than nothing
            peer.send(told(h2.Setting.INITIAL_WINDOW_SIZE, window))
            assert await peer.quiet()
            size = sum(len(one.payload) for one in peer.kept[3] if one.kind == h2.DATA)
            assert size == most
        peer.send(told(h2.Setting.INITIAL_WINDOW_SIZE, h2.LARGEST_WINDOW))
        assert (await peer.answer(1))[0] == (await peer.answer(3))[0] == message(b"abc" * 1_000)


async def test_the_window_of_a_connection_is_shared_by_its_streams(server: Served) -> None:
    streams = range(1, 21, 2)
    async with dialled(server.port, window=h2.LARGEST_WINDOW) as peer:
        peer.send(*(call(stream, "grow", b"20000") for stream in streams))
        assert await peer.quiet()
        assert sum(len(one.payload) for kept in peer.kept.values() for one in kept if one.kind == h2.DATA) == 65_535
        for _ in range(10):
            peer.send(window_update(0, 13_452))
            assert await peer.quiet()
        assert [len((await peer.answer(stream))[0]) for stream in streams] == [20_005] * 10


async def test_a_peer_may_allow_no_table(server: Served) -> None:
    async with dialled(server.port) as peer:
        peer.decoder.max_allowed_table_size = 0
        peer.send(told(h2.Setting.HEADER_TABLE_SIZE, 0), call(1, "refuse", b""), call(3, "echo", b""))
        assert [(await peer.answer(stream))[1]["grpc-status"] for stream in (1, 3)] == ["9", "0"]
