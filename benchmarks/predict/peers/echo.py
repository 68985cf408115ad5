"""The floor: a bare grpc.aio server that answers every request with the same bytes, and does nothing else.

    python -m benchmarks.predict.peers.echo REPLY

REPLY is a reply of the scorer, in hexadecimal, so that both sides send messages of the same size. The request is not
even parsed. The event loop is the scorer's.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.predict.peers.wire import serve_bytes
from serving.loop import run

__all__ = ["main"]


def main(reply: bytes) -> None:
    """Serve until the process is ended."""

    async def predict(message: bytes, context: Any) -> bytes:
        return reply

    async def stream(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in messages:
            yield reply

    run(serve_bytes(predict, stream))


if __name__ == "__main__":
    main(bytes.fromhex(sys.argv[1]))
