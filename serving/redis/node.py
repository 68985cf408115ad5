"""One Redis server, and the way to it: a connection that is made again whenever it is lost."""

import asyncio
import logging
import random
import time
from functools import partial
from typing import Any, Final
from weakref import WeakSet

import hiredis

from lockstep.errors import StoreUnreachable
from serving.redis.link import Link
from serving.redis.terms import Access, Reply, packed

__all__ = ["NODES", "Node"]

_DIALLING_FAILS = (OSError, TimeoutError, OverflowError, UnicodeError)
"""ssl.SSLError is an OSError; the last two come of a port or a name that cannot be one."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5
"""Pauses between attempts to connect: doubled each time, and jittered, so that a fleet does not come back at once."""

log = logging.getLogger(__name__)

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
        self._why, self._missed = "not yet connected", False
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
                self._miss("Redis at %s cannot be reached: %s", self._why)
            self._first_try.set()
            if self._link is not None:
                self._found()
                await self._link.closed
                self._link, self._why = None, "the connection was lost"
                self._miss("Redis at %s: the connection was lost; it is dialled again")
            # A server that hangs up at once is as bad as one that is not there.
            lived = time.monotonic() - started > self._access.patience_s + LONGEST_PAUSE_S
            pause_s = FIRST_PAUSE_S if lived else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

    def _stalled(self) -> None:
        self._miss("Redis at %s leaves commands unanswered; it is not asked until it answers")

    def _miss(self, text: str, *facts: str) -> None:
        """Say and count that it does not answer."""
        log.error(text, self.address, *facts, extra=self._facts)
        self._missed = True
        self.failures += 1

    def _found(self) -> None:
        """Say that it answers, where it did not before."""
        if self._missed:
            self._missed = False
            log.info("Redis at %s answers again", self.address, extra={"reason": f"redis {self.address} is back"})

    @property
    def _facts(self) -> dict[str, Any]:
        return {"reason": f"redis {self.address}"}

    async def _dial(self) -> Link:
        """A connection that has been let in. Raises OSError."""
        access, loop = self._access, asyncio.get_running_loop()
        made = partial(Link, access, self._stalled, self._found)
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
