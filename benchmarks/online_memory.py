"""Redis memory of a row: our online store beside Feast's Redis store, the same values in both.

    python -m benchmarks.online_memory [--json] [--rows 100000]

Views of 11 features, 6 of float32 and 5 of int64, as in the other benchmarks. `apart` has three views of three
entities, one view each; `shared` has three views of one entity, which Feast keeps in one hash and we in three strings.
Both sides expire: Feast's by `key_ttl_seconds`, ours by the views' TTL. Each side and each layout fills a Redis of its
own, which is asked for `used_memory` before and after; what is left of the difference are keys, rows, the tables that
hold them and the expiries. Then every value of a sample of the keys is read through Feast's SDK from both stores and
compared. Rows and keys do not depend on the machine, so one run says it all.

`where` takes our row apart: the key, the value and their share of Redis's tables, from MEMORY USAGE of a sample.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import redis

from benchmarks.machine import facts
from lockstep.progress import bar
from lockstep.redis_server import run_redis
from lockstep.times import HOUR, SECOND

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["main"]

FLOATS, INTEGERS = 6, 5
TTL_US: Final = 48 * HOUR
CHUNK: Final = 10_000
SAMPLE: Final = 2_000
VIEWS: Final = ("first", "second", "third")
LAYOUTS: Final[dict[str, dict[str, str]]] = {
    "apart": {view: f"{view}_id" for view in VIEWS},
    "shared": dict.fromkeys(VIEWS, "ip"),
}
"""By layout the join key of each view."""
STORES: Final[dict[str, dict[str, Any]]] = {
    "stock": {"type": "redis", "key_ttl_seconds": 2 * TTL_US // SECOND},
    "ours": {"type": "lockstep.stores.online.LockstepOnlineStore"},
}
"""Ours keeps a row for its TTL and as long again."""


def features_of(view: str) -> list[str]:
    """The 11 features of a view."""
    return [f"{view}_rate_{n}" for n in range(FLOATS)] + [f"{view}_count_{n}" for n in range(INTEGERS)]


def references() -> list[str]:
    """All 33 features."""
    return [f"{view}:{name}" for view in VIEWS for name in features_of(view)]


# ---- the rows


def chunks(view: str, key: str, rows: int) -> Iterator[pa.Table]:
    """The rows of a view, ids from 0 on; counts below 10,000, and a NULL in one of a hundred values."""
    random = np.random.default_rng(VIEWS.index(view))
    now_us = time.time_ns() // 1000
    for first in range(0, rows, CHUNK):
        count = min(CHUNK, rows - first)
        event = now_us - random.integers(1, TTL_US // 2, count)
        columns: dict[str, Any] = {
            key: pa.array(np.arange(first, first + count)),
            "event_timestamp": pa.array(event, pa.timestamp("us", "UTC")),
        }
        for name in features_of(view):
            values = random.random(count, np.float32) if "rate" in name else random.integers(0, 10_000, count)
            columns[name] = pa.array(values, mask=random.random(count) < 0.01)
        yield pa.table(columns)


def definitions(layout: Mapping[str, str]) -> list[Any]:
    """Entities and views."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float32, Int64

    entities = {key: Entity(name=key, join_keys=[key], value_type=ValueType.INT64) for key in set(layout.values())}
    views = []
    for view, key in layout.items():
        fields = [Field(name=name, dtype=Float32 if "rate" in name else Int64) for name in features_of(view)]
        source = FileSource(name=f"{view}_table", path=f"{view}.parquet", timestamp_field="event_timestamp")
        schema, ttl = [Field(name=key, dtype=Int64), *fields], timedelta(microseconds=TTL_US)
        views.append(FeatureView(name=view, entities=[entities[key]], ttl=ttl, source=source, schema=schema))
    return [*entities.values(), *views]


# ---- the sides


@dataclass(frozen=True)
class Side:
    """A feature store on a Redis of its own."""

    store: "FeatureStore"
    client: redis.Redis

    def fill(self, layout: Mapping[str, str], rows: int) -> float:
        """Write all rows; returns the bytes of a row."""
        write, before = self._write_arrow if self.store.project == "ours" else self._write_values, self.used()
        with bar(f"{self.store.project} rows", rows * len(layout)) as done:
            for view, key in layout.items():
                for chunk in chunks(view, key, rows):
                    write(view, key, chunk)
                    done(chunk.num_rows)
        return (self.used() - before) / (rows * len(layout))

    def _write_values(self, view: str, key: str, chunk: pa.Table) -> None:
        """As Feast's own engine writes: Arrow to Values to the store."""
        from feast.utils import _convert_arrow_to_proto
        from feast.value_type import ValueType

        found = self.store.get_feature_view(view)
        protos = _convert_arrow_to_proto(chunk, found, {key: ValueType.INT64})
        self.store._get_provider().online_write_batch(self.store.config, found, protos, None)

    def _write_arrow(self, view: str, key: str, chunk: pa.Table) -> None:
        """As our engine writes: Arrow to packed rows."""
        from lockstep.rows import pack

        online: Any = self.store._get_provider().online_store
        stored = online.stored_view(self.store.config, self.store.get_feature_view(view))
        packed = pack(chunk, stored.schema, event="event_timestamp")
        writer = online.writer(self.store.config, stored)
        writer.write(stored.record.key_space.encode(chunk), packed)
        writer.finish()

    def used(self) -> int:
        """Bytes that Redis holds, its connections' buffers not counted."""
        memory: Any = self.client.info("memory")
        return int(memory["used_memory"]) - int(memory["mem_clients_normal"])

    def read(self, layout: Mapping[str, str], ids: Sequence[int]) -> dict[str, list[Any]]:
        """All features of some keys."""
        rows = [dict.fromkeys(layout.values(), each) for each in ids]
        return dict(self.store.get_online_features(references(), rows).to_dict())


@contextmanager
def side(folder: Path, name: str, layout: Mapping[str, str]) -> Iterator[Side]:
    """Start a Redis and apply the views to it."""
    from feast import FeatureStore, RepoConfig

    with run_redis(folder / "redis") as url, redis.Redis.from_url(url) as client:
        config = RepoConfig(
            project=name,
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={**STORES[name], "connection_string": url.removeprefix("redis://")},
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        store.apply(definitions(layout))
        yield Side(store, client)


# ---- the figures


def compare(layout: Mapping[str, str], rows: int) -> dict[str, Any]:
    """Bytes of a row of both sides, and how many values were compared. Raises ValueError where two differ."""
    figures: dict[str, Any] = {}
    ids = np.random.default_rng(7).choice(rows, min(rows, SAMPLE), replace=False).tolist()
    read = {}
    for name in STORES:
        with TemporaryDirectory(prefix="online-memory-") as folder, side(Path(folder), name, layout) as one:
            figures[name] = one.fill(layout, rows)
            read[name] = one.read(layout, ids)
            if not _all_expire(one.client):
                raise ValueError(f"{name}: a row has no expiry")
            figures["where"] = where(one.client) if name == "ours" else None
    for feature, values in read["stock"].items():
        if values != read["ours"][feature]:
            raise ValueError(f"stock and ours differ in feature {feature}")
    figures["values"] = sum(len(values) - values.count(None) for values in read["ours"].values())
    return figures


def _all_expire(client: redis.Redis) -> bool:
    """Whether every key but the view records expires."""
    space: Any = client.info("keyspace")
    return bool(space["db0"]["keys"] - space["db0"]["expires"] <= len(VIEWS))


def where(client: redis.Redis) -> dict[str, float]:
    """Our row's bytes, as means over a sample: the key, the value, and what Redis adds.

    `entry` is what MEMORY USAGE says beyond the two: the object, the headers of both strings, the table's entry and
    what the allocator rounds up. The expiry's entry and the tables' slots are not in it.
    """
    keys = [client.randomkey() for _ in range(SAMPLE)]
    found = [(key, client.strlen(key), client.memory_usage(key)) for key in keys if not key.startswith(b"lockstep:")]
    key, value, usage = (float(np.mean(column)) for column in zip(*((len(k), v, u) for k, v, u in found), strict=True))
    return {"key": round(key, 1), "value": round(value, 1), "entry": round(usage - key - value, 1)}


def measure(rows: int) -> dict[str, Any]:
    """All figures."""
    apart, shared = (compare(LAYOUTS[name], rows) for name in ("apart", "shared"))
    return {
        "memory_ratio": round(apart["ours"] / apart["stock"], 3),
        "memory_ratio_shared": round(shared["ours"] / shared["stock"], 3),
        **{f"{name}_bytes": round(apart[name], 1) for name in STORES},
        **{f"{name}_bytes_shared": round(shared[name], 1) for name in STORES},
        "where": apart["where"],
        "values_equal": apart["values"] + shared["values"],
        "keys_compared": min(rows, SAMPLE),
        "rows": rows,
        "redis": redis_version(),
    }


def redis_version() -> str:
    """Of the server that was measured."""
    with TemporaryDirectory() as folder, run_redis(Path(folder)) as url, redis.Redis.from_url(url) as client:
        found: Any = client.info("server")
        return str(found["redis_version"])


def sentences(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures for a person."""
    yield f"one view an entity:     Feast {figures['stock_bytes']} B a row, ours {figures['ours_bytes']} B"
    yield f"three views an entity:  Feast {figures['stock_bytes_shared']} B, ours {figures['ours_bytes_shared']} B"
    parts = figures["where"]
    rest = round(figures["ours_bytes"] - sum(parts.values()), 1)
    yield f"ours: key {parts['key']} B, row {parts['value']} B, entry {parts['entry']} B, expiry and tables {rest} B"
    yield f"{figures['values_equal']} values of {figures['keys_compared']} keys are equal"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Redis memory of a row: ours and Feast's Redis store.")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of each of the three views (default 100,000)")
    return parser


def main() -> None:
    """Measure, and print the figures."""
    given = arguments().parse_args()
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    figures = measure(given.rows)
    figures["machine"] = facts("feast", "pyarrow", "redis")
    if not given.json:
        print("\n".join(sentences(figures)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
