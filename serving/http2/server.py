"""A server of gRPC's methods, with as much of `grpc.aio.Server` as its services use."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

import grpc

from serving.http2.connection import Connection
from serving.http2.service import Service, Shedding, TakesAll

__all__ = ["Server"]

BACKLOG: Final = 1024
HANDSHAKE_S: Final = 10.0
SHUTDOWN_S: Final = 1.0
"""How long a peer has to agree to the end of TLS."""
_SOCKET: Final = {
    "SO_KEEPALIVE": 1,
    "TCP_NODELAY": 1,
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPINTVL": 15,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 60_000,
}
"""After a minute without a word the system asks whether a peer is still there, and gives it another; what is sent and
not acknowledged for a minute (in ms) ends the connection. Not every system knows all of them."""
NO_ROOM_S: Final = 0.1
"""How long to wait where the system has no socket left."""
CANCELLED_S: Final = 1.0
"""How long handlers that were cancelled may take to end."""

Context = Callable[[], ssl.SSLContext]

log = logging.getLogger(__name__)


class _Details:
    """What a generic handler is asked by."""

    invocation_metadata = ()

    def __init__(self, method: str) -> None:
        self.method = method


class Server:
    """Serves generic handlers on some ports."""

    def __init__(
        self,
        *,
        max_message_bytes: int,
        max_calls: int,
        share_port: bool,
        shedding: Shedding | None = None,
    ) -> None:
        """`max_calls`: of one connection at once; `share_port`: with other processes; `shedding`: which
        calls are refused before they are read, None for none.
        """
        self._share_port = share_port
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._found: dict[str, grpc.RpcMethodHandler] = {}
        self._service = Service(self._handler_of, max_message_bytes, max_calls, shedding or TakesAll())
        self._ports: list[tuple[socket.socket, Context | None]] = []
        self._connections: set[Connection] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Serve their methods."""
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Nothing to do: generated code calls it after `add_generic_rpc_handlers`, with the same methods."""

    def add_port(self, address: str, context: Context | None = None) -> int:
        """Listen on host:port, [host]:port for IPv6, with TLS where there is a `context`, asked for each connection.

        Returns the port, which the system chooses where it is 0. Raises OSError where it cannot be taken.
        """
        host, _, text = address.rpartition(":")
        port = int(text)
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, where in dict.fromkeys(found):
            listener = self._listener(family, (where[0], port, *where[2:]))
            port = listener.getsockname()[1]
            self._ports.append((listener, context))
        return port

    def _listener(self, family: int, where: tuple[object, ...]) -> socket.socket:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._share_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.setblocking(False)
            listener.bind(where)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    async def start(self) -> None:
        """Begin to accept."""
        for listener, context in self._ports:
            self._accepting.append(self._keep(self._accept(listener, context)))

    async def stop(self, grace_s: float) -> None:
        """Accept no more, let calls end within the time, cancel the others, and close."""
        self._service.draining = True
        for accepting in self._accepting:
            accepting.cancel()
        for listener, _ in self._ports:
            listener.close()
        for connection in list(self._connections):
            connection.session.drain()
        await self._end_of_all(grace_s)
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections):
            connection.abort()
        await self._end_of_all(CANCELLED_S)

    async def _end_of_all(self, within_s: float) -> None:
        """Wait for connections, those too that are only coming about."""
        give_up_s = time.monotonic() + within_s
        while waiting := [*self._tasks, *(connection.over for connection in self._connections)]:
            left_s = give_up_s - time.monotonic()
            if left_s <= 0:
                return
            await asyncio.wait(waiting, timeout=left_s)

    def _handler_of(self, path: str) -> grpc.RpcMethodHandler | None:
        found = self._found.get(path)
        if found is None:
            details = _Details(path)
            found = next((one for handler in self._handlers if (one := handler.service(details)) is not None), None)
            if found is not None:
                self._found[path] = found
        return found

    async def _accept(self, listener: socket.socket, context: Context | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("a connection could not be taken: %s", error, extra={"reason": "accept failed"})
                await asyncio.sleep(NO_ROOM_S)
            else:
                self._keep(self._welcome(peer, context))

    async def _welcome(self, peer: socket.socket, context: Context | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            _prepare(peer)
            if context is None:
                await loop.connect_accepted_socket(self._connection, peer)
            else:
                await loop.connect_accepted_socket(
                    self._connection,
                    peer,
                    ssl=context(),
                    ssl_handshake_timeout=HANDSHAKE_S,
                    ssl_shutdown_timeout=SHUTDOWN_S,
                )
        except OSError as error:
            log.debug("a connection did not come about: %s", error)
            peer.close()

    def _connection(self) -> Connection:
        return Connection(self._service, self._connections)

    def _keep(self, doing: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _prepare(peer: socket.socket) -> None:
    for name, value in _SOCKET.items():
        option = getattr(socket, name, None)
        if option is not None:
            peer.setsockopt(socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP, option, value)
