"""Feast's online store over Redis, Redis Cluster or Sentinel: one packed row for each view and key.

    online_store:
        type: lockstep.stores.online.LockstepOnlineStore
        connection_string: localhost:6379

docs/online-store.md has the options, the bytes and the limits.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary, ref

import pyarrow as pa
from feast import Entity, FeatureView, RepoConfig, utils
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field as Setting
from redis.asyncio import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from lockstep.rows import pack_columns
from lockstep.schema import DType
from lockstep.status import Status
from lockstep.stores.reading import FeastRow, Request, RowsRead, read_rows, request
from lockstep.stores.records import RecordBook, delete_view
from lockstep.stores.redis_connect import AsyncClient, Client, RedisType, Where, connect, connect_async
from lockstep.stores.redis_write import Replace, RowWriter, Safety, WriteCounts
from lockstep.stores.values import from_values
from lockstep.stores.views import StoredView, stored_view
from lockstep.times import from_datetime, now_us

__all__ = ["LockstepOnlineStore", "LockstepOnlineStoreConfig"]

log = logging.getLogger(__name__)

WriteRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]

"""Columns beside the features, under names that no feature has."""


class LockstepOnlineStoreConfig(FeastConfigBaseModel):
    """The `online_store` part of feature_store.yaml."""

    type: str = "lockstep.stores.online.LockstepOnlineStore"
    """Class of the store."""

    connection_string: str = "localhost:6379"
    """host:port,host:port,option=value… as for Feast's Redis store, or a redis:// or rediss:// URL."""

    redis_type: RedisType = RedisType.REDIS
    """redis, redis_cluster or redis_sentinel."""

    sentinel_master: str = "mymaster"
    """Name of the master that the Sentinels watch."""

    sentinel_kwargs: dict[str, Any] = Setting(default_factory=dict)
    """Options of the connections to the Sentinels themselves, e.g. password or ssl."""

    username: str | None = None
    """ACL user; goes before the one in the connection string."""

    password: str | None = None
    """Password; goes before the one in the connection string, and may hold commas."""

    expire_grace_s: int | None = Setting(default=None, ge=0)
    """How long past its TTL a row stays in Redis, counted from its write; one TTL where it is not set. Frees memory,
    decides nothing."""

    wait_replicas: int = Setting(default=0, ge=0)
    """Replicas that must confirm a write."""

    wait_timeout_ms: int = Setting(default=1000, gt=0)
    """How long to wait for them, each time."""

    patience_s: float = Setting(default=15.0, ge=0)
    """How long a write tries again when Redis fails."""

    full_scan_for_deletion: bool = True
    """Whether the rows of a deleted view are looked for and deleted; without it they stay until they expire."""

    @property
    def where(self) -> Where:
        """What names the Redis."""
        credentials = {"username": self.username, "password": self.password}
        given = {name: value for name, value in credentials.items() if value is not None}
        return Where(self.connection_string, self.redis_type, self.sentinel_master, given, self.sentinel_kwargs)

    @property
    def safety(self) -> Safety:
        """How sure a write is to outlive a failure."""
        return Safety(self.wait_replicas, self.wait_timeout_ms, self.patience_s)


@dataclass(frozen=True)
class _Read:
    """One view of an SDK request."""

    table: FeatureView
    features: list[str]
    places: Sequence[list[int]]
    """For each unique key, the rows of the response that it answers."""
    count: int
    asked: Request


class LockstepOnlineStore(OnlineStore):
    """Packed rows in Redis. What decides whether a row is used is the rule for time, never Redis's expiry."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = WeakKeyDictionary()
        self._views: dict[tuple[str, int], tuple[ref[FeatureView], StoredView]] = {}
        self._book = RecordBook()

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Both reads and writes."""
        return SupportedAsyncMethods(read=True, write=True)

    def client(self, config: RepoConfig) -> Client:
        """The client of this store, made at its first use."""
        if self._client is None:
            self._client = connect(config.online_store.where)
        return self._client

    def stored_view(self, config: RepoConfig, table: FeatureView) -> StoredView:
        """How a view's rows lie in Redis. Raises SchemaRefused for a view that cannot be stored."""
        place = (config.project, id(table))
        known = self._views.get(place)
        if known is None or known[0]() is not table:
            name = compute_versioned_name(table, config.registry.enable_online_feature_view_versioning)
            known = (ref(table, lambda _: self._views.pop(place, None)), stored_view(config.project, name, table))
            self._views[place] = known
        return known[1]

    def writer(self, config: RepoConfig, view: StoredView, replace: Replace = Replace.OLDER) -> RowWriter:
        """A writer of a view's rows, its record written before. For materialization engines."""
        client = self.client(config)
        self._book.store(client, view.record)
        expire_ms = view.expire_ms(config.online_store.expire_grace_s)
        safety = config.online_store.safety
        return RowWriter(client, view.record.view, expire_ms=expire_ms, replace=replace, safety=safety)

    # --- writes ---

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[WriteRow], progress: Callable[[int], Any] | None
    ) -> None:
        """Write rows; each replaces what is there if its (event, created) is greater. Naive times are UTC.

        Rows dated after the clock and rows with a NULL join key are refused; a warning counts them. Raises
        WritesUnconfirmed, and BadColumn for a value that does not fit its type.
        """
        if data:
            entity_keys = [row[0] for row in data]
            view = self.stored_view(config, table).for_keys(entity_keys)
            writer = self.writer(config, view)
            writer.write(pa.array(view.keys_or_none(entity_keys), pa.binary()), _packed(view, data))
            _warn_of_refused(view, writer.finish())
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: RepoConfig, table: FeatureView, data: list[WriteRow], progress: Callable[[int], Any] | None
    ) -> None:
        """The same on a thread of its own."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    # --- reads ---

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[FeastRow]:
        """The features of each key, judged now. Raises UnknownColumn and BadColumn."""
        asked = request(self.stored_view(config, table), entity_keys, requested_features)
        return self._fetch(config, [asked])[0].rows

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[FeastRow]:
        """The same without blocking the event loop."""
        asked = request(self.stored_view(config, table), entity_keys, requested_features)
        return (await self._fetch_async(config, [asked]))[0].rows

    def _fetch(self, config: RepoConfig, asked: Sequence[Request]) -> list[RowsRead]:
        """One MGET for all views; in a cluster one pipeline a node."""
        client, keys = self.client(config), [key for each in asked for key in each.keys]
        answers = _mget(client)(keys) if keys else []
        found = self._decoded(asked, answers)
        for each in _strange(asked, found):
            record = each.view.record
            if self._book.learn(record, client.hgetall(record.key)):
                found = self._decoded(asked, answers)
        return _named(asked, found)

    async def _fetch_async(self, config: RepoConfig, asked: Sequence[Request]) -> list[RowsRead]:
        client, keys = self._async_client(config), [key for each in asked for key in each.keys]
        answers = await _mget(client)(keys) if keys else []
        found = self._decoded(asked, answers)
        for each in _strange(asked, found):
            record = each.view.record
            if self._book.learn(record, await client.hgetall(record.key)):
                found = self._decoded(asked, answers)
        return _named(asked, found)

    def _decoded(self, asked: Sequence[Request], answers: Sequence[bytes | None]) -> list[RowsRead]:
        t_us, first, found = now_us(), 0, []
        for each in asked:
            part = answers[first : first + len(each.keys)]
            first += len(each.keys)
            found.append(read_rows(each, part, self._book.schemas(each.view.record), t_us))
        return found

    def _async_client(self, config: RepoConfig) -> AsyncClient:
        """One client for each event loop: a connection belongs to the loop that opened it."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            self._async_clients[loop] = connect_async(config.online_store.where)
        return self._async_clients[loop]

    # Feast asks one view after the other; these two ask all views at once. Their arguments are Feast's.

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, list[Value]],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        reads = self._reads(config, grouped_refs, join_key_values, entity_name_to_join_key_map)
        found = self._fetch(config, [read.asked for read in reads])
        _respond(reads, found, online_features_response, full_feature_names, include_feature_view_version_metadata)

    async def _read_features_per_fv_async(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, list[Value]],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        reads = self._reads(config, grouped_refs, join_key_values, entity_name_to_join_key_map)
        found = await self._fetch_async(config, [read.asked for read in reads])
        _respond(reads, found, online_features_response, full_feature_names, include_feature_view_version_metadata)

    def _reads(
        self,
        config: RepoConfig,
        grouped_refs: Iterable[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, list[Value]],
        join_keys: dict[str, str],
    ) -> list[_Read]:
        reads = []
        for table, features in grouped_refs:
            entities, places, count = utils._get_unique_entities(table, join_key_values, join_keys)
            keys = utils._get_entity_key_protos(entities)
            reads.append(
                _Read(table, features, places, count, request(self.stored_view(config, table), keys, features))
            )
        return reads

    def _is_versioned_read_supported(self) -> bool:
        """The name of a view carries its version, so every version has rows of its own."""
        return True

    # --- views come and go ---

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Write the records of the views that are kept, delete the rows and records of the others.

        `feast apply` works without Redis where nothing is deleted: a record is written at the latest with the view's
        first rows.
        """
        if config.online_store.full_scan_for_deletion:
            self._delete(config, tables_to_delete)
        views = [self.stored_view(config, table) for table in tables_to_keep]
        try:
            for view in views:
                self._book.store(self.client(config), view.record)
        except (RedisConnectionError, RedisTimeoutError) as error:
            log.warning("Redis does not answer (%s): view records are written with the first rows.", error)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Delete the rows and records of the views, and close the connection."""
        self._delete(config, tables)
        if self._client is not None:
            self._client.close()
            self._client = None

    def _delete(self, config: RepoConfig, tables: Sequence[FeatureView]) -> None:
        for table in tables:
            record = self.stored_view(config, table).record
            gone = delete_view(self.client(config), record)
            self._book.forget(record)
            log.info("deleted %d rows of view %r", gone, record.view)

    async def close(self) -> None:
        """Close the connections of this event loop, and the blocking ones."""
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
        if self._client is not None:
            self._client.close()
            self._client = None


def _packed(view: StoredView, data: Sequence[WriteRow]) -> pa.BinaryArray:
    columns = {field.name: from_values([row[1].get(field.name) for row in data], field) for field in view.schema.fields}
    event, created = _times([row[2] for row in data]), _times([row[3] for row in data])
    return pack_columns(columns, event, created, view.schema)


def _times(moments: Sequence[datetime | None]) -> pa.Array:
    us = [None if moment is None else from_datetime(moment) for moment in moments]
    return pa.array(us, pa.int64()).cast(DType.TIMESTAMP.arrow)


def _warn_of_refused(view: StoredView, counts: WriteCounts) -> None:
    if counts.future:
        log.warning("view %r: %d rows are dated after the clock and were not written.", view.record.view, counts.future)
    if counts.keyless:
        log.warning("view %r: %d rows have a NULL join key and were not written.", view.record.view, counts.keyless)


def _mget(client: Any) -> Callable[[list[bytes]], Any]:
    """A cluster takes an MGET for the keys of one slot alone; its client sends one for each, together."""
    found: Callable[[list[bytes]], Any] = (
        client.mget_nonatomic if isinstance(client, RedisCluster | AsyncRedisCluster) else client.mget
    )
    return found


def _strange(asked: Sequence[Request], found: Sequence[RowsRead]) -> list[Request]:
    """The requests with rows that no known schema explains: perhaps an older one does, which Redis has on record."""
    return [each for each, read in zip(asked, found, strict=True) if read.unreadable]


def _named(asked: Sequence[Request], found: list[RowsRead]) -> list[RowsRead]:
    for each, read in zip(asked, found, strict=True):
        if read.unreadable:
            log.warning(
                "view %r: %d rows are unreadable and count as not found.", each.view.record.view, read.unreadable
            )
    return found


def _respond(
    reads: Sequence[_Read],
    found: Sequence[RowsRead],
    response: GetOnlineFeaturesResponse,
    full_names: bool,
    versions: bool,
) -> None:
    for read, got in zip(reads, found, strict=True):
        utils._populate_response_from_feature_data(
            read.features, got.rows, read.places, response, full_names, read.table, read.count, versions
        )
        stale = [
            place
            for status, places in zip(got.status, read.places, strict=True)
            if status == Status.STALE
            for place in places
        ]
        for vector in response.results[len(response.results) - len(read.features) :] if stale else ():
            for place in stale:
                vector.statuses[place] = FieldStatus.OUTSIDE_MAX_AGE
