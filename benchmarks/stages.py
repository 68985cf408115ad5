"""Where the microseconds of a request go: the scorer without gRPC, in this process, on a real Redis.

    python -m benchmarks.stages [--home FOLDER] [--json]

Every stage is timed where it is called. Beside some stands a floor: the same keys read by a bare MGET of redis-py, the
same columns run by ONNX Runtime alone. The loop is tight, so the caches are warm: in a server under load every stage
takes longer. One process, one core; the round with the least sum of many.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest import mock

import redis

from benchmarks.machine import facts
from benchmarks.predict.asked import draw
from benchmarks.predict.data import Data, Size, opened
from benchmarks.predict.sides import lockstep
from lockstep import bundle as bundles
from lockstep.graph import Graph
from lockstep.home import Home
from lockstep.lookup import Asked, Lookup
from lockstep.model_store import ModelStore
from protos.lockstep.v1 import scorer_pb2 as pb
from serving import convert, lane
from serving.deadline import Deadline
from serving.loop import run
from serving.models import Models
from serving.packed_reader import PackedReader
from serving.scorer import Query, Scorer
from serving.settings import Settings

__all__ = ["main", "measure"]

SIZE: Final = Size(clicks=30_000, days=3)
BATCHES: Final = {"one request": (1, 1), "eight requests": (8, 1), "a hundred candidates": (1, 100)}
"""Requests of a batch, and rows of each."""
STAGES: Final[Mapping[str, tuple[Any, str]]] = {
    "read the messages": (sys.modules[__name__], "_read"),
    "check": (lane, "together"),
    "keys": (Lookup, "ask"),
    "read the rows": (Lookup, "read"),
    "resolve": (lane, "resolve"),
    "functions": (bundles, "model_inputs"),
    "model": (Graph, "raw"),
    "count the statuses": (lane, "summaries"),
    "write the replies": (convert, "reply"),
}
ROUNDS: Final = 300
MOST_ROWS: Final = 1000


def _read(message: bytes) -> Query:
    """As a server does."""
    request = convert.reader(MOST_ROWS)(message)
    return request if isinstance(request, Query) else convert.query(request, max_rows=MOST_ROWS)


@dataclass
class Clock:
    """Seconds by stage."""

    spent: dict[str, float] = field(default_factory=dict)

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time counted. A method stays one."""

        def counted(*arguments: Any, **named: Any) -> Any:
            since = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.spent[stage] = self.spent.get(stage, 0.0) + time.perf_counter() - since

        return counted

    @contextmanager
    def running(self) -> Iterator[None]:
        """Every stage is timed while the block runs."""
        with ExitStack() as stack:
            for stage, (owner, name) in STAGES.items():
                stack.enter_context(mock.patch.object(owner, name, self.timed(stage, getattr(owner, name))))
            yield


@dataclass(frozen=True)
class Bench:
    """The scorer in this process, and the requests for it."""

    scorer: Scorer
    requests: Sequence[bytes]
    at_once: int

    async def batch(self, number: int) -> list[bytes]:
        """The replies to one batch."""
        first = number * self.at_once
        asked = [self.requests[(first + i) % len(self.requests)] for i in range(self.at_once)]
        return await asyncio.gather(*map(self._answer, asked))

    async def _answer(self, message: bytes) -> bytes:
        return convert.reply(await self.scorer.score(_read(message), Deadline.after(5.0)))

    async def fastest(self) -> dict[str, float]:
        """µs by stage of the fastest batch, and the rest of it: tasks, the wait for Redis, protobuf."""
        best: dict[str, float] = {}
        for number in range(ROUNDS):
            clock = Clock()
            with clock.running():
                since = time.perf_counter()
                await self.batch(number)
                whole = time.perf_counter() - since
            if not best or whole < best["whole"]:
                best = {**clock.spent, "whole": whole}
        rest = best["whole"] - sum(best[stage] for stage in STAGES)
        return {stage: seconds * 1e6 for stage, seconds in {**best, "the rest": rest}.items()}

    async def floors(self, url: str) -> dict[str, float]:
        """µs of what no scorer of this model on this store can do without, for the same batches."""
        seen: list[tuple[Any, ...]] = []
        asks: list[Asked] = []
        with _noting(Graph, "run", seen, []), _noting(Lookup, "ask", [], asks):
            for number in range(8):
                await self.batch(number)
        with redis.Redis.from_url(url) as client:
            return {
                "model": _least(lambda: [graph.run(columns) for graph, columns in seen]) / len(seen),
                "MGET by redis-py": _least(lambda: [client.mget(asked.keys) for asked in asks]) / len(asks),
            }


@contextmanager
def _noting(owner: Any, name: str, given: list[Any], made: list[Any]) -> Iterator[None]:
    """Keep what a method is given and what it makes, while the block runs."""
    call = getattr(owner, name)

    def noted(*arguments: Any) -> Any:
        given.append(arguments)
        made.append(call(*arguments))
        return made[-1]

    with mock.patch.object(owner, name, noted):
        yield


def _least(call: Callable[[], object]) -> float:
    """µs of the fastest of some runs."""
    found = []
    for _ in range(40):
        since = time.perf_counter()
        call()
        found.append(time.perf_counter() - since)
    return min(found) * 1e6


async def _measured(data: Data, requests: Mapping[str, tuple[Sequence[bytes], Sequence[Any]]]) -> dict[str, Any]:
    settings = Settings(models_url=data.home.models.as_uri(), redis=data.redis_url)
    reader = PackedReader.open(settings)
    models = Models(ModelStore(settings.models_url), newest_versions=1)
    models.refresh()
    scorer = Scorer(models, reader, settings)
    found: dict[str, Any] = {}
    for name, (messages, expected) in requests.items():
        at_once = BATCHES[name][0]
        bench = Bench(scorer, messages, at_once)
        _check(await bench.batch(0), expected[:at_once])
        found[name] = {"floors_us": await bench.floors(data.redis_url), "stages_us": await bench.fastest()}
        _check(await bench.batch(0), expected[:at_once])
    await reader.close()
    return found


def _check(replies: Sequence[bytes], expected: Sequence[Any]) -> None:
    """Raises ValueError where a score is not the one that the server answered."""
    for reply, scores in zip(replies, expected, strict=True):
        if list(pb.PredictResponse.FromString(reply).scores) != list(scores):
            raise ValueError("the scorer in this process answers otherwise than the server")


def measure(home: Home) -> dict[str, Any]:
    """The stages of every batch, in µs."""
    with opened(home, SIZE) as data:
        with lockstep(data) as side:
            drawn = {name: draw(data, side.address, 64, rows, 1) for name, (_, rows) in BATCHES.items()}
        found: dict[str, Any] = {}

        async def main() -> None:
            found.update(await _measured(data, {name: (one.requests, one.scores or []) for name, one in drawn.items()}))

        run(main())
    return found


def _show(found: Mapping[str, Any]) -> None:
    print(f"{'µs':>28}" + "".join(f"{name:>24}" for name in found), file=sys.stderr)
    for stage in (*STAGES, "the rest", "whole"):
        print(f"{stage:>28}" + "".join(f"{one['stages_us'][stage]:24.0f}" for one in found.values()), file=sys.stderr)
    for floor in ("model", "MGET by redis-py"):
        values = "".join(f"{one['floors_us'][floor]:24.0f}" for one in found.values())
        print(f"{'floor: ' + floor:>28}" + values, file=sys.stderr)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--home", type=Path, help="keep data and model here and use them again (default: none is kept)")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = measure(Home((arguments.home or Path(folder)).absolute()))
    if not arguments.json:
        _show(found)
    print(json.dumps({**found, "machine": facts("onnxruntime", "numpy", "redis", "hiredis", "uvloop")}))


if __name__ == "__main__":
    main()
