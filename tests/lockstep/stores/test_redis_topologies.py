"""The same rows on one Redis, on a cluster, behind Sentinels and over TLS."""

import asyncio
import threading
import time
from typing import Any

import pyarrow as pa
import pytest
import redis

from lockstep.errors import WritesUnconfirmed
from lockstep.keys import KeySpace
from lockstep.rows import pack, unpack
from lockstep.schema import DType, Field, Schema
from lockstep.stores.records import delete_view, put_record, raise_watermark, watermark
from lockstep.stores.redis_connect import RedisType, Where, connect, connect_async
from lockstep.stores.redis_write import RowWriter, Safety, WriteCounts
from lockstep.view_record import ViewRecord

RECORD = ViewRecord(
    "shop",
    "clicks",
    (Field("ip", DType.INT64),),
    (Field("n", DType.INT64),),
    created=False,
    ttl_us=None,
    definition="d",
)
SPACE, SCHEMA = RECORD.key_space, RECORD.schema


def batch(
    ips: range, event: int, n: int, space: KeySpace = SPACE, schema: Schema = SCHEMA
) -> tuple[pa.BinaryArray, pa.BinaryArray]:
    """A row for each ip, all of one time and value."""
    times = pa.array([event] * len(ips), pa.int64()).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"ip": pa.array(ips, pa.int64()), "n": pa.array([n] * len(ips), pa.int64()), "event": times})
    return space.encode(table), pack(table, schema, event="event")


def values(answers: list[bytes | None]) -> list[int]:
    """The value of each row; every one must be there."""
    found = unpack(answers, {SCHEMA.fingerprint: SCHEMA}, SCHEMA)
    assert (found.status == 0).all()
    return [int(n) for n in found.values("n")]


def keys(ips: range) -> list[bytes]:
    return [SPACE.encode_one({"ip": ip}) for ip in ips]


@pytest.fixture
def cluster(redis_cluster: str) -> Any:
    client = connect(Where(redis_cluster, RedisType.CLUSTER))
    client.flushall(target_nodes="primaries")
    yield client
    client.close()


def test_a_cluster_takes_every_row_and_gives_it_back(cluster: Any) -> None:
    writer = RowWriter(cluster, "clicks", expire_ms=60_000)
    assert writer.write(*batch(range(3000), 5, 1)) == WriteCounts(written=3000)
    assert writer.write(*batch(range(3000), 4, 2)) == WriteCounts(older=3000)
    assert values(cluster.mget_nonatomic(keys(range(3000)))) == [1] * 3000
    assert min(node.redis_connection.dbsize() for node in cluster.get_primaries()) > 800


def test_a_cluster_whose_slots_moved_takes_every_row(cluster: Any) -> None:
    writer = RowWriter(cluster, "clicks", expire_ms=None)
    manager = cluster.nodes_manager
    nodes = manager.slots_cache[0]
    manager.slots_cache = dict.fromkeys(range(16384), nodes)  # what a client believes that looked long ago
    assert writer.write(*batch(range(500), 5, 1)).unconfirmed == 0
    assert values(cluster.mget_nonatomic(keys(range(500)))) == [1] * 500


def test_a_view_is_deleted_on_every_node_and_no_other_view_is(cluster: Any) -> None:
    other = ViewRecord("shop", "views", RECORD.join_keys, RECORD.fields, created=False, ttl_us=None, definition="d")
    for record in (RECORD, other):
        put_record(cluster, record)
        RowWriter(cluster, record.view, expire_ms=None).write(
            *batch(range(2500), 5, 1, record.key_space, record.schema)
        )
    assert delete_view(cluster, RECORD) == 2500
    assert sum(node.redis_connection.dbsize() for node in cluster.get_primaries()) == 2501


def test_a_watermark_never_goes_back(cluster: Any) -> None:
    assert watermark(cluster, RECORD) is None
    put_record(cluster, RECORD)
    for us in (999, 10_000, 9_999):
        raise_watermark(cluster, RECORD, us)
    assert watermark(cluster, RECORD) == 10_000
    cluster.flushall(target_nodes="primaries")
    assert watermark(cluster, RECORD) is None


async def test_a_cluster_is_read_without_blocking(cluster: Any, redis_cluster: str) -> None:
    RowWriter(cluster, "clicks", expire_ms=None).write(*batch(range(200), 5, 3))
    client = connect_async(Where(redis_cluster, RedisType.CLUSTER))
    try:
        assert values(await client.mget_nonatomic(keys(range(200)))) == [3] * 200
    finally:
        await client.aclose()


def test_a_failover_during_writes_loses_no_confirmed_row_and_a_second_run_makes_all_equal(redis_sentinel: Any) -> None:
    client = connect(Where(redis_sentinel.connection_string, RedisType.SENTINEL))
    safe = Safety(wait_replicas=1, wait_timeout_ms=100, patience_s=20)
    writer, killed = RowWriter(client, "clicks", expire_ms=None, safety=safe), threading.Event()

    def kill() -> None:
        redis_sentinel.kill(0)
        killed.set()

    confirmed: list[range] = []
    for part in range(20):
        ips = range(part * 500, (part + 1) * 500)
        if part == 5:
            threading.Timer(0.001, kill).start()
        if writer.write(*batch(ips, 5, 1)).unconfirmed == 0:
            confirmed.append(ips)
        if part == 6:
            killed.wait(5)
    with pytest.raises(WritesUnconfirmed, match="Run the same job again"):
        writer.finish()
    assert confirmed
    assert 0 < writer.counts.unconfirmed < 10_000
    assert writer.counts.total == 10_000
    for ips in confirmed:
        assert values(client.mget(keys(ips))) == [1] * len(ips)

    redis_sentinel.start(0, master=1)
    give_up = time.monotonic() + 20
    while not any(each["state"] == "online" for each in client.info("replication").values() if isinstance(each, dict)):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    again = RowWriter(client, "clicks", expire_ms=None, safety=Safety(wait_replicas=1, wait_timeout_ms=10000))
    again.write(*batch(range(10_000), 5, 1))
    assert again.finish().total == 10_000
    assert values(client.mget(keys(range(10_000)))) == [1] * 10_000


def test_tls_with_an_acl_user_whose_password_has_a_comma(redis_tls: Any) -> None:
    options = f"127.0.0.1:{redis_tls.port},ssl=true,ssl_ca_certs={redis_tls.authority}"
    where = Where(options, credentials={"username": "bidder", "password": "p,w=1"})
    client = connect(where)
    assert RowWriter(client, "clicks", expire_ms=None).write(*batch(range(300), 5, 1)).written == 300
    assert values(client.mget(keys(range(300)))) == [1] * 300

    async def read() -> list[bytes | None]:
        async with connect_async(where) as found:
            return list(await found.mget(keys(range(300))))

    assert values(asyncio.run(read())) == [1] * 300
    with pytest.raises(redis.AuthenticationError):
        connect(Where(options, credentials={"username": "bidder", "password": "other"})).ping()
