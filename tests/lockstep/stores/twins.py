"""Our stores and Feast's own over the same tables and on one Redis, and the ways in which rows go in and come out."""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast import FeatureStore, FeatureView, RepoConfig
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.utils import _columns_to_proto_values
    from feast.value_type import ValueType

from lockstep.redis_server import run_redis
from lockstep.rows import Unpacked, pack, unpack
from lockstep.schema import DType
from lockstep.stores.online import LockstepOnlineStore
from lockstep.stores.values import opaque
from lockstep.stores.views import StoredView
from lockstep.times import SECOND
from tests.lockstep.stores.explained import REFUSED

__all__ = ["Answer", "Twins", "twins"]

OFFLINE: Final = "lockstep.stores.offline.LockstepOfflineStore"
ONLINE: Final = "lockstep.stores.online.LockstepOnlineStore"
EVENT: Final = "event_timestamp"
CREATED: Final = "created"
ENTITYLESS: Final = "__dummy_id"
"""Feast's join key of a view without entities."""


@dataclass(frozen=True)
class Answer:
    """What get_online_features said about one feature, one entry for each entity row."""

    values: list[Any]
    statuses: list[str]
    event_us: list[int]


@dataclass(frozen=True)
class Twins:
    """Four feature stores over one folder of tables."""

    folder: Path
    ours: FeatureStore
    """Our stores; rows are written from Arrow, as our engine does."""
    fed: FeatureStore
    """Our stores; created timestamps by Feast's rule offline, rows written from Feast's Values, as other engines do."""
    stock: FeatureStore
    """Feast's DuckDB and Redis stores."""
    client: redis.Redis

    def put_table(self, view: str, table: pa.Table) -> None:
        """Write the table that a view reads. Under a new name: DuckDB, under Feast's store, caches files by theirs."""
        folder = self.folder / view
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        pq.write_table(table, folder / f"{time.monotonic_ns()}.parquet")

    # --- offline

    def retrieve(self, store: FeatureStore, spine: pd.DataFrame, features: Sequence[str], **options: Any) -> pa.Table:
        """The features of each spine row, in the order of its column `row`."""
        with warnings.catch_warnings(action="ignore"):  # ibis calls what DuckDB has renamed
            found = store.get_historical_features(spine, list(features), full_feature_names=True, **options).to_arrow()
        return found.sort_by("row")

    # --- online

    def stored(self, store: FeatureStore, view: str) -> StoredView:
        """How a view's rows lie in Redis."""
        return _online(store).stored_view(store.config, store.get_feature_view(view))

    def write_arrow(self, view: str, table: pa.Table) -> None:
        """Into our store, from Arrow."""
        stored, declared = self.stored(self.ours, view), _types(self.ours.get_feature_view(view))
        for name, value_type in declared.items():
            if stored.fields[name].dtype is DType.OPAQUE:
                table = table.set_column(table.column_names.index(name), name, opaque(table[name], value_type))
        packed = pack(table, stored.schema, event=EVENT, created=CREATED if stored.schema.created else None)
        _online(self.ours).writer(self.ours.config, stored).write(stored.record.key_space.encode(table), packed)

    def write_values(self, store: FeatureStore, view: str, table: pa.Table) -> list[str]:
        """As Feast's own engine writes: Arrow to Values to the store. Returns the features that Feast cannot convert;
        they are left out.
        """
        found = store.get_feature_view(view)
        rows, refused = _feast_rows(found, table)
        store._get_provider().online_write_batch(store.config, found, rows, None)
        return refused

    def read(self, store: FeatureStore, features: Sequence[str], rows: list[dict[str, Any]]) -> dict[str, Answer]:
        """By `view__feature` the answer of the SDK."""
        response = store.get_online_features(list(features), rows, full_feature_names=True)
        values, proto = response.to_dict(), response.proto
        return {
            name: Answer(values[name], [FieldStatus.Name(each) for each in vector.statuses], _micros(vector))
            for name, vector in zip(proto.metadata.feature_names.val, proto.results, strict=True)
            if "__" in name
        }

    def read_packed(self, view: str, keys: pa.Table) -> Unpacked:
        """What our rows hold, as the scorer reads them."""
        stored = self.stored(self.ours, view)
        found: Any = self.client.mget(stored.record.key_space.encode(keys).to_pylist())
        return unpack(found, {stored.schema.fingerprint: stored.schema}, stored.schema)


def _online(store: FeatureStore) -> LockstepOnlineStore:
    found = store._get_provider().online_store
    assert isinstance(found, LockstepOnlineStore)
    return found


def _types(view: FeatureView) -> dict[str, ValueType]:
    return {field.name: field.dtype.to_value_type() for field in view.features}


def _micros(vector: Any) -> list[int]:
    return [stamp.seconds * SECOND + stamp.nanos // 1000 for stamp in vector.event_timestamps]


def _feast_rows(view: FeatureView, table: pa.Table) -> tuple[list[Any], list[str]]:
    """Rows as `online_write_batch` takes them, each column converted by Feast's own function."""
    batch = table.combine_chunks().to_batches()[0]
    values, refused = {}, []
    for name, value_type in _types(view).items():
        try:
            values[name] = _columns_to_proto_values(batch, [(name, value_type)])[name]
        except (TypeError, ValueError, AssertionError):
            refused.append(name)
    keys = _entity_keys(view, batch)
    features = [{name: column[i] for name, column in values.items()} for i in range(table.num_rows)]
    created = _times(table, CREATED) if CREATED in table.column_names else [None] * table.num_rows
    return list(zip(keys, features, _times(table, EVENT), created, strict=True)), refused


def _entity_keys(view: FeatureView, batch: pa.RecordBatch) -> list[EntityKey]:
    types = [(column.name, column.dtype.to_value_type()) for column in view.entity_columns]
    if [name for name, _ in types] in ([], [ENTITYLESS]):
        return [EntityKey(join_keys=[ENTITYLESS], entity_values=[Value(string_val="")])] * batch.num_rows
    columns = _columns_to_proto_values(batch, types)
    names = [name for name, _ in types]
    return [
        EntityKey(join_keys=names, entity_values=[columns[name][i] for name in names]) for i in range(batch.num_rows)
    ]


def _times(table: pa.Table, name: str) -> list[datetime | None]:
    found: list[datetime | None] = table[name].cast(pa.timestamp("us", "UTC"), safe=False).to_pylist()
    return [None if each is None else each.astimezone(UTC) for each in found]


@contextmanager
def twins(folder: Path, definitions: Sequence[Any]) -> Iterator[Twins]:
    """Start a Redis and apply the definitions to every store."""
    with run_redis(folder / "redis") as url, redis.Redis.from_url(url) as client:
        address = url.removeprefix("redis://")

        def made(project: str, offline: dict[str, Any], online: str) -> FeatureStore:
            config = RepoConfig(
                project=project,
                provider="local",
                registry=str(folder / f"{project}.db"),
                offline_store=offline,
                online_store={"type": online, "connection_string": address},
                entity_key_serialization_version=3,
                repo_path=folder,
            )
            store = FeatureStore(config=config)
            store.apply(list(definitions))
            return store

        yield Twins(
            folder,
            ours=made("ours", {"type": OFFLINE, "threads": 1}, ONLINE),
            fed=made("fed", {"type": OFFLINE, "threads": 1, "created": "stock"}, ONLINE),
            stock=made("stock", {"type": "duckdb"}, "redis"),
            client=client,
        )


@contextmanager
def clock(us: int) -> Iterator[None]:
    """Our store's reads take place at this moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lockstep.stores.online.now_us", lambda: us)
        yield


def column_of(found: pa.Table, name: str) -> list[Any]:
    """A column as Python values, maps as dictionaries."""
    values: list[Any] = found[name].to_pylist(maps_as_pydicts="strict")
    return values


def answered(answer: Answer, refused: bool) -> list[Any]:
    """The values, or a mark for each of a column that Feast could not convert."""
    return [REFUSED] * len(answer.values) if refused else answer.values
