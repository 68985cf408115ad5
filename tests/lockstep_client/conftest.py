"""Both clients behind one face, and servers for them: the real one with the tiny model, and ones that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from lockstep.model_store import ModelStore
from lockstep_client import AsyncClient, Client, Prediction, Request, ScorerError
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader, publish, row

Outcome = Prediction | ScorerError
Dial = Callable[..., AbstractAsyncContextManager["Either"]]


class Either:
    """A client of either kind, asked with `await`: a synchronous one in a thread."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What the method of that name returns."""
        function = getattr(self.client, method)
        if isinstance(self.client, AsyncClient):
            return await function(*arguments, **options)
        return await asyncio.to_thread(function, *arguments, **options)

    async def predict(self, *arguments: Any, **options: Any) -> Prediction:
        """As `Client.predict`."""
        prediction = await self.call("predict", *arguments, **options)
        assert isinstance(prediction, Prediction)
        return prediction

    async def stream(self, requests: Iterable[Request], **options: Any) -> list[Outcome]:
        """All answers of a stream."""
        if isinstance(self.client, AsyncClient):
            return [outcome async for outcome in self.client.predict_stream(requests, **options)]
        client = self.client
        return await asyncio.to_thread(lambda: list(client.predict_stream(requests, **options)))


@pytest.fixture(params=[Client, AsyncClient])
def dial(request: pytest.FixtureRequest) -> Dial:
    """Opens a client of one of the two kinds; a test that takes it runs with both."""

    @asynccontextmanager
    async def dialled(address: str, **options: Any) -> AsyncIterator[Either]:
        either = Either(request.param(address, **options))
        try:
            yield either
        finally:
            await either.call("close")

    return dialled


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """The tiny model; address 1 has two clicks at noon, 2 three with the last one four seconds before noon."""
    publish(ModelStore(tmp_path))
    reader = MemoryReader({1: row(), 2: row(clicks=3.0, last_click=NOON - 4_000_000)})
    async with running(Settings(port=0, models_url=str(tmp_path)), reader) as started:
        yield started


@pytest.fixture
async def scorer(server: Server, dial: Dial) -> AsyncIterator[Either]:
    """A client of that server."""
    async with dial(server.address, timeout_s=5.0) as opened:
        yield opened


@asynccontextmanager
async def answering(
    *, predict: Any = None, stream: Any = None, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[str]:
    """The address of a server whose `Predict` or `PredictStream` is a function of the test."""
    handlers: dict[str, Any] = {}
    if predict is not None:
        handlers["Predict"] = grpc.unary_unary_rpc_method_handler(predict, pb.PredictRequest.FromString, _bytes)
    if stream is not None:
        handlers["PredictStream"] = grpc.stream_stream_rpc_method_handler(stream, pb.PredictRequest.FromString, _bytes)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lockstep.v1.Scorer", handlers),))
    where = "127.0.0.1:0"
    port = server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _bytes(message: Any) -> bytes:
    whole: bytes = message.SerializeToString()
    return whole
