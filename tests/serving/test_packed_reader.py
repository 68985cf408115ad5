"""The scorer's reader on real servers: what was written is what a plan gets, and what fails says how."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
import redis

from lockstep.errors import BadConnection, DefinitionDiffers, StoreUnreachable
from lockstep.plan import Column, Given, JoinKey, Plan, Stored, digest
from lockstep.plan import DType as Served
from lockstep.redis_server import find_redis_server, free_port, run_redis
from lockstep.redis_where import RedisType, Where
from lockstep.resolve import ViewRows
from lockstep.rows import pack
from lockstep.schema import DType, Field
from lockstep.status import Status
from lockstep.stores.records import put_record
from lockstep.stores.redis_connect import Client, connect
from lockstep.stores.redis_write import RowWriter
from lockstep.view_record import ViewRecord
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.packed_reader import PackedReader
from serving.redis import UNREACHED, open_client
from serving.redis.cluster import slot_of
from serving.redis.node import Node
from serving.redis.terms import Access
from serving.redis.watch import Watch
from serving.server import running
from serving.settings import Settings
from tests.bundles import NOON, PLAN, TTL
from tests.serving.conftest import Client as Caller
from tests.serving.conftest import column, found, request
from tests.topologies import Secure, Watched, needs_redis, until
from tests.views import view_of

RECORD = ViewRecord(
    PLAN.project,
    "ip_activity",
    (Field("ip", DType.INT64),),
    (Field("clicks", DType.INT64), Field("last_click", DType.TIMESTAMP)),
    False,
    PLAN.views[0].ttl_us,
    digest("ip_activity"),
)

PATIENCE_S = 40
"""For a failover, from when the Sentinel acts."""


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
    return view_of(await reader.read(PLAN, {"ip": np.array(ips, np.int64)}, len(ips)), PLAN, "ip_activity")


@pytest.fixture
def where(redis_url: str) -> Where:
    """An empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return Where(redis_url)


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
    async with asyncio.timeout(10):
        while not true():
            await read(reader, 1)
            await asyncio.sleep(0.02)


async def _until_found(reader: PackedReader, status: Status) -> None:
    async with asyncio.timeout(15):
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


async def test_plans_that_nobody_asks_for_are_forgotten_when_another_comes(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connect(where), range(3))
    plans = [replace(PLAN) for _ in range(3)]
    async with reading(where) as reader:
        await reader.read(plans[0], {"ip": np.array([1])}, 1)
        await reader.read(plans[1], {"ip": np.array([1])}, 1)
        assert len(reader._compiled) == 2
        monkeypatch.setattr("serving.packed_reader._UNUSED_S", -1.0)
        await reader.read(plans[2], {"ip": np.array([1])}, 1)
        assert list(reader._compiled) == [id(plans[2])]


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
        async with asyncio.timeout(PATIENCE_S) as patience:
            while (await read(reader, 1)).found.tolist() != [Status.PRESENT]:
                if redis_sentinel.stands_by:  # it begins when it acts again
                    patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)
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


def write(client: Client, record: ViewRecord, table: pa.Table) -> None:
    """Any rows of a record, with their times in `event` and, where it has them, `created`."""
    put_record(client, record)
    writer = RowWriter(client, record.view, expire_ms=None)
    created = "created" if record.created else None
    writer.write(record.key_space.encode(table), pack(table, record.schema, event="event", created=created))
    assert writer.finish().total == table.num_rows


def moments(*times_us: int) -> pa.Array:
    return pa.array(times_us, pa.timestamp("us", "UTC"))


class TestServer:
    """From a real Redis to the answer on the wire."""

    @pytest.fixture
    async def client(self, where: Where, settings: Settings) -> AsyncIterator[Caller]:
        """Address 1 was created with its event, at noon; 2 five microseconds later."""
        table = pa.table(
            {
                "ip": pa.array([1, 2], pa.int64()),
                "clicks": pa.array([2, 3], pa.int64()),
                "last_click": moments(NOON, NOON),
                "event": moments(NOON, NOON),
                "created": moments(NOON, NOON + 5),
            }
        )
        write(connect(where), replace(RECORD, created=True), table)
        own = replace(settings, redis=where.connection_string, redis_breaker_ms=10_000.0)
        async with (
            running(own, PackedReader.open(own)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            yield Caller(channel)

    @pytest.mark.parametrize(
        ("ip", "t", "status"),
        [
            pytest.param(1, NOON - 1, "FUTURE", id="a microsecond before the row"),
            pytest.param(1, NOON, "PRESENT", id="at the row's time"),
            pytest.param(1, NOON + TTL, "PRESENT", id="at the end of its TTL"),
            pytest.param(1, NOON + TTL + 1, "STALE", id="a microsecond after its TTL"),
            pytest.param(2, NOON + 4, "FUTURE", id="a microsecond before it was created"),
            pytest.param(2, NOON + 5, "PRESENT", id="when it was created"),
            pytest.param(2, NOON + TTL, "PRESENT", id="created late, at the end of the TTL of its event"),
            pytest.param(2, NOON + TTL + 1, "STALE", id="created late, a microsecond after that"),
            pytest.param(9, NOON, "NOT_FOUND", id="no row"),
        ],
    )
    async def test_time_is_judged_to_the_microsecond(self, client: Caller, ip: int, t: int, status: str) -> None:
        reply = await client.ask(request(column("ip", ip), column("bid", 0.5), t=[t]))
        assert found(reply) == {status: 2}

    async def test_a_store_that_pauses_answers_the_hasty_with_defaults_and_the_patient_with_rows(
        self, client: Caller, where: Where
    ) -> None:
        asked = request(column("ip", 1), column("bid", 0.5))
        assert (await client.ask(asked)).rung == pb.RUNG_FRESH
        connect(where).client_pause(700)
        hasty, patient = await asyncio.gather(client.ask(asked, timeout=0.4), client.ask(asked, timeout=8))
        assert (hasty.rung, found(hasty)) == (pb.RUNG_ALL_DEFAULTS, {"UNREACHABLE": 2})
        assert (patient.rung, found(patient)) == (pb.RUNG_FRESH, {"PRESENT": 2})


KEYED = replace(
    RECORD, join_keys=(Field("site", DType.STRING), Field("app", DType.INT32)), fields=(Field("clicks", DType.INT64),)
)
KEYED_PLAN = Plan(
    PLAN.project,
    "keyed",
    (
        replace(
            PLAN.views[0],
            join_keys=(JoinKey("site", "site", Served.STRING), JoinKey("app", "app", Served.INT64)),
        ),
    ),
    (
        Column("app", Served.INT64, Given("join_key")),
        Column("site", Served.STRING, Given("join_key")),
        Column("clicks", Served.FLOAT32, Stored("ip_activity", "clicks")),
    ),
    ("clicks",),
)


@pytest.mark.parametrize("times", [1, 30], ids=["few rows", "many rows"])
async def test_composite_keys_of_strings_and_int32_find_their_own_rows(where: Where, times: int) -> None:
    sites = ["", "a", "é", "a\0", "{x}", "漢" * 40]
    apps = [0, 1, -1, 2**31 - 1, -(2**31), 5]
    table = pa.table(
        {
            "site": sites,
            "app": pa.array(apps, pa.int32()),
            "clicks": pa.array(range(6), pa.int64()),
            "event": moments(*[NOON] * 6),
        }
    )
    write(connect(where), KEYED, table)
    asked = {
        "site": np.array([*sites, "", "a", "5"] * times, object),
        "app": np.array([*apps, 2**31, 2**40 + 1, 5] * times, np.int64),
    }
    async with reading(where) as reader:
        rows = view_of(await reader.read(KEYED_PLAN, asked, 9 * times), KEYED_PLAN, "ip_activity")
    assert rows.found.tolist() == [*[Status.PRESENT] * 6, *[Status.NOT_FOUND] * 3] * times
    assert rows.values["clicks"][:6].tolist() == [0, 1, 2, 3, 4, 5]


async def test_a_reader_whose_first_callers_gave_up_serves_the_next(where: Where) -> None:
    fill(connect(where), range(3))
    async with reading(where) as reader:
        for turns in range(12):
            leaving = asyncio.ensure_future(read(reader, 1))
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait({leaving})
        async with asyncio.timeout(3):
            assert (await read(reader, 2)).values["clicks"].tolist() == [2.0]


async def test_callers_that_give_up_leave_the_others_their_own_answers(where: Where) -> None:
    fill(connect(where), range(64))
    async with reading(where) as reader:
        await read(reader, 0)
        asked = [asyncio.ensure_future(read(reader, ip)) for ip in range(64)]
        await asyncio.sleep(0)
        for one in asked[::3]:
            one.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
    for ip, answer in enumerate(answers):
        if isinstance(answer, ViewRows):
            assert answer.values["clicks"].tolist() == [ip]
        else:
            assert ip % 3 == 0


async def test_answers_larger_than_a_socket_holds_come_whole_and_in_order(where: Where) -> None:
    client, keys = connect(where), [f"large {i}".encode() for i in range(40)]
    large = [bytes([i]) * 200_000 for i in range(40)]
    client.mset(dict(zip(keys, large, strict=True)))
    redis_ = open_client(where)
    small, whole = await asyncio.gather(redis_.get(keys[:1]), redis_.get([*keys, b"none"]))
    await redis_.close()
    assert list(whole) == [*large, None]
    assert list(small) == large[:1]


@contextmanager
def cluster_of_two(folder: Path) -> Iterator[tuple[Where, list[int]]]:
    """A cluster that goes on without one of its nodes; and the process of each."""
    options = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000"]
    ports = [_low_port(), _low_port()]
    with ExitStack() as stack:
        urls = [stack.enter_context(run_redis(folder / str(port), port, options=options)) for port in ports]
        nodes = [stack.enter_context(redis.Redis.from_url(url)) for url in urls]
        for node, first in zip(nodes, (0, 8192), strict=True):
            node.execute_command("CLUSTER", "ADDSLOTS", *range(first, first + 8192))
        nodes[1].execute_command("CLUSTER", "SET-CONFIG-EPOCH", 1)
        nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1])
        until(lambda: all(_is_whole(node) for node in nodes))
        pids = [int(node.info("server")["process_id"]) for node in nodes]
        yield Where(",".join(f"127.0.0.1:{port}" for port in ports), RedisType.CLUSTER), pids


def _is_whole(node: redis.Redis) -> bool:
    ready = b"cluster_state:ok" in bytes(node.execute_command("CLUSTER", "INFO"))
    return ready and len(node.execute_command("CLUSTER", "SLOTS")) == 2


def _low_port() -> int:
    while (port := free_port()) > 55_535:
        pass
    return port


def _first_half(ip: int) -> bool:
    """Whether the key of an address is on the first node."""
    return slot_of(RECORD.key_space.encode_one({"ip": ip})) < 8192


async def test_a_cluster_that_lost_a_node_misses_its_keys_and_no_others(tmp_path: Path) -> None:
    with cluster_of_two(tmp_path) as (where, pids):
        fill(connect(where), range(60))
        async with reading(where, patience_s=5) as reader:
            assert not (await read(reader, *range(60))).found.any()
            os.kill(pids[1], signal.SIGKILL)
            async with asyncio.timeout(5):
                while not (rows := await read(reader, *range(60), 0, 1)).found.any():
                    await asyncio.sleep(0.01)
    expected = [Status.PRESENT if _first_half(ip) else Status.UNREACHABLE for ip in [*range(60), 0, 1]]
    assert rows.found.tolist() == expected
    there = rows.found == Status.PRESENT
    assert rows.values["clicks"][there].tolist() == np.array([*range(60), 0, 1])[there].tolist()


async def test_a_cluster_with_a_node_that_hangs_misses_its_keys_and_no_others(tmp_path: Path) -> None:
    with cluster_of_two(tmp_path) as (where, pids):
        fill(connect(where), range(60))
        async with reading(where, patience_s=0.2) as reader:
            await read(reader, 1)
            os.kill(pids[1], signal.SIGSTOP)
            try:
                async with asyncio.timeout(1.5):
                    rows = await read(reader, *range(60))
            finally:
                os.kill(pids[1], signal.SIGCONT)
    assert rows.found.tolist() == [Status.PRESENT if _first_half(ip) else Status.UNREACHABLE for ip in range(60)]


async def test_what_a_node_of_a_cluster_refuses_is_logged(redis_cluster: str, caplog: pytest.LogCaptureFixture) -> None:
    where = Where(redis_cluster, RedisType.CLUSTER)
    connect(where).hset("no string", "a", "b")
    client = open_client(where)
    await client.get([b"no string"])
    await client.close()
    assert "WRONGTYPE" in caplog.text


@needs_redis(7)
async def test_a_cluster_whose_nodes_do_not_know_their_addresses_is_read(tmp_path: Path) -> None:
    options = ["--cluster-enabled", "yes", "--cluster-preferred-endpoint-type", "unknown-endpoint"]
    with run_redis(tmp_path, _low_port(), options=options) as url, redis.Redis.from_url(url) as node:
        node.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        until(lambda: bool(node.set("a", "1")))
        client = open_client(Where(url.removeprefix("redis://"), RedisType.CLUSTER))
        try:
            async with asyncio.timeout(2):
                assert list(await client.get([b"a"])) == [b"1"]
        finally:
            await client.close()


async def test_a_watch_outlives_a_look_that_fails() -> None:
    looks = list[int]()

    async def look() -> None:
        looks.append(len(looks))
        if len(looks) == 1:
            raise AttributeError("a bug")

    watch = Watch(look)
    try:
        async with asyncio.timeout(1.5):
            await watch.looked()
    finally:
        await watch.close()
    assert len(looks) > 1


@contextmanager
def sentinel(folder: Path, master: int) -> Iterator[int]:
    """The port of a Sentinel."""
    port, settings = free_port(), folder / "sentinel.conf"
    settings.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor mymaster 127.0.0.1 {master} 1\n")
    command = [str(find_redis_server()), str(settings), "--sentinel"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: bool(redis.Redis(port=port).ping()))
        yield port
    finally:
        process.kill()
        process.wait()


async def test_a_sentinel_that_hangs_is_passed_over(where: Where, tmp_path: Path) -> None:
    fill(connect(where), range(3))
    async with saying(b"") as hanging:
        with sentinel(tmp_path, int(where.connection_string.rpartition(":")[2])) as port:
            both = Where(f"{hanging.connection_string},127.0.0.1:{port}", RedisType.SENTINEL)
            async with reading(both, patience_s=0.1) as reader, asyncio.timeout(2):
                while (await read(reader, 1)).found.tolist() != [Status.PRESENT]:
                    await asyncio.sleep(0.05)


async def test_a_plan_without_views_leaves_the_connection_as_it_is(where: Where, tmp_path: Path) -> None:
    connect(where).set("a", "1")
    with sentinel(tmp_path, int(where.connection_string.rpartition(":")[2])) as port:
        client = open_client(Where(f"127.0.0.1:{port}", RedisType.SENTINEL))
        try:
            assert list(await client.get([b"a"])) == [b"1"]
            async with asyncio.timeout(1):
                assert list(await client.hashes([])) == []
                assert list(await client.get([b"a"])) == [b"1"]
        finally:
            await client.close()


class TestDialling:
    """A Redis that lets nobody in."""

    async def test_a_redis_that_is_full_is_not_dialled_over_and_over(self, tmp_path: Path) -> None:
        with run_redis(tmp_path, free_port()) as url, redis.Redis.from_url(url) as holding:
            holding.config_set("maxclients", 1)
            async with reading(Where(url)) as reader:
                for _ in range(10):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await read(reader, 1)
                    await asyncio.sleep(0.05)
                assert holding.info("stats")["rejected_connections"] < 40

    async def test_a_reply_that_nobody_asked_for_ends_the_connection_and_nothing_else(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with saying(b"-ERR max number of clients reached\r\n" * 3) as where, reading(where) as reader:
            for _ in range(3):
                async with asyncio.timeout(2):
                    await read(reader, 1)
                await asyncio.sleep(0.05)
        assert "Fatal error" not in caplog.text

    async def test_a_redis_that_hangs_at_the_door_costs_no_sockets(self, tmp_path: Path) -> None:
        with run_redis(tmp_path, free_port()) as url, redis.Redis.from_url(url) as client:
            client.config_set("requirepass", "p")
            pid = int(redis.Redis.from_url(url, password="p").info("server")["process_id"])
            os.kill(pid, signal.SIGSTOP)
            try:
                node = Node("127.0.0.1", int(url.rpartition(":")[2]), Access(password="p", patience_s=0.02))
                before = len(os.listdir("/proc/self/fd"))
                for _ in range(10):
                    with suppress(StoreUnreachable):
                        await node.send(b"")
                    await asyncio.sleep(0.1)
                after = len(os.listdir("/proc/self/fd"))
                await node.close()
            finally:
                os.kill(pid, signal.SIGCONT)
        assert after - before <= 1

    @pytest.mark.parametrize("address", ["127.0.0.1:99999", f"{'a' * 70}.example:6379"])
    async def test_an_address_that_is_none_is_refused_or_unreachable(self, address: str) -> None:
        try:
            client = open_client(Where(address))
        except BadConnection:
            return
        try:
            async with asyncio.timeout(1):
                assert list(await client.get([b"a"])) == [UNREACHED]
        finally:
            await client.close()
