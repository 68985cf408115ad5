"""What the scorer and a Redis say to each other, and what it takes to be let in."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Final, Protocol

import hiredis

from lockstep.compiled import core

__all__ = ["UNREACHED", "Access", "Answer", "RedisClient", "Reply", "Unreached", "hash_of", "mget", "packed"]

Reply = Any
"""What hiredis makes of an answer: bytes, int, None, a list of these, or a hiredis.ReplyError."""

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


def mget(keys: Sequence[bytes]) -> bytes:
    """The command that asks for the values of some keys."""
    if core is None:
        return packed(b"MGET", *keys)
    whole: bytes = core.command(b"MGET", keys if type(keys) is list else list(keys))
    return whole


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
