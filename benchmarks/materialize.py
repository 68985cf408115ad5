"""Materialize to Redis: Feast through our engine and stores, beside its local engine and Redis store, and a floor.

    python -m benchmarks.materialize [--json] [--scale 0.05] [--pairs 3]

The newest rows of 1 million keys, 11 features each, out of a table of 1.25 million rows, into an empty Redis on this
machine, with expiry on both sides. Feast's own way takes 100,000 of the keys, and its seconds are scaled by the number
of rows: it converts and writes row by row.

Each run is a process of its own with a Redis of its own, which first materializes 1,000 keys to be warm; seconds are
those of `FeatureStore.materialize`. The floor is one DuckDB statement that reads the newest rows as Arrow, and then the
same packed bytes, made before, as `SET key row PX ms` on one connection that never waits for an answer while there is
something to send. In one more run of ours another process reads single keys by MGET, a thousand times a second, and
notes how long each takes.

All packed rows that ours leaves in Redis are compared with the floor's bytes, and all features of Feast's 100,000 keys
as the SDK reads them through both stores. The last line is one JSON object.
"""

import argparse
import io
import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis

from benchmarks.machine import facts
from lockstep.keys import KeySpace
from lockstep.redis_server import run_redis
from lockstep.rows import pack
from lockstep.schema import DType, Field, Schema
from lockstep.times import DAY, HOUR, SECOND, to_datetime

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["main"]

KEYS = 1_000_000
STOCK_KEYS = 100_000
WARM_KEYS = 1_000
OLDER = 4
"""One key in so many has an older row too."""
TTL_US = 2 * DAY
EXPIRE_MS = 2 * TTL_US // 1000
"""TTL and one TTL of grace, as ours does without being told."""
FLOATS = [f"rate_{n}" for n in range(6)]
INTEGERS = [f"count_{n}" for n in range(5)]
FIELDS = (*(Field(name, DType.FLOAT32) for name in FLOATS), *(Field(name, DType.INT64) for name in INTEGERS))
SPACE = KeySpace("bench", "clicks", (Field("ip", DType.INT64),))
SCHEMA = Schema(FIELDS, owner=SPACE.owner)
WINDOW = 3_200
"""Commands that the floor sends before it reads the answers to those before them."""
OK = b"+OK\r\n"
READ_EVERY_S = 0.001
STORES: dict[str, dict[str, Any]] = {
    "stock": {
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "redis", "key_ttl_seconds": EXPIRE_MS // 1000},
        "batch_engine": {"type": "local"},
    },
    "ours": {
        "offline_store": {"type": "lockstep.stores.offline.LockstepOfflineStore"},
        "online_store": {"type": "lockstep.stores.online.LockstepOnlineStore"},
        "batch_engine": {"type": "lockstep.stores.engine.LockstepEngine"},
    },
}


# ---- the tables


def rows_at(random: np.random.Generator, keys: "np.ndarray[Any, Any]", times_us: "np.ndarray[Any, Any]") -> pa.Table:
    """Random features of keys at times."""
    columns: dict[str, Any] = {"ip": keys, "event_timestamp": pa.array(times_us, pa.timestamp("us", "UTC"))}
    columns |= {name: random.random(len(keys), np.float32) for name in FLOATS}
    columns |= {name: random.integers(0, 10_000, len(keys)) for name in INTEGERS}
    return pa.table(columns)


def write_tables(folder: Path, name: str, keys: int, now_us: int) -> None:
    """<name>.parquet in the order of time, and <name>.arrow with the key and the packed row of each newest row."""
    random = np.random.default_rng(2017)
    start = (now_us - 4 * HOUR) // SECOND  # whole seconds: Feast's own store keeps no more
    half = 2 * HOUR // SECOND
    newest = rows_at(random, random.permutation(keys), (start + half + random.integers(0, half, keys)) * SECOND)
    some = random.permutation(keys)[: keys // OLDER]
    older = rows_at(random, some, (start + random.integers(0, half, len(some))) * SECOND)
    pq.write_table(pa.concat_tables([newest, older]).sort_by("event_timestamp"), folder / f"{name}.parquet")
    packed = pa.table({"key": SPACE.encode(newest), "row": pack(newest, SCHEMA, event="event_timestamp")})
    with pa.ipc.new_file(folder / f"{name}.arrow", packed.schema) as writer:
        writer.write_table(packed, WINDOW)


def packed_rows(folder: Path, name: str) -> pa.Table:
    """What `write_tables` packed."""
    with pa.memory_map(str(folder / f"{name}.arrow")) as file:
        return pa.ipc.open_file(file).read_all()


# ---- Feast's side and ours


def open_store(folder: Path, side: str, name: str, url: str) -> "FeatureStore":
    """A FeatureStore on one table."""
    from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType
    from feast import Field as Column
    from feast.types import Float32, Int64

    stores = {part: dict(settings) for part, settings in STORES[side].items()}
    stores["online_store"]["connection_string"] = url.removeprefix("redis://")
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"{name}-{side}.db"),
        entity_key_serialization_version=3,
        **stores,
    )
    store = FeatureStore(config=config)
    ip = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
    schema = [Column(name="ip", dtype=Int64), *(Column(name=each, dtype=Float32) for each in FLOATS)]
    schema += [Column(name=each, dtype=Int64) for each in INTEGERS]
    source = FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(name="clicks", entities=[ip], ttl=timedelta(microseconds=TTL_US), source=source, schema=schema)
    store.apply([ip, view])
    return store


def materialize(folder: Path, side: str, name: str, url: str) -> float:
    """Seconds of one `FeatureStore.materialize` of everything."""
    store = open_store(folder, side, name, url)
    end = datetime.now(UTC)
    start = time.perf_counter()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # Feast's lines, and the bars
        store.materialize(end - timedelta(days=1), end)
    return time.perf_counter() - start


def run_feast(folder: Path, side: str, name: str, url: str) -> dict[str, float]:
    """One warm run of Feast, its own way or ours; of ours the bytes in Redis are checked."""
    materialize(folder, side, "warm", url)
    with redis.Redis.from_url(url) as client:
        client.flushall()
        seconds = materialize(folder, side, name, url)
        return {"seconds": seconds, **({"rows_equal": check_bytes(client, folder, name)} if side == "ours" else {})}


def check_bytes(client: redis.Redis, folder: Path, name: str) -> int:
    """Compare all rows in Redis with the packed ones; returns how many. Raises ValueError where one differs."""
    packed = packed_rows(folder, name)
    for batch in packed.to_batches(10_000):
        if client.mget(batch["key"].to_pylist()) != batch["row"].to_pylist():
            raise ValueError("Redis holds other bytes than the floor")
    return int(packed.num_rows)


# ---- the floor


def run_floor(folder: Path, side: str, name: str, url: str) -> dict[str, float]:
    """Read the newest rows, and write the packed ones."""
    packed = packed_rows(folder, name)
    with connected(url) as send:
        send(packed.slice(0, WARM_KEYS))
        start = time.perf_counter()
        read = read_newest(folder / f"{name}.parquet")
        middle = time.perf_counter()
        send(packed)
        end = time.perf_counter()
    if read != packed.num_rows:
        raise ValueError(f"{read} newest rows for {packed.num_rows} keys")
    return {"seconds": end - start, "read_seconds": middle - start}


def read_newest(table: Path) -> int:
    """What one would write by hand; the fastest of five statements that were tried."""
    newest = f"SELECT ip, max(event_timestamp) AS at FROM '{table}' GROUP BY ip"
    statement = f"SELECT t.* FROM '{table}' t SEMI JOIN ({newest}) n ON t.ip = n.ip AND t.event_timestamp = n.at"
    return sum(batch.num_rows for batch in duckdb.connect().sql(statement).to_arrow_reader(100_000))


@contextmanager
def connected(url: str) -> Iterator[Callable[[pa.Table], None]]:
    """A function that writes a table of keys and rows over a bare socket."""
    host, port = url.removeprefix("redis://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        yield lambda packed: send_all(connection, packed)


def send_all(connection: socket.socket, packed: pa.Table) -> None:
    """Two windows are in flight: Redis never waits."""
    waiting = 0
    for batch in packed.to_batches(WINDOW):
        connection.sendall(framed(batch))
        expect(connection, waiting)
        waiting = batch.num_rows
    expect(connection, waiting)


def framed(batch: pa.RecordBatch) -> memoryview:
    """`SET key row PX ms` for each row, in Redis's wire format."""
    line, expire = pa.scalar(b"\r\n", pa.binary()), str(EXPIRE_MS).encode()
    head, dollar = pa.scalar(b"*5\r\n$3\r\nSET\r\n", pa.binary()), pa.scalar(b"$", pa.binary())
    tail = pa.scalar(b"$2\r\nPX\r\n$%d\r\n%s\r\n" % (len(expire), expire), pa.binary())
    sizes = [pc.binary_length(batch[name]).cast(pa.string()).cast(pa.binary()) for name in ("key", "row")]
    parts = [head, dollar, sizes[0], line, batch["key"], line, dollar, sizes[1], line, batch["row"], line, tail]
    return memoryview(pc.binary_join_element_wise(*parts, b"").buffers()[2])


def expect(connection: socket.socket, answers: int) -> None:
    """Read that many OKs. Raises ValueError for anything else."""
    missing = answers * len(OK)
    while missing:
        part = connection.recv(min(missing, 65_536))
        if not part or part.strip(OK):
            raise ValueError(f"Redis answered {part[:80]!r}")
        missing -= len(part)


# ---- reads meanwhile


def run_watched(folder: Path, side: str, name: str, url: str) -> dict[str, float]:
    """One run of ours with a reader beside it."""
    materialize(folder, "ours", "warm", url)
    command = [sys.executable, "-m", "benchmarks.materialize", "--side", "reader", "--table", name]
    command += ["--folder", str(folder), "--url", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        if reader.stdout is None or reader.stdout.readline() != "ready\n":
            raise ValueError("the reader did not start")
        seconds = materialize(folder, "ours", name, url)
        found: dict[str, float] = json.loads(reader.communicate()[0])
    return {"seconds": seconds, **found}


def run_reader(folder: Path, side: str, name: str, url: str) -> dict[str, float]:
    """Read one key after the other until standard input ends; milliseconds of the slowest in a hundred."""
    keys = packed_rows(folder, name)["key"].to_pylist()
    random, taken = np.random.default_rng(1), []
    with redis.Redis.from_url(url) as client:
        client.ping()
        print("ready", flush=True)
        over = input_ends()
        while not over.is_set():
            key, start = keys[random.integers(len(keys))], time.perf_counter()
            client.mget([key])
            taken.append(time.perf_counter() - start)
            time.sleep(READ_EVERY_S)
    return {"reads": len(taken), "p99_ms": 1000 * float(np.quantile(taken, 0.99)), "max_ms": 1000 * max(taken)}


def input_ends() -> threading.Event:
    """Set when standard input ends."""
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over


# ---- the parent

SIDES: dict[str, Callable[[Path, str, str, str], dict[str, float]]] = {
    "stock": run_feast,
    "ours": run_feast,
    "floor": run_floor,
    "watched": run_watched,
    "reader": run_reader,
}
TABLE_OF = {"stock": "small", "ours": "large", "floor": "large", "watched": "large"}


def in_process(folder: Path, side: str) -> dict[str, float]:
    """One run in a process of its own, on a Redis of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.materialize", "--side", side]
    with TemporaryDirectory(prefix="redis-", dir=folder) as data, run_redis(Path(data)) as url:
        command += ["--folder", str(folder), "--url", url, "--table", TABLE_OF[side]]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(output.stdout.splitlines()[-1])
    return result


def check_values(folder: Path) -> int:
    """Read all features of Feast's keys through both stores; returns how many values. Raises where one differs."""
    references = [f"clicks:{field.name}" for field in FIELDS]
    keys = len(packed_rows(folder, "small"))
    with TemporaryDirectory(prefix="redis-", dir=folder) as data, run_redis(Path(data)) as url:
        stores = []
        for side in ("stock", "ours"):
            materialize(folder, side, "small", url)
            stores.append(open_store(folder, side, "small", url))
        for first in range(0, keys, 10_000):
            asked = [{"ip": ip} for ip in range(first, min(first + 10_000, keys))]
            stock, ours = (store.get_online_features(references, asked).to_dict() for store in stores)
            if stock != ours or None in ours[FIELDS[0].name]:
                raise ValueError("the SDK reads other values from Feast's store than from ours")
    return keys * len(FIELDS)


def compare(scale: float, pairs: int, where: str | None) -> dict[str, Any]:
    """All figures."""
    keys, stock_keys = int(KEYS * scale), int(STOCK_KEYS * scale)
    with TemporaryDirectory(prefix="materialize-", dir=where) as name:
        folder, now_us = Path(name), int(time.time() * SECOND)
        for table, count in (("large", keys), ("small", stock_keys), ("warm", WARM_KEYS)):
            write_tables(folder, table, count, now_us)
        values = check_values(folder)
        runs = [{side: in_process(folder, side) for side in TABLE_OF} for _ in range(pairs)]
    seconds = {side: [run[side]["seconds"] for run in runs] for side in TABLE_OF}
    stock = [each * keys / stock_keys for each in seconds["stock"]]
    return {
        "speedup": round(median(a / b for a, b in zip(stock, seconds["ours"], strict=True)), 1),
        "over_floor": round(median(a / b for a, b in zip(seconds["ours"], seconds["floor"], strict=True)), 3),
        "read_p99_during_ms": round(median(run["watched"]["p99_ms"] for run in runs), 3),
        "reads_during": int(sum(run["watched"]["reads"] for run in runs)),
        "read_max_during_ms": round(max(run["watched"]["max_ms"] for run in runs), 3),
        "ours_seconds": round(median(seconds["ours"]), 3),
        "floor_seconds": round(median(seconds["floor"]), 3),
        "floor_read_seconds": round(median(run["floor"]["read_seconds"] for run in runs), 3),
        "stock_seconds": round(median(seconds["stock"]), 3),
        "stock_rows": stock_keys,
        "stock_seconds_scaled": round(median(stock), 1),
        "rows": keys,
        "rows_equal": int(runs[0]["ours"]["rows_equal"]),
        "values_equal": values,
        "pairs": pairs,
        "scale": scale,
        "measured_at": to_datetime(now_us).isoformat(timespec="seconds"),
    }


def sentences(figures: dict[str, Any]) -> Iterator[str]:
    """The figures for a person."""
    yield (
        f"Feast     {figures['stock_seconds']} s for {figures['stock_rows']:,} rows, scaled to {figures['rows']:,} "
        f"rows {figures['stock_seconds_scaled']} s"
    )
    yield f"floor     {figures['floor_seconds']} s, of which reading {figures['floor_read_seconds']} s"
    yield f"ours      {figures['ours_seconds']} s"
    yield f"ours / Feast: {figures['speedup']} times as fast"
    yield f"ours / floor: {figures['over_floor']} of the time"
    yield f"reads meanwhile: p99 {figures['read_p99_during_ms']} ms over {figures['reads_during']:,} reads"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Materialize to Redis: ours, Feast's own way, and a floor.")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the keys, of both sides (default 1)")
    parser.add_argument("--pairs", type=int, default=3, help="paired runs of which the median is taken (default 3)")
    parser.add_argument("--folder", help="where to put tables and Redis; 500 MB of disk (default: a temporary folder)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure, and print the figures."""
    given = arguments().parse_args()
    warnings.simplefilter("ignore")  # of what Feast and ibis import and call; importing Feast resets -W
    if given.side:
        print(json.dumps(SIDES[given.side](Path(given.folder), given.side, given.table, given.url)))
        return
    figures = compare(given.scale, given.pairs, given.folder)
    figures["machine"] = facts("feast", "duckdb", "pyarrow", "redis")
    if not given.json:
        print("\n".join(sentences(figures)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
