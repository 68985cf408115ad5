"""Calls leave nothing behind that only the garbage collector finds: it stops everybody while it looks."""

import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from protos.inference import grpc_service_pb2_grpc
from protos.lockstep.v1 import scorer_pb2 as pb
from tests.serving.conftest import Client, column, request
from tests.serving.tensors import raw_infer

CALLS = 40
GOOD = request(column("ip", 1), column("bid", 0.5))
OURS = ("serving", "lockstep", "lockstep_client")


@dataclass
class Left:
    """What was found."""

    kinds: Counter[str] = field(default_factory=Counter)


@contextmanager
def collected() -> Iterator[Left]:
    """What of ours the garbage collector finds of all that was made in the block."""
    left = Left()
    gc.collect()
    gc.disable()
    try:
        yield left
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = (type(one) for one in gc.garbage)
        left.kinds.update(kind.__qualname__ for kind in kinds if kind.__module__.partition(".")[0] in OURS)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def predict(client: Client) -> None:
    await client.ask(GOOD)


async def explain(client: Client) -> None:
    asked = pb.PredictRequest.FromString(GOOD.SerializeToString())
    asked.explain = True
    await client.ask(asked)


async def get_features(client: Client) -> None:
    await client.stub.GetFeatures(pb.GetFeaturesRequest(model="tiny", columns=GOOD.columns))


async def stream(client: Client) -> None:
    assert len([reply async for reply in client.stub.PredictStream(iter([GOOD] * 3))]) == 3


async def list_models(client: Client) -> None:
    await client.stub.ListModels(pb.ListModelsRequest())


async def infer(client: Client) -> None:
    stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(client.channel)  # type: ignore[no-untyped-call]
    await stub.ModelInfer(raw_infer(("ip", "INT64", [1]), ("bid", "FP32", [0.5])))


async def timed(client: Client) -> None:
    await client.ask(GOOD, timeout=5.0)


async def refused(client: Client) -> None:
    assert (await client.refused(request(column("ip", 1))))[0] == "INVALID_ARGUMENT"


async def refused_stream(client: Client) -> None:
    wrong = request(column("ip", 1), model="none")
    assert [reply.WhichOneof("outcome") async for reply in client.stub.PredictStream(iter([wrong]))] == ["failure"]


async def cancelled(client: Client) -> None:
    call = client.stub.PredictStream()
    await call.write(GOOD)
    await call.read()
    call.cancel()


CASES = [predict, explain, get_features, stream, list_models, infer, timed, refused, refused_stream, cancelled]


@pytest.mark.parametrize("call", CASES)
async def test_calls_leave_no_garbage(client: Client, call: Callable[[Client], Awaitable[None]]) -> None:
    await call(client)
    with collected() as left:
        for _ in range(CALLS):
            await call(client)
    assert {kind: count for kind, count in left.kinds.items() if count >= CALLS} == {}


class Circle:
    """Holds itself, as if it were of the server."""

    __module__ = "serving.circle"

    def __init__(self) -> None:
        self.itself = self


def test_garbage_would_be_found() -> None:
    with collected() as left:
        for _ in range(CALLS):
            Circle()
    assert left.kinds == {"Circle": CALLS}
