"""An HTTP/1.1 server for a few small pages, on the event loop of the process: no thread, no framework, no file system.

Whoever connects is a stranger. A connection carries one request, has a few seconds for it, and takes a few kilobytes;
only so many are open at once. What is not plain HTTP/1.1 with a length is refused.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from lockstep.errors import BadSetting

__all__ = ["HttpServer", "Request", "Response", "text"]

MOST_CONNECTIONS = 64
MOST_HEAD_BYTES = 16 * 1024
MOST_BODY_BYTES = 64 * 1024
PATIENCE_S = 10.0
"""For a request to arrive, and again for its answer to leave."""
_METHODS = ("GET", "HEAD", "POST")

log = logging.getLogger(__name__)


class Request(NamedTuple):
    """What was asked."""

    method: str
    path: str
    """Without the query, decoded."""
    headers: Mapping[str, str]
    """By name in small letters."""
    body: bytes = b""


class Response(NamedTuple):
    """What is answered."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str] = {}


def text(status: HTTPStatus, sentence: str) -> Response:
    """A sentence."""
    return Response(status, "text/plain; charset=utf-8", f"{sentence}\n".encode())


class _Refused(Exception):
    """The request is not one that is read."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.response = text(status, sentence)


class HttpServer:
    """Hands requests to `handle`. Start it, close it."""

    def __init__(self, handle: Callable[[Request], Awaitable[Response]]) -> None:
        self._handle = handle
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises BadSetting where the address cannot be taken."""
        try:
            self._server = await asyncio.start_server(self._connected, host.strip("[]"), port, limit=MOST_HEAD_BYTES)
        except OSError as error:
            raise BadSetting(
                "metrics_port", port, f"cannot listen on {host}:{port}; is another server there? Name another port."
            ) from error
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Stop listening; requests under way end."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST_CONNECTIONS:
            writer.transport.abort()  # a word to each of a crowd is what a crowd may want
            return
        # A task of our own: Python 3.11 logs an error for each of its own that is cancelled.
        task = asyncio.create_task(self._served(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._exchange(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it went away, or was too slow: nobody is there to be told
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = "GET"
        try:
            async with asyncio.timeout(PATIENCE_S):
                request = await _read(reader)
            method, response = request.method, await self._answered(request)
        except _Refused as refused:
            response = refused.response
        writer.write(_bytes(response, body=method != "HEAD"))
        async with asyncio.timeout(PATIENCE_S):
            await writer.drain()

    async def _answered(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except Exception:  # one page that fails must not take the others along
            log.exception("a page failed", extra={"reason": f"page {request.method}"})
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")


async def _read(reader: asyncio.StreamReader) -> Request:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the header is too long") from error
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, path = _first_line(first)
    headers = dict(map(_header, lines))
    if "transfer-encoding" in headers:
        raise _Refused(HTTPStatus.LENGTH_REQUIRED, "send a body with its length")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise _Refused(HTTPStatus.BAD_REQUEST, "the length is no number")
    if len(length) > 9 or int(length) > MOST_BODY_BYTES:
        raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_BODY_BYTES} bytes")
    return Request(method, path, headers, await reader.readexactly(int(length)))


def _first_line(line: str) -> tuple[str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        raise _Refused(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1")
    if parts[0] not in _METHODS:
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"ask by {', '.join(_METHODS)}")
    return parts[0], unquote(parts[1].partition("?")[0])


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip():
        raise _Refused(HTTPStatus.BAD_REQUEST, "a header is not one")
    return name.lower(), value.strip()


def _bytes(response: Response, *, body: bool) -> bytes:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Connection": "close",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **response.headers,
    }
    head = f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{head}{lines}\r\n".encode("latin-1") + (response.body if body else b"")
