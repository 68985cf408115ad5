"""What all connections of a server share."""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

__all__ = ["Service", "Shedding", "TakesAll", "refusing"]


class Shedding(Protocol):
    """Decides which calls are refused before they are read."""

    @property
    def paths(self) -> Collection[str]:
        """Those of the calls that may be."""
        ...

    def turns_away(self, path: str, left_s: float, needs_s: float) -> bool:
        """Whether a call of one of the paths, whose caller waits so many seconds, is refused; `needs_s`: how many it
        should have left as its connection sees it. Asked where many are under way.
        """
        ...


class TakesAll:
    """Refuses none."""

    paths: Collection[str] = ()

    def turns_away(self, path: str, left_s: float, needs_s: float) -> bool:
        """Never."""
        return False


@dataclass
class Service:
    """Its methods and its limits."""

    handler_of: Callable[[str], grpc.RpcMethodHandler | None]
    """By path; None: there is no such method."""
    max_message_bytes: int
    max_calls: int
    """Most calls of one connection at once."""
    shedding: Shedding
    """Which calls are refused before they are read."""
    draining: bool = False

    def method(self, path: str) -> grpc.RpcMethodHandler:
        """What answers calls of this path."""
        found = self.handler_of(path)
        return refusing(grpc.StatusCode.UNIMPLEMENTED, f"there is no method {path}") if found is None else found


def refusing(code: grpc.StatusCode, details: str) -> grpc.RpcMethodHandler:
    """What answers calls that nobody else does."""

    async def refused(_: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await context.abort(code, details)
        yield b""

    return grpc.stream_stream_rpc_method_handler(refused)
