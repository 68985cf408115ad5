"""Strangers at the HTTP server: whatever they send, the next one is answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus

import pytest

from lockstep.errors import BadSetting
from serving import http
from serving.http import HttpServer, Request, Response, text


async def echo(request: Request) -> Response:
    if request.path == "/boom":
        raise KeyError("secret")
    return text(HTTPStatus.OK, f"{request.method} {request.path} {request.body.decode()}")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = HttpServer(echo)
    yield await server.start("127.0.0.1", 0)
    await server.close()


async def let_go(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def said(port: int, message: bytes) -> tuple[str, bytes]:
    """First line and body of the answer to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message)
        async with asyncio.timeout(5):
            whole = await reader.read()
    except ConnectionResetError:  # refused before all of it was read
        whole = b""
    finally:
        await let_go(writer)
    head, _, body = whole.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0].decode(), body


async def test_a_request_is_answered(port: int) -> None:
    assert await said(port, b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\n\r\n") == ("HTTP/1.1 200 OK", b"GET /a b \n")


async def test_a_body_comes_with_its_length(port: int) -> None:
    line, body = await said(port, b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
    assert (line, body) == ("HTTP/1.1 200 OK", b"POST /x hello\n")


async def test_head_gets_no_body(port: int) -> None:
    assert await said(port, b"HEAD / HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", b"")


BAD = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    "another version": (b"GET / HTTP/2.0\r\n\r\n", 400),
    "no path": (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
    "another method": (b"DELETE / HTTP/1.1\r\n\r\n", 405),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    "a folded header": (b"GET / HTTP/1.1\r\nHost: x\r\n y: z\r\n\r\n", 400),
    "a header that never ends": (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    "a length that is no number": (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
    "a length in Arabic digits": ("POST / HTTP/1.1\r\nContent-Length: ٣\r\n\r\n".encode(), 400),
    "too large a body": (b"POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413),
    "a length of a hundred digits": (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 100 + b"\r\n\r\n", 413),
    "a chunked body": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
}


@pytest.mark.parametrize(("message", "status"), BAD.values(), ids=BAD)
async def test_what_is_not_plain_http_is_refused(port: int, message: bytes, status: int) -> None:
    line, _ = await said(port, message)
    assert line.split(" ")[1] == str(status)
    assert (await said(port, b"GET /next HTTP/1.1\r\n\r\n"))[1] == b"GET /next \n"


async def test_a_page_that_fails_tells_nothing_and_takes_nobody_along(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    line, body = await said(port, b"GET /boom HTTP/1.1\r\n\r\n")
    assert (line, body) == ("HTTP/1.1 500 Internal Server Error", b"internal error\n")
    assert "secret" in caplog.text
    assert (await said(port, b"GET / HTTP/1.1\r\n\r\n"))[0].endswith("200 OK")


async def test_who_is_slow_loses_the_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE_S", 0.1)
    assert await said(port, b"GET / HT") == ("", b"")
    assert await said(port, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc") == ("", b"")


async def test_a_crowd_is_turned_away_and_one_that_leaves_makes_room(port: int) -> None:
    waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(http.MOST_CONNECTIONS)]
    await asyncio.sleep(0.1)
    assert await said(port, b"GET / HTTP/1.1\r\n\r\n") == ("", b"")
    for _, writer in waiting:
        await let_go(writer)
    await asyncio.sleep(0.1)
    assert (await said(port, b"GET / HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 200 OK"


async def test_closing_does_not_wait_for_who_says_nothing() -> None:
    server = HttpServer(echo)
    port = await server.start("127.0.0.1", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(2):
        await server.close()
    await let_go(writer)
    with pytest.raises(OSError, match=r"\d"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_that_is_taken_is_named(port: int) -> None:
    with pytest.raises(BadSetting, match=f"cannot listen on 127.0.0.1:{port}"):
        await HttpServer(echo).start("127.0.0.1", port)
