"""What all connections of a server share."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc

__all__ = ["Service", "refusing"]


@dataclass
class Service:
    """Its methods and its limits."""

    handler_of: Callable[[str], grpc.RpcMethodHandler | None]
    """By path; None: there is no such method."""
    max_message_bytes: int
    max_calls: int
    """Most calls of one connection at once."""
    turns_away: Callable[[str, float, float], bool]
    """Whether a call of this path, whose caller waits so many seconds, is refused before it is read, and how many it
    should have left as its connection sees it. Asked where many are under way."""
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
