"""Reading 33 features of 3 views: the scorer's reader and Feast's SDK on our store, beside Feast's SDK on its own.

    python -m benchmarks.online_read [--json] [--rows 20000] [--rounds 15]

Three views of 11 features on three entities, as in benchmarks.online_memory. One request has one key of each view; the
other has a hundred candidates: one key of two views, a hundred keys of the third. The peer is `get_online_features` on
Feast's Redis store, its answer left as it comes. The reader runs in a process of its own, which has not imported Feast,
and gives numpy columns with statuses. The floor is a bare MGET of the same keys by redis-py. All sides read the same
values, compared one by one. The sides take turns; each figure is the median over the rounds of their ratio.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import numpy as np

from benchmarks.machine import facts
from benchmarks.online_memory import LAYOUTS, TTL_US, VIEWS, Side, features_of, references, side
from lockstep.plan import Column, DType, Given, JoinKey, Plan, Stored, View, digest
from lockstep.resolve import PlanRows, resolve
from lockstep.times import DAY
from serving.loop import run

__all__ = ["main"]

LAYOUT: Final = LAYOUTS["apart"]
CANDIDATES: Final = 100
CALLS: Final = {"one": 100, "hundred": 20}
"""Calls of each side in a round, by request."""


def plan() -> Plan:
    """All features as float32, the age of the rows not limited by the clock."""
    keys = [Column(key, DType.INT64, Given("join_key")) for key in LAYOUT.values()]
    views = [
        View(view, (JoinKey(key, key, DType.INT64),), TTL_US, digest(f"{view}_table")) for view, key in LAYOUT.items()
    ]
    stored = [Column(name, DType.FLOAT32, Stored(view, name)) for view in VIEWS for name in features_of(view)]
    return Plan("ours", "all", tuple(views), (*keys, *stored), tuple(column.name for column in stored))


def requests(rows: int) -> dict[str, list[dict[str, list[int]]]]:
    """By kind some requests: ids by join key, one per row."""
    random = np.random.default_rng(11)
    keys = list(LAYOUT.values())

    def one(count: int) -> dict[str, list[int]]:
        user = {key: [int(random.integers(rows))] * count for key in keys[:2]}
        return {**user, keys[2]: random.choice(rows, count, replace=False).tolist()}

    return {"one": [one(1) for _ in range(50)], "hundred": [one(CANDIDATES) for _ in range(50)]}


def timed(call: Callable[[Any], object], asked: Sequence[Any], calls: int) -> float:
    """Seconds of a call, the median."""
    took = []
    for number in range(calls):
        started = perf_counter()
        call(asked[number % len(asked)])
        took.append(perf_counter() - started)
    return median(took)


# ---- the reader, in a process of its own


async def serve_reader(url: str, rows: int) -> None:
    """Answer the lines on standard input: a kind and a number of calls, or a request to show the values of."""
    from lockstep.redis_where import Where
    from serving.packed_reader import PackedReader
    from serving.redis import open_client

    reader, wanted, asked = PackedReader(open_client(Where(url))), plan(), requests(rows)

    async def read(ids: Mapping[str, Sequence[int]]) -> PlanRows:
        count = len(ids[LAYOUT[VIEWS[2]]])
        return await reader.read(wanted, {key: np.array(values, np.int64) for key, values in ids.items()}, count)

    while line := await asyncio.to_thread(sys.stdin.readline):
        kind, number = json.loads(line)
        if kind == "show":
            found = [await _shown(wanted, ids, await read(ids)) for ids in asked[number][:5]]
            print(json.dumps(found), flush=True)
            continue
        columns = [{key: np.array(ids, np.int64) for key, ids in each.items()} for each in asked[kind]]
        count, took = len(columns[0][LAYOUT[VIEWS[2]]]), []
        for call in range(number):
            given = columns[call % len(columns)]
            started = perf_counter()
            await reader.read(wanted, given, count)
            took.append(perf_counter() - started)
        if "feast" in sys.modules:
            raise RuntimeError("the reader's process has imported Feast")
        print(json.dumps(median(took)), flush=True)
    await reader.close()


async def _shown(wanted: Plan, ids: Mapping[str, Sequence[int]], found: PlanRows) -> dict[str, list[float | None]]:
    """The values that were read, None for NULL, judged a day after the newest row could be written."""
    given = {key: np.array(values, np.int64) for key, values in ids.items()}
    t = np.full(found.found.shape[1], int(found.event_us.max()) + DAY // 24)
    columns = resolve(wanted, found, given, t).columns
    return {
        name: [None if np.isnan(value) else float(value) for value in columns[name]]
        for name in wanted.stored_columns.names
    }


class Reader:
    """The process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, *what: Any) -> Any:
        """The answer to one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def reader(url: str, rows: int) -> Iterator[Reader]:
    """Start it, and end it with the block."""
    command = [sys.executable, "-m", "benchmarks.online_read", "--reader", url, "--rows", str(rows)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Reader(process)
        assert process.stdin is not None
        process.stdin.close()


# ---- the figures


def entity_rows(ids: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """As Feast's SDK takes them."""
    return [dict(zip(ids, values, strict=True)) for values in zip(*ids.values(), strict=True)]


def sdk(one: Side) -> Callable[[list[dict[str, int]]], object]:
    """Feast's SDK."""
    wanted = references()
    return lambda rows: one.store.get_online_features(wanted, rows)


def floor(ours: Side) -> Callable[[dict[str, list[int]]], object]:
    """A bare MGET of the distinct keys."""
    online: Any = ours.store._get_provider().online_store
    views = {view: online.stored_view(ours.store.config, ours.store.get_feature_view(view)) for view in VIEWS}
    spaces = {view: stored.record.key_space for view, stored in views.items()}
    known: dict[str, list[bytes]] = {}

    def mget(ids: dict[str, list[int]]) -> object:
        name = str(id(ids))
        if name not in known:
            known[name] = [
                spaces[view].encode_one({key: value})
                for view, key in LAYOUT.items()
                for value in dict.fromkeys(ids[key])
            ]
        return ours.client.mget(known[name])

    return mget


def compare(stock: Side, ours: Side, packed: Reader, asked: Mapping[str, Any]) -> int:
    """How many values are equal on all sides. Raises ValueError where one is not."""
    equal = 0
    for kind, some in asked.items():
        shown = packed.ask("show", kind)
        for ids, read in zip(some, shown, strict=False):
            expected = sdk(stock)(entity_rows(ids)).to_dict()  # type: ignore[attr-defined]
            if sdk(ours)(entity_rows(ids)).to_dict() != expected:  # type: ignore[attr-defined]
                raise ValueError(f"{kind}: Feast's SDK reads other values from our store than from its own")
            for name, values in read.items():
                wanted = [None if value is None else float(np.float32(value)) for value in expected[name]]
                if values != wanted:
                    raise ValueError(f"{kind}: the reader reads other values of {name}")
                equal += len(values)
    return equal


def measure(rows: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    asked = requests(rows)
    with (
        TemporaryDirectory(prefix="online-read-") as folder,
        side(Path(folder) / "stock", "stock", LAYOUT) as stock,
        side(Path(folder) / "ours", "ours", LAYOUT) as ours,
    ):
        stock.fill(LAYOUT, rows)
        ours.fill(LAYOUT, rows)
        url = ours.store.config.online_store.connection_string
        with reader(url, rows) as packed:
            figures: dict[str, Any] = {"values_equal": compare(stock, ours, packed, asked)}
            for kind, calls in CALLS.items():
                figures[kind] = _rounds(stock, ours, packed, kind, asked[kind], calls, rounds)
    return {**_summary(figures), "rows": rows, "rounds": rounds}


def _rounds(
    stock: Side, ours: Side, packed: Reader, kind: str, asked: Sequence[Any], calls: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of a call by side, one for each round; the first round is not kept."""
    as_rows = [entity_rows(ids) for ids in asked]
    took: dict[str, list[float]] = {"stock": [], "sdk": [], "reader": [], "floor": []}
    for number in range(rounds + 1):
        found = {
            "stock": timed(sdk(stock), as_rows, calls),
            "sdk": timed(sdk(ours), as_rows, calls),
            "reader": float(packed.ask(kind, 5 * calls)),
            "floor": timed(floor(ours), asked, 5 * calls),
        }
        for name, seconds in found.items() if number else ():
            took[name].append(seconds)
    return took


def _summary(figures: Mapping[str, Any]) -> dict[str, Any]:
    one, hundred = figures["one"], figures["hundred"]

    def ratio(took: Mapping[str, list[float]], over: str, under: str) -> float:
        return round(median(a / b for a, b in zip(took[over], took[under], strict=True)), 3)

    return {
        "speedup_1": ratio(one, "stock", "reader"),
        "speedup_100": ratio(hundred, "stock", "reader"),
        "sdk_ratio": max(ratio(one, "sdk", "stock"), ratio(hundred, "sdk", "stock")),
        "sdk_ratio_1": ratio(one, "sdk", "stock"),
        "sdk_ratio_100": ratio(hundred, "sdk", "stock"),
        "over_floor_1": ratio(one, "reader", "floor"),
        "over_floor_100": ratio(hundred, "reader", "floor"),
        **{f"{name}_ms_1": round(median(took) * 1e3, 4) for name, took in one.items()},
        **{f"{name}_ms_100": round(median(took) * 1e3, 4) for name, took in hundred.items()},
        "values_equal": figures["values_equal"],
    }


def sentences(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures for a person."""
    for kind, name in (("1", "one key of each view"), ("100", "a hundred candidates")):
        yield (
            f"{name}: Feast {figures[f'stock_ms_{kind}']} ms, our reader {figures[f'reader_ms_{kind}']} ms "
            f"({figures[f'speedup_{kind}']} times as fast), Feast's SDK on our store {figures[f'sdk_ms_{kind}']} ms, "
            f"a bare MGET {figures[f'floor_ms_{kind}']} ms"
        )
    yield f"{figures['values_equal']} values are equal on all sides"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Online reads: the scorer's reader, Feast's SDK on both stores.")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each of the three views (default 20,000)")
    parser.add_argument("--rounds", type=int, default=15, help="turns that the sides take (default 15)")
    parser.add_argument("--reader", metavar="URL", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure, and print the figures."""
    given = arguments().parse_args()
    if given.reader:
        run(serve_reader(given.reader, given.rows))
        return
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    figures = measure(given.rows, given.rounds)
    figures["machine"] = facts("feast", "redis", "hiredis", "numpy")
    if not given.json:
        print("\n".join(sentences(figures)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
