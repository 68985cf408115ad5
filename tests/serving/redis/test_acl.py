"""The users of docs/security.md can do what their part of Lockstep does, and nothing else. On real servers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from lockstep.redis_server import free_port, run_redis
from lockstep.redis_where import RedisType, Where
from lockstep.status import Status
from lockstep.stores.records import begin_fill, delete_view, raise_watermark, watermark
from lockstep.stores.redis_connect import connect
from serving.redis import UNREACHED, open_client
from tests.serving.test_packed_reader import RECORD, fill, read, reading

LINES = [
    line.split()
    for line in (Path(__file__).parents[3] / "docs" / "security.md").read_text().splitlines()
    if line.startswith("    ACL SETUSER")
]
"""As a person types them: the scorer's, the scorer's in a cluster, the materializer's."""
FORBIDDEN: list[tuple[str | int, ...]] = [
    ("SET", "k", "v"),
    ("DEL", "k"),
    ("HSET", "k", "f", "v"),
    ("EVAL", "return 1", 0),
    ("KEYS", "*"),
    ("SCAN", 0),
    ("FLUSHALL",),
    ("CONFIG", "GET", "requirepass"),
    ("ACL", "LIST"),
    ("EXPIRE", "k", 1),
]


def made(admin: redis.Redis, line: list[str]) -> None:
    admin.execute_command(*[part.replace("PASSWORD", "p,w=1") for part in line])


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with run_redis(tmp_path_factory.mktemp("redis"), free_port()) as url, redis.Redis.from_url(url) as client:
        for line in (LINES[0], LINES[2]):
            made(client, line)
        yield client


@pytest.fixture
def address(admin: redis.Redis) -> str:
    """Of an empty Redis."""
    admin.flushall()
    admin.execute_command("ACL", "LOG", "RESET")
    return f"127.0.0.1:{admin.connection_pool.connection_kwargs['port']}"


def as_user(address: str, name: str, kind: RedisType = RedisType.REDIS) -> Where:
    return Where(address, kind, credentials={"username": name, "password": "p,w=1"})


def refusals(admin: redis.Redis) -> list[Any]:
    """What users were refused, by the server's own account.

    But for CLIENT SETINFO, with which redis-py introduces itself: it expects that servers before 7.2 refuse it.
    """
    entries = [dict(zip(each[::2], each[1::2], strict=True)) for each in admin.execute_command("ACL", "LOG")]
    return [entry[b"object"] for entry in entries if not entry[b"object"].startswith(b"client")]


def test_the_page_names_three_users() -> None:
    assert [line[2] for line in LINES] == ["scorer", "scorer", "materializer"]


async def test_the_scorer_reads_what_the_materializer_wrote(admin: redis.Redis, address: str) -> None:
    with connect(as_user(address, "materializer")) as writer:
        fill(writer, range(300))
    async with reading(as_user(address, "scorer")) as reader:
        found = await read(reader, 7, 500)
    assert found.found.tolist() == [Status.PRESENT, Status.NOT_FOUND]
    assert refusals(admin) == []


def test_the_materializer_does_all_of_its_work(admin: redis.Redis, address: str) -> None:
    with connect(as_user(address, "materializer")) as client:
        begun = begin_fill(client, RECORD)
        fill(client, range(2000))
        assert raise_watermark(client, RECORD, 5, begun)
        assert watermark(client, RECORD) == 5
        assert client.execute_command("WAIT", 0, 10) == 0
        assert delete_view(client, RECORD) == 2000
    assert refusals(admin) == []


@pytest.mark.parametrize("command", FORBIDDEN, ids=lambda command: str(command[0]))
def test_the_scorer_can_do_nothing_else(address: str, command: tuple[str | int, ...]) -> None:
    with connect(as_user(address, "scorer")) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


@pytest.mark.parametrize("command", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("KEYS", "*")], ids=str)
def test_the_materializer_can_administer_nothing(address: str, command: tuple[str, ...]) -> None:
    with connect(as_user(address, "materializer")) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


async def test_a_scorer_with_a_wrong_password_gets_no_rows_and_says_no_password(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = open_client(Where(address, credentials={"username": "scorer", "password": "hunter2"}))
    try:
        assert list(await client.get([b"k"])) == [UNREACHED]
    finally:
        await client.close()
    assert "hunter2" not in caplog.text


async def test_in_a_cluster_the_scorers_user_finds_every_node(redis_cluster: str) -> None:
    ports = [int(node.rpartition(":")[2]) for node in redis_cluster.split(",")]
    for port in ports:
        with redis.Redis(port=port) as node:
            node.flushall()
            made(node, LINES[1])
    with connect(Where(redis_cluster, RedisType.CLUSTER)) as writer:
        fill(writer, range(100))
    async with reading(as_user(redis_cluster, "scorer", RedisType.CLUSTER)) as reader:
        assert set((await read(reader, *range(100))).found.tolist()) == {Status.PRESENT}
    for port in ports:
        with redis.Redis(port=port) as node:
            assert refusals(node) == []
