"""A TCP proxy between the scorer and its Redis: connections can be slowed, reset and left without an answer."""

import asyncio
import socket
import struct
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from threading import Thread
from typing import Any, Final

__all__ = ["Mode", "Proxy", "proxy"]

SLOW_S: Final = 0.05
_READ: Final = 1 << 16
_LINGER: Final = struct.pack("ii", 1, 0)
"""close() then sends RST: https://man7.org/linux/man-pages/man7/socket.7.html, SO_LINGER."""


class Mode(Enum):
    """What it does to what passes through."""

    PASS = "pass"
    SLOW = "slow"
    """Every answer comes 50 ms later."""
    RESET = "reset"
    """Connections are reset, new ones as soon as they are made."""
    SILENT = "silent"
    """Connections are accepted, and nothing is ever answered on them."""


class Proxy:
    """One listening port, and the port that is behind it."""

    def __init__(self, behind: int) -> None:
        self._behind, self._mode = behind, Mode.PASS
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def turn(self, mode: Mode) -> None:
        """Treat connections so from now on; those that are open end, unless they are merely slowed."""
        self._run(self._turn(mode))

    def close(self) -> None:
        """End all connections, listen no more."""
        self._run(self._turn(Mode.RESET))
        self._server.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _turn(self, mode: Mode) -> None:
        before, self._mode = self._mode, mode
        if Mode.RESET is mode or Mode.SILENT in (before, mode):
            for writer in tuple(self._open):
                _reset(writer)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._mode is Mode.RESET:
                _reset(writer)
            elif self._mode is Mode.SILENT:
                while await reader.read(_READ):
                    pass
            else:
                await self._pass(reader, writer)
        except OSError:
            _reset(writer)  # whoever is behind is gone: so is this
        finally:
            self._open.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, behind = await asyncio.open_connection("127.0.0.1", self._behind)
        back = asyncio.ensure_future(self._back(answers, writer))
        try:
            while (sent := await reader.read(_READ)) and not behind.is_closing():
                behind.write(sent)
        finally:
            behind.close()
            back.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await back

    async def _back(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due = 0.0
        while (answer := await answers.read(_READ)) and not writer.is_closing():
            # Never before the one that came before, also where the mode changes between them: TCP keeps the order.
            due = max(self._loop.time() + (SLOW_S if self._mode is Mode.SLOW else 0.0), due + 1e-6)
            self._loop.call_at(due, _write, writer, answer)
        writer.close()


def _write(writer: asyncio.StreamWriter, answer: bytes) -> None:
    if not writer.is_closing():
        writer.write(answer)


def _reset(writer: asyncio.StreamWriter) -> None:
    taken = writer.get_extra_info("socket")
    with suppress(OSError):  # it may be closed already
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    writer.transport.abort()


@contextmanager
def proxy(behind: int) -> Iterator[Proxy]:
    """A proxy before a port of this machine, until the block ends."""
    made = Proxy(behind)
    try:
        yield made
    finally:
        made.close()
