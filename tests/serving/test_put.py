"""Rows that a scorer writes itself, on every topology: a row gives way to a newer one alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import redis

from lockstep.predictions import PredictionView
from lockstep.redis_server import free_port, run_redis
from lockstep.redis_where import RedisType, Where
from serving.redis import RedisClient, open_client
from tests.bundles import NOON
from tests.topologies import Watched

VIEW = PredictionView("tiny", "tiny_predictions")
REQUESTS = [f"request {number}".encode() for number in range(250)]
KEYS = VIEW.keys("1", REQUESTS)


def made(t: int) -> list[bytes]:
    count = len(REQUESTS)
    rows: list[bytes] = VIEW.pack(
        REQUESTS, np.linspace(0, 1, count), np.zeros(count, np.int8), np.full(count, t)
    ).to_pylist()
    return rows


@asynccontextmanager
async def opened(where: Where) -> AsyncIterator[RedisClient]:
    client = open_client(where, patience_s=1.0, node_s=1.0)
    try:
        yield client
    finally:
        await client.close()


async def check_a_row_gives_way_to_a_newer_one_alone(where: Where) -> None:
    async with opened(where) as client:
        for t, left in ((NOON, NOON), (NOON - 1, NOON), (NOON + 1, NOON + 1)):
            assert await client.put(KEYS, made(t), 60_000)
            assert list(await client.get(KEYS)) == made(left)


async def test_one_redis(tmp_path: Path) -> None:
    with run_redis(tmp_path / "redis", free_port()) as url:
        await check_a_row_gives_way_to_a_newer_one_alone(Where(url))
        with redis.Redis.from_url(url) as client:
            assert 0 < client.pttl(KEYS[0]) <= 60_000


async def test_a_cluster(redis_cluster: str) -> None:
    await check_a_row_gives_way_to_a_newer_one_alone(Where(redis_cluster, RedisType.CLUSTER))


async def test_the_master_that_sentinels_name(redis_sentinel: Watched) -> None:
    await check_a_row_gives_way_to_a_newer_one_alone(Where(redis_sentinel.connection_string, RedisType.SENTINEL))


async def test_rows_may_stay_for_ever(tmp_path: Path) -> None:
    with run_redis(tmp_path / "redis", free_port()) as url, redis.Redis.from_url(url) as plain:
        async with opened(Where(url)) as client:
            assert await client.put(KEYS[:1], made(NOON)[:1], None)
        assert plain.pttl(KEYS[0]) == -1


async def test_a_server_that_is_not_there_takes_nothing() -> None:
    async with opened(Where(f"127.0.0.1:{free_port()}")) as client:
        assert not await client.put(KEYS, made(NOON), 60_000)


async def test_a_server_that_refuses_takes_nothing_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with run_redis(tmp_path / "redis", free_port(), options=["--maxmemory", "1"]) as url:
        async with opened(Where(url)) as client:
            assert not await client.put(KEYS, made(NOON), 60_000)
    assert "Redis refused a write" in caplog.text
    assert "OOM command not allowed" in caplog.text  # Redis 6 says in which script, too
