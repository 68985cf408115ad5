"""What it costs to count: the scorer's own work for a request, with its metrics and without them.

    python -m benchmarks.metrics_cost [--json] [--rounds 200] [--callers 32]

In one process, from the bytes of a request to the bytes of its reply, as gRPC calls it, but without gRPC, whose noise
would hide what is measured. The store is an array in memory, for the same reason. A model of 33 features; one
row a request; `callers` requests at a time, so that they share batches as they do in a server under load, and 1, where
each is a batch of its own. Both sides take short turns, at the end of which everything is counted (a server counts a
quarter as often), and the median over the rounds of the difference of their CPU times is what is said.

What a request costs with gRPC is then measured on a server of its own without metrics; `percent` is the share of that.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Final

import grpc
import numpy as np
import psutil
from onnx import TensorProto, helper

from benchmarks.machine import facts
from lockstep.bundle import Bundle, Manifest
from lockstep.graph import Graph
from lockstep.link import Link
from lockstep.plan import Array, Column, DType, Given, JoinKey, Plan, Stored, View
from lockstep.progress import bar
from lockstep.resolve import PlanRows
from lockstep.status import Status
from lockstep.times import DAY, HOUR, now_us
from protos.lockstep.v1 import scorer_pb2 as pb
from protos.lockstep.v1 import scorer_pb2_grpc
from serving.loop import run
from serving.metrics import Meters
from serving.models import Catalogue
from serving.rpc import register, unary
from serving.scorer import Scorer
from serving.servicers import ScorerServicer
from serving.settings import Settings

__all__ = ["main"]

VIEWS: Final = ("ip_activity", "app_activity", "channel_activity")
FEATURES: Final = 11
REQUESTS: Final = 256
"""Of one side in one turn."""
CALLS: Final = 4_000
"""Of the server."""
SERVICE: Final = pb.DESCRIPTOR.services_by_name["Scorer"]

Handler = Callable[..., Awaitable[bytes]]


def plan() -> Plan:
    """33 float features of three views with one join key."""
    names = [(view, f"{view}_{n}") for view in VIEWS for n in range(FEATURES)]
    stored = [Column(name, DType.FLOAT32, Stored(view, name), default=0.0) for view, name in names]
    views = tuple(View(view, (JoinKey("ip", "ip", DType.INT64),), DAY, "") for view in VIEWS)
    key = Column("ip", DType.INT64, Given("join_key"))
    return Plan("benchmark", "one", views, (key, *stored), tuple(name for _, name in names))


def bundle() -> Bundle:
    """A model that adds its inputs."""
    made = plan()
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in made.inputs]
    output = helper.make_tensor_value_info("raw", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Sum", list(made.inputs), ["raw"])], "sum", inputs, [output])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    manifest = Manifest("one", "1", 0, "onnx", made, Link(), 0.5, {}, {}, {}, {}, "", {})
    return Bundle(manifest, {}, Graph(content), {})


class Only:
    """One bundle, as a scorer asks for its models."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.catalogue = bundle, Catalogue({(bundle.manifest.name, bundle.manifest.version): bundle})

    def find(self, name: str, version: str) -> Bundle:
        """The bundle."""
        return self.bundle


class Memory:
    """A store that is an array: every row is there, an hour old."""

    def __init__(self, made: Plan) -> None:
        missing = PlanRows.missing(made, 1024, Status.PRESENT)
        values = {dtype: np.zeros_like(found) for dtype, found in missing.values.items()}
        self._whole = replace(missing, event_us=np.full_like(missing.event_us, now_us() - HOUR), values=values)

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> PlanRows:
        """The first rows, after a turn of the loop, as if they came from a socket."""
        await asyncio.sleep(0)
        whole = self._whole
        values = {dtype: found[:, :rows] for dtype, found in whole.values.items()}
        return PlanRows(whole.found[:, :rows], whole.event_us[:, :rows], None, whole.states[:, :rows], values)

    async def prepare(self, plan: Plan) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to give back."""


def request(ip: int, t_us: int) -> pb.PredictRequest:
    """One row."""
    return pb.PredictRequest(
        model="one", event_timestamp_us=[t_us], columns=[pb.Column(name="ip", int64s=pb.Int64s(values=[ip]))]
    )


class Call:
    """A caller that names no deadline."""

    def time_remaining(self) -> None:
        """None."""


def side(made: Bundle, *, counted: bool) -> "Side":
    """Predict of a scorer, as gRPC calls it."""
    models, settings = Only(made), Settings(models_url="memory://")
    meters = Meters(models.find) if counted else None
    scorer = Scorer(models, Memory(made.plan), settings, meters=meters)
    servicer: Any = ScorerServicer(scorer, models, settings)  # type: ignore[arg-type] # lists no models here
    meter = None if meters is None else meters.call("Predict")
    handle = unary(servicer.Predict, pb.PredictRequest.FromString, "Predict", meter)
    return Side(handle, (lambda: None) if meters is None else meters.settle)


@dataclass
class Side:
    """One of the two."""

    handle: Handler
    settle: Callable[[], None]
    seconds: list[float] = field(default_factory=list)
    """CPU of its turns."""

    async def turn(self, messages: list[bytes], callers: int) -> list[bytes]:
        """Answer all messages, some at a time. Returns the replies."""
        replies: list[bytes] = []
        began = time.process_time()
        for first in range(0, len(messages), callers):
            replies += await asyncio.gather(*(self.handle(one, Call()) for one in messages[first : first + callers]))
        self.settle()
        self.seconds.append(time.process_time() - began)
        return replies


async def measured(rounds: int, callers: int) -> dict[str, float]:
    """CPU of a request with and without, µs, and the share of the metrics in percent."""
    made, t = bundle(), now_us()
    messages = [request(ip, t).SerializeToString() for ip in range(REQUESTS)]
    sides = [side(made, counted=counted) for counted in (False, True)]
    with bar(f"{callers} at a time", rounds) as done:
        for number in range(rounds + 2):
            turns = [await one.turn(messages, callers) for one in (sides if number % 2 else sides[::-1])]
            assert turns[0] == turns[1], "counting changes no answer"
            done(number >= 2)
    without, counted = (np.array(one.seconds[2:]) / REQUESTS * 1e6 for one in sides)
    spent = median(counted - without)
    return {"without_us": median(without), "cost_us": spent}


async def answer() -> None:
    """A server without metrics, until it is ended; says its port."""
    made = bundle()
    models, settings = Only(made), Settings(models_url="memory://")
    scorer = Scorer(models, Memory(made.plan), settings)
    server = grpc.aio.server()
    register(server, SERVICE, ScorerServicer(scorer, models, settings))  # type: ignore[arg-type] # lists no models here
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


async def whole_us(callers: int) -> float:
    """CPU of a request in such a server, gRPC included, µs."""
    command = [sys.executable, "-m", "benchmarks.metrics_cost", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        async with grpc.aio.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
            predict = scorer_pb2_grpc.ScorerStub(channel).Predict  # type: ignore[no-untyped-call] # generated
            await _called(predict, callers)
            before = sum(psutil.Process(process.pid).cpu_times()[:2])
            await _called(predict, callers)
            spent = sum(psutil.Process(process.pid).cpu_times()[:2]) - before
        process.terminate()
    return float(spent / CALLS * 1e6)


async def _called(predict: Callable[[pb.PredictRequest], Awaitable[Any]], callers: int) -> None:
    numbers, t = iter(range(CALLS)), now_us()

    async def one() -> None:
        for ip in numbers:
            await predict(request(ip, t))

    await asyncio.gather(*(one() for _ in range(callers)))


async def both(rounds: int, callers: int) -> dict[str, float]:
    """All figures of requests that come so many at a time."""
    figures = await measured(rounds, callers)
    whole = await whole_us(callers)
    return {**figures, "request_us": whole, "percent": 100 * figures["cost_us"] / (whole + figures["cost_us"])}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print nothing but one line of JSON")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        run(answer())
        return
    found: dict[str, Any] = {"machine": facts("grpcio", "numpy", "onnxruntime")}
    for callers, suffix in ((given.callers, ""), (1, "_alone")):
        figures = asyncio.run(both(given.rounds, callers))
        found.update({f"{name}{suffix}": round(value, 2) for name, value in figures.items()})
        if not given.json:
            print(f"{callers} at a time: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
