"""One connection to one Redis server: commands go out as they come, answers come back in their order."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ssl import SSLContext
from typing import Any, Final, Protocol, cast
from weakref import WeakSet

import hiredis

from lockstep.errors import StoreUnreachable
from serving.redis.breaker import Breaker

__all__ = [
    "NODES",
    "UNREACHED",
    "Access",
    "Answer",
    "Link",
    "Node",
    "RedisClient",
    "Reply",
    "Unreached",
    "hash_of",
    "packed",
]

Reply = Any
"""What hiredis makes of an answer: bytes, int, None, a list of these, or a hiredis.ReplyError."""

_DIALLING_FAILS = (OSError, TimeoutError, OverflowError, UnicodeError)
"""ssl.SSLError is an OSError; the last two come of a port or a name that cannot be one."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5
"""Pauses between attempts to connect: doubled each time, and jittered, so that a fleet does not come back at once."""

log = logging.getLogger(__name__)


class Unreached:
    """What stands for the answer of a server that did not give one."""


UNREACHED: Final = Unreached()
Answer = bytes | Unreached | None
"""What was found under a key."""


def packed(*command: bytes | str | int) -> bytes:
    """A command as it goes over the wire."""
    whole: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its annotation takes one part alone
    return whole


def hash_of(reply: Reply) -> dict[bytes, bytes] | Unreached:
    if isinstance(reply, hiredis.ReplyError):
        log.error("Redis refused a read: %s", reply, extra={"reason": "redis refused"})
        return UNREACHED
    return dict(zip(reply[::2], reply[1::2], strict=True))


class RedisClient(Protocol):
    """What the reader needs of a Redis, whatever its topology."""

    async def get(self, keys: Sequence[bytes]) -> Sequence[Answer]:
        """The values of the keys, in one round trip to each server. Never raises for a server that fails."""
        ...

    async def hashes(self, keys: Sequence[bytes]) -> Sequence[dict[bytes, bytes] | Unreached]:
        """The fields and values of hashes, empty where there is none."""
        ...

    async def put(self, keys: Sequence[bytes], rows: Sequence[bytes], expire_ms: int | None) -> bool:
        """Write packed rows, each unless a newer one is there; whether all were taken. Never raises for a server that
        fails.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True)
class Access:
    """How to get in at a server."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: SSLContext | None = None
    patience_s: float = 1.0
    """A server that leaves a command unanswered for so long is given up, and dialled again."""
    breaker_s: float = 0.25
    """A server that leaves a command unanswered for so long is not asked until it answers."""
    node_s: float = 0.1
    """How long a read of a cluster waits for one node before it goes on without that node's keys."""

    def greetings(self, *, read_only: bool = False) -> list[tuple[bytes | str | int, ...]]:
        """The first commands on a connection."""
        first: list[tuple[bytes | str | int, ...]] = []
        if self.password is not None:
            first.append(("AUTH", self.username, self.password) if self.username else ("AUTH", self.password))
        if self.db:
            first.append(("SELECT", self.db))
        if read_only:
            first.append(("READONLY",))
        return first


class _NobodyAsked(Exception):
    """The server says more than it was asked."""


@dataclass
class _Pending:
    """A command on its way."""

    answer: "asyncio.Future[list[Reply]]"
    replies: list[Reply]
    missing: int
    sent_s: float


class Link(asyncio.Protocol):
    """One open connection."""

    def __init__(self, access: Access, opened: Callable[[], None] = lambda: None) -> None:
        """`opened` is called when the server leaves commands unanswered."""
        self._opened = opened
        self.breaker = Breaker(
            access.breaker_s,
            access.patience_s,
            oldest_s=lambda: self._pending[0].sent_s if self._pending else None,
            opened=self._disappoint,
            lost=self.abort,
        )
        self._reader = hiredis.Reader()
        self._pending: deque[_Pending] = deque()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is gone."""

    @property
    def is_open(self) -> bool:
        """Whether a command can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, command: bytes, replies: int) -> "asyncio.Future[list[Reply]]":
        """Send commands that have so many replies. The future fails with ConnectionError where the link breaks."""
        answer: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self.breaker.is_open or not self.is_open or self._transport is None:
            why = "it leaves commands unanswered" if self.breaker.is_open else "the connection is closed"
            answer.set_exception(ConnectionError(why))
            return answer
        self._pending.append(_Pending(answer, [], replies, time.monotonic()))
        self._transport.write(command)
        self.breaker.sent()
        return answer

    def abort(self) -> None:
        """Give the connection up; everything on its way fails."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(ConnectionError("the server did not answer in time"))

    def _disappoint(self) -> None:
        """Nobody waits any longer; what is answered later is passed over."""
        self._opened()
        for one in self._pending:
            if not one.answer.done():
                one.answer.set_exception(ConnectionError("it leaves commands unanswered"))

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except (hiredis.ProtocolError, _NobodyAsked) as error:
            log.error("what the server sent is not Redis's protocol: %s", error, extra={"reason": "redis protocol"})
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._fail(exc or ConnectionError("the server closed the connection"))
        if not self.closed.done():
            self.closed.set_result(None)

    def _take(self, reply: Reply) -> None:
        if not self._pending:
            raise _NobodyAsked(f"a reply that nobody asked for: {reply!r:.80}")
        first = self._pending[0]
        self.breaker.answered()
        first.replies.append(reply)
        first.missing -= 1
        if not first.missing:
            self._pending.popleft()
            if not first.answer.done():  # else its caller has given up
                first.answer.set_result(first.replies)

    def _fail(self, error: Exception) -> None:
        self.breaker.close()
        while self._pending:
            answer = self._pending.popleft().answer
            if not answer.done():
                answer.set_exception(error)


NODES: Final[WeakSet["Node"]] = WeakSet()
"""Those of this process, for its metrics."""


class Node:
    """One server: its connection, made again whenever it is lost."""

    def __init__(self, host: str, port: int, access: Access, *, read_only: bool = False) -> None:
        self.host, self.port = host, port
        self._access, self._read_only = access, read_only
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._first_try: asyncio.Event = asyncio.Event()
        self._why = "not yet connected"
        self.failures = 0
        """How often the server left commands unanswered, or the connection was lost or refused."""
        NODES.add(self)

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    @property
    def is_used(self) -> bool:
        """Whether it was asked for anything, and not closed since."""
        return self._task is not None and not self._task.done()

    @property
    def is_down(self) -> bool:
        """Whether commands are refused at once, since the server does not answer."""
        return self._first_try.is_set() and (self._link is None or self._link.breaker.is_open)

    async def send(self, command: bytes, replies: int = 1) -> list[Reply]:
        """The replies to packed commands. Raises StoreUnreachable at once where there is no connection."""
        link = self._link
        if link is None:
            link = await self._connected()
        try:
            return await link.send(command, replies)
        except OSError as error:
            raise StoreUnreachable(self.address, str(error)) from error

    async def close(self) -> None:
        """Close the connection and dial no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._link is not None:
            self._link.abort()

    async def _connected(self) -> Link:
        if self._task is None:
            self._task = asyncio.create_task(self._stay_connected(), name=f"redis {self.address}")
        await self._first_try.wait()
        if self._link is None:
            raise StoreUnreachable(self.address, self._why)
        return self._link

    async def _stay_connected(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            try:
                async with asyncio.timeout(self._access.patience_s):
                    self._link = await self._dial()
            except _DIALLING_FAILS as error:
                self._why = str(error) or f"no answer within {self._access.patience_s:g} s"
                log.error("Redis at %s cannot be reached: %s", self.address, self._why, extra=self._facts)
                self._count()
            self._first_try.set()
            if self._link is not None:
                await self._link.closed
                self._link, self._why = None, "the connection was lost"
                self._count()
            # A server that hangs up at once is as bad as one that is not there.
            lived = time.monotonic() - started > self._access.patience_s + LONGEST_PAUSE_S
            pause_s = FIRST_PAUSE_S if lived else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

    def _stalled(self) -> None:
        text = "Redis at %s leaves commands unanswered; it is not asked until it answers"
        log.error(text, self.address, extra=self._facts)
        self._count()

    def _count(self) -> None:
        self.failures += 1

    @property
    def _facts(self) -> dict[str, Any]:
        return {"reason": f"redis {self.address}"}

    async def _dial(self) -> Link:
        """A connection that has been let in. Raises OSError."""
        access, loop = self._access, asyncio.get_running_loop()
        made = partial(Link, access, self._stalled)
        _, link = await loop.create_connection(made, self.host, self.port, ssl=access.tls)
        try:
            await self._greet(link)
        except BaseException:  # a server that never answers: its socket is not to be forgotten
            link.abort()
            raise
        return link

    async def _greet(self, link: Link) -> None:
        """Let it answer once: a server that accepts connections and says nothing is not there."""
        greetings = [*self._access.greetings(read_only=self._read_only), (b"PING",)]
        *replies, _ = await link.send(b"".join(packed(*one) for one in greetings), len(greetings))
        for reply in replies:  # not that to PING: a user may be forbidden it
            if isinstance(reply, hiredis.ReplyError):
                raise ConnectionError(str(reply))
