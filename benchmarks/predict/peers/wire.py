"""What the peers share: the same messages as the scorer's, a line that says where they listen."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from lockstep.times import SECOND
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["READY", "Asked", "asked", "serve_async", "serve_bytes", "serve_threads"]

READY: Final = "listens on "
THREADS: Final = 8
"""As many as there are callers in the round that counts."""

Asked = dict[str, list[Any]]
"""By name a list of values, one per row; event_timestamp in seconds, as Feast takes it."""
Score = Callable[[Asked], NDArray[np.float64]]
AsyncScore = Callable[[Asked], Awaitable[NDArray[np.float64]]]


def asked(message: bytes) -> Asked:
    """The columns of a request as entity rows, those of length one repeated."""
    request = pb.PredictRequest.FromString(message)
    columns = {one.name: list(getattr(one, one.WhichOneof("values")).values) for one in request.columns}
    columns["event_timestamp"] = [t // SECOND for t in request.event_timestamp_us]
    rows = max(map(len, columns.values()))
    return {name: values if len(values) == rows else values * rows for name, values in columns.items()}


def _reply(scores: NDArray[np.float64]) -> bytes:
    content: bytes = pb.PredictResponse(scores=scores).SerializeToString()
    return content


def _methods(predict: Any, stream: Any = None) -> Any:
    """Handlers of bytes: what a peer parses it parses itself."""
    handlers = {"Predict": grpc.unary_unary_rpc_method_handler(predict)}
    if stream is not None:
        handlers["PredictStream"] = grpc.stream_stream_rpc_method_handler(stream)
    return grpc.method_handlers_generic_handler("lockstep.v1.Scorer", handlers)


def serve_threads(score: Score) -> None:
    """A server with a pool of threads, until the process is ended."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((_methods(lambda message, context: _reply(score(asked(message)))),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"{READY}127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


async def serve_async(score: AsyncScore) -> None:
    """A server on an event loop, until the process is ended."""

    async def predict(message: bytes, context: Any) -> bytes:
        return _reply(await score(asked(message)))

    await serve_bytes(predict)


async def serve_bytes(predict: Any, stream: Any = None) -> None:
    """A server of handlers that take and return bytes, until the process is ended."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_methods(predict, stream),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"{READY}127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()
