"""The scorer's reader on real servers: what was written is what a plan gets, and what fails says how."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis

from lockstep.errors import BadConnection, DefinitionDiffers
from lockstep.plan import digest
from lockstep.redis_server import free_port, run_redis
from lockstep.redis_where import RedisType, Where
from lockstep.resolve import ViewRows
from lockstep.rows import pack
from lockstep.schema import DType, Field
from lockstep.status import Status
from lockstep.stores.records import put_record
from lockstep.stores.redis_connect import Client, connect
from lockstep.stores.redis_write import RowWriter
from lockstep.view_record import ViewRecord
from serving.packed_reader import PackedReader
from serving.redis import open_client
from tests.bundles import NOON, PLAN
from tests.topologies import Secure, Watched

RECORD = ViewRecord(
    PLAN.project,
    "ip_activity",
    (Field("ip", DType.INT64),),
    (Field("clicks", DType.INT64), Field("last_click", DType.TIMESTAMP)),
    False,
    PLAN.views[0].ttl_us,
    digest("ip_activity"),
)


def fill(client: Client, ips: range, record: ViewRecord = RECORD) -> None:
    """Row ip has ip clicks."""
    table = pa.table(
        {
            "ip": pa.array(ips, pa.int64()),
            "clicks": pa.array(ips, pa.int64()),
            "last_click": pa.array([None] * len(ips), pa.timestamp("us", "UTC")),
            "event": pa.array([NOON] * len(ips), pa.timestamp("us", "UTC")),
        }
    )
    put_record(client, record)
    writer = RowWriter(client, record.view, expire_ms=None)
    writer.write(record.key_space.encode(table), pack(table, record.schema, event="event"))
    assert writer.finish().total == len(ips)


@asynccontextmanager
async def reading(where: Where, patience_s: float = 1.0) -> AsyncIterator[PackedReader]:
    reader = PackedReader(open_client(where, patience_s=patience_s))
    try:
        yield reader
    finally:
        await reader.close()


async def read(reader: PackedReader, *ips: int) -> ViewRows:
    return (await reader.read(PLAN, {"ip": np.array(ips, np.int64)}, len(ips))).view(PLAN, "ip_activity")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_redis(tmp_path_factory.mktemp("redis"), free_port()) as found:
        yield found


@pytest.fixture
def where(url: str) -> Where:
    """An empty Redis."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return Where(url)


async def test_what_was_written_is_what_a_plan_gets_in_the_order_of_the_request(where: Where) -> None:
    fill(connect(where), range(100))
    async with reading(where) as reader:
        found = await read(reader, 7, 500, 7, 99)
    assert found.found.tolist() == [Status.PRESENT, Status.NOT_FOUND, Status.PRESENT, Status.PRESENT]
    assert found.values["clicks"][[0, 2, 3]].tolist() == [7.0, 7.0, 99.0]
    assert found.states[1, [0, 2, 3]].tolist() == [Status.NULL] * 3
    assert found.event_us[[0, 2, 3]].tolist() == [NOON] * 3


async def test_many_reads_at_once_share_a_connection_and_get_their_own_answers(where: Where) -> None:
    client = connect(where)
    fill(client, range(64))
    async with reading(where) as reader:
        await read(reader, 0)
        before = len(client.client_list())
        answers = await asyncio.gather(*(read(reader, ip, 63 - ip) for ip in range(64)))
        assert len(client.client_list()) == before
    assert [found.values["clicks"].tolist() for found in answers] == [[ip, 63 - ip] for ip in range(64)]


async def test_an_emptied_redis_is_known_by_the_missing_record_and_one_filled_again_by_its_presence(
    where: Where, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(where)
    fill(client, range(3))
    async with reading(where) as reader:
        assert (await read(reader, 1)).found.tolist() == [Status.PRESENT]
        client.flushall()
        assert (await read(reader, 1)).found.tolist() == [Status.NOT_FOUND]
        await _until(reader, lambda: "holds no record of view 'ip_activity'" in caplog.text)
        fill(client, range(3))
        await _until_found(reader, Status.PRESENT)


async def _until(reader: PackedReader, true: Any) -> None:
    async with asyncio.timeout(3):
        while not true():
            await read(reader, 1)
            await asyncio.sleep(0.02)


async def _until_found(reader: PackedReader, status: Status) -> None:
    async with asyncio.timeout(5):
        while (await read(reader, 1)).found.tolist() != [status]:
            await asyncio.sleep(0.02)


async def test_rows_of_a_schema_that_came_later_are_read_within_moments(where: Where) -> None:
    client = connect(where)
    fill(client, range(3))
    later = replace(RECORD, fields=(*RECORD.fields[:1], Field("more", DType.INT64), RECORD.fields[1]))
    async with reading(where) as reader:
        await read(reader, 1)
        table = pa.table({"ip": [1], "clicks": [50], "more": [1], "event": pa.array([NOON + 1], pa.timestamp("us"))})
        table = table.append_column("last_click", pa.array([None], pa.timestamp("us", "UTC")))
        put_record(client, later)
        writer = RowWriter(client, "ip_activity", expire_ms=None)
        writer.write(later.key_space.encode(table), pack(table, later.schema, event="event"))
        await _until_found(reader, Status.PRESENT)
        found = await read(reader, 1, 2)
    assert found.values["clicks"].tolist() == [50.0, 2.0]


async def test_a_row_that_nobody_wrote_is_unreadable_and_named(where: Where, caplog: pytest.LogCaptureFixture) -> None:
    client = connect(where)
    fill(client, range(3))
    key = RECORD.key_space.encode_one({"ip": 2})
    client.set(key, b"nonsense")
    async with reading(where) as reader:
        found = await read(reader, 1, 2)
    assert found.found.tolist() == [Status.PRESENT, Status.UNREADABLE]
    assert f"'ip_activity' holds rows that cannot be read, e.g. under key {key.hex()}" in caplog.text


async def test_a_view_that_was_defined_anew_refuses_the_plan_and_gives_it_no_value(where: Where) -> None:
    fill(connect(where), range(3), replace(RECORD, definition="other"))
    async with reading(where) as reader:
        with pytest.raises(DefinitionDiffers, match="clicks, last_click would mean something else"):
            await reader.prepare(PLAN)
        assert (await read(reader, 1)).found.tolist() == [Status.UNREADABLE]


async def test_without_redis_all_is_unreachable_and_a_redis_that_comes_later_is_found(tmp_path: Path) -> None:
    port = free_port()
    async with reading(Where(f"127.0.0.1:{port}")) as reader:
        await reader.prepare(PLAN)
        assert (await read(reader, 1, 2)).found.tolist() == [Status.UNREACHABLE] * 2
        with run_redis(tmp_path, port) as url:
            fill(connect(Where(url)), range(3))
            await _until_found(reader, Status.PRESENT)
        await _until_found(reader, Status.UNREACHABLE)


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[Where]:
    """A server that says the same to everyone, and nothing more."""
    ended = []

    async def talk(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over = asyncio.get_running_loop().create_future()
        ended.append(over)
        writer.write(answer)
        with suppress(ConnectionError):
            await stream.read()
        writer.close()
        over.set_result(None)

    server = await asyncio.start_server(talk, "127.0.0.1")
    yield Where(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.gather(*ended)
    server.close()
    await server.wait_closed()


async def test_a_redis_that_never_answers_is_given_up_and_dialled_again() -> None:
    async with saying(b"") as where, reading(where, patience_s=0.1) as reader:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await read(reader, 1)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(1):
            assert (await read(reader, 1)).found.tolist() == [Status.UNREACHABLE]


async def test_bytes_that_are_not_redis_end_the_connection_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as where, reading(where) as reader:
        assert (await read(reader, 1)).found.tolist() == [Status.UNREACHABLE]
    assert "is not Redis's protocol" in caplog.text


async def test_a_cluster_gives_the_rows_of_all_its_nodes(redis_cluster: str) -> None:
    where = Where(redis_cluster, RedisType.CLUSTER)
    fill(connect(where), range(500))
    async with reading(where) as reader:
        found = await read(reader, *range(500))
    assert found.values["clicks"].tolist() == list(range(500))
    assert not found.found.any()


async def test_a_cluster_whose_slots_moved_is_followed(redis_cluster: str) -> None:
    where = Where(redis_cluster, RedisType.CLUSTER)
    fill(connect(where), range(300))
    async with reading(where) as reader:
        await read(reader, 1)
        client: Any = reader._client
        client._owners[:] = client._owners[::-1]  # as if every slot had moved since
        client._watch.hurry = lambda: None
        found = await read(reader, *range(300))
    assert found.values["clicks"].tolist() == list(range(300))


async def test_a_failover_is_followed(redis_sentinel: Watched) -> None:
    where = Where(redis_sentinel.connection_string, RedisType.SENTINEL)
    fill(connect(where), range(3))
    async with reading(where) as reader:
        await _until_found(reader, Status.PRESENT)
        redis_sentinel.kill(0)
        await _until_found(reader, Status.UNREACHABLE)
        async with asyncio.timeout(15):
            while (await read(reader, 1)).found.tolist() != [Status.PRESENT]:
                await asyncio.sleep(0.05)


async def test_tls_and_an_acl_user(redis_tls: Secure) -> None:
    where = Where(
        f"127.0.0.1:{redis_tls.port},ssl=true,ssl_ca_certs={redis_tls.authority}",
        credentials={"username": "bidder", "password": "p,w=1"},
    )
    fill(connect(where), range(3))
    async with reading(where) as reader:
        assert (await read(reader, 2)).values["clicks"].tolist() == [2.0]
    async with reading(replace(where, credentials={"username": "bidder", "password": "wrong"})) as reader:
        assert (await read(reader, 2)).found.tolist() == [Status.UNREACHABLE]
    async with reading(Where(f"127.0.0.1:{redis_tls.port},ssl=true")) as reader:
        assert (await read(reader, 2)).found.tolist() == [Status.UNREACHABLE]


def test_an_option_that_cannot_be_honoured_is_refused_by_name() -> None:
    with pytest.raises(BadConnection, match="does not know the option 'ssl_min_version'"):
        open_client(Where("cache:6379,ssl=true,ssl_min_version=3"))
    with pytest.raises(BadConnection, match="ssl_cert_reqs is 'maybe'"):
        open_client(Where("cache:6379,ssl=true,ssl_cert_reqs=maybe"))
