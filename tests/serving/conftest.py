"""A real server on a port of its own, with the tiny model of tests.bundles, asked through the generated stub."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from lockstep.graph import log_odds
from lockstep.model_store import ModelStore
from protos.lockstep.v1 import scorer_pb2 as pb
from protos.lockstep.v1 import scorer_pb2_grpc
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader, publish, row
from tests.topologies import redis_cluster, redis_sentinel, redis_tls

__all__ = ["redis_cluster", "redis_sentinel", "redis_tls"]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """One model `tiny`, version 1, the champion."""
    made = ModelStore(tmp_path / "models")
    publish(made)
    return made


@pytest.fixture
def settings(store: ModelStore) -> Settings:
    return Settings(port=0, models_url=store.url, default_deadline_ms=5_000)


@pytest.fixture
def reader() -> MemoryReader:
    """Address 1 has two clicks at noon, 2 three with the last one four seconds before noon, 3 a row of NULLs."""
    return MemoryReader({1: row(), 2: row(clicks=3.0, last_click=NOON - 4_000_000), 3: row(clicks=None)})


@pytest.fixture
async def server(settings: Settings, reader: MemoryReader) -> AsyncIterator[Server]:
    async with running(settings, reader) as started:
        yield started


@dataclass
class Client:
    """What a caller does, in few words."""

    channel: grpc.aio.Channel
    stub: Any = field(init=False)

    def __post_init__(self) -> None:
        self.stub = scorer_pb2_grpc.ScorerStub(self.channel)  # type: ignore[no-untyped-call]  # generated

    async def ask(self, request: pb.PredictRequest, timeout: float | None = None) -> pb.PredictResponse:
        """The reply of the server."""
        reply: pb.PredictResponse = await self.stub.Predict(request, timeout=timeout)
        return reply

    async def refused(self, request: pb.PredictRequest) -> tuple[str, str]:
        """Status and message of a request that must fail."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.ask(request)
        return raised.value.code().name, raised.value.details() or ""


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Client(channel)


def column(name: str, *values: float | str) -> pb.Column:
    """A column of the type of its values."""
    if all(isinstance(value, int) for value in values):
        return pb.Column(name=name, int64s=pb.Int64s(values=values))  # type: ignore[arg-type]
    if all(isinstance(value, str) for value in values):
        return pb.Column(name=name, strings=pb.Strings(values=values))  # type: ignore[arg-type]
    return pb.Column(name=name, doubles=pb.Doubles(values=values))  # type: ignore[arg-type]


def request(
    *columns: pb.Column, t: list[int] | None = None, model: str = "tiny", version: str = ""
) -> pb.PredictRequest:
    """A request at noon, unless `t` says otherwise."""
    times = [NOON] if t is None else t
    return pb.PredictRequest(model=model, version=version, columns=columns, event_timestamp_us=times)


def odds(reply: pb.PredictResponse) -> list[float]:
    """Log-odds of the scores: the sum that the tiny model computes."""
    rounded: list[float] = log_odds(np.array(reply.scores)).round(4).tolist()
    return rounded


def found(reply: pb.PredictResponse) -> dict[str, int]:
    """Statuses of the one view of the tiny plan, by name."""
    (view,) = reply.views
    return {pb.Status.Name(one.status).removeprefix("STATUS_"): one.count for one in view.counts}
