"""A Redis that does not answer costs the first requests a moment, and all others nothing."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from lockstep.redis_server import free_port, run_redis
from lockstep.redis_where import Where
from serving.metrics.samples import of
from serving.redis import UNREACHED, open_client
from serving.redis.breaker import Breaker
from serving.redis.nodes import node_samples
from serving.redis.terms import Answer, RedisClient

BREAKER_S = 0.25
AT_ONCE_S = 0.2  # a machine that is busy takes its time; what waits for the breaker takes longer


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_redis(tmp_path_factory.mktemp("redis"), free_port()) as found, redis.Redis.from_url(found) as client:
        client.set("key", "value")
        yield found


@asynccontextmanager
async def opened(where: str, patience_s: float = 5.0, breaker_s: float = BREAKER_S) -> AsyncIterator[RedisClient]:
    client = open_client(Where(where), patience_s=patience_s, breaker_s=breaker_s)
    try:
        yield client
    finally:
        await client.close()


@contextmanager
def frozen(url: str) -> Iterator[None]:
    with redis.Redis.from_url(url) as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def timed(client: RedisClient) -> tuple[Answer, float]:
    """What is found under the key, and the seconds it took."""
    began_s = time.monotonic()
    (answer,) = await client.get([b"key"])
    return answer, time.monotonic() - began_s


async def until(done: Callable[[], bool]) -> None:
    """Raises TimeoutError where it is not so within five seconds."""
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.01)


async def until_found(client: RedisClient) -> float:
    """Seconds until the key is found again."""
    began_s = time.monotonic()
    async with asyncio.timeout(5):
        while (await client.get([b"key"]))[0] != b"value":
            await asyncio.sleep(0.01)
    return time.monotonic() - began_s


async def test_a_frozen_redis_costs_the_first_reads_the_breakers_time_and_later_ones_nothing(url: str) -> None:
    async with opened(url) as client:
        await timed(client)
        with frozen(url):
            first = await asyncio.gather(*(timed(client) for _ in range(5)))
            later = [await timed(client) for _ in range(5)]
        assert {answer for answer, _ in first + later} == {UNREACHED}
        assert all(BREAKER_S <= took_s < BREAKER_S + AT_ONCE_S for _, took_s in first)
        assert max(took_s for _, took_s in later) < AT_ONCE_S


async def test_one_that_thaws_is_read_again_at_once_and_answers_are_not_mixed_up(url: str) -> None:
    async with opened(url) as client:
        await timed(client)
        with frozen(url):
            assert list(await client.get([b"other"] * 3)) == [UNREACHED] * 3
        assert await until_found(client) < 0.5
        assert list(await client.get([b"key", b"other"])) == [b"value", None]


async def test_one_that_is_frozen_for_longer_than_the_patience_is_read_again_within_two_seconds(url: str) -> None:
    async with opened(url, patience_s=0.5) as client:
        await timed(client)
        with frozen(url):
            await timed(client)
            await asyncio.sleep(1.5)
            assert (await timed(client))[1] < AT_ONCE_S
        assert await until_found(client) < 2.0


async def test_one_that_is_merely_slow_is_waited_for(url: str) -> None:
    async with opened(url, breaker_s=1.0) as client:
        await timed(client)
        with frozen(url):
            asking = asyncio.ensure_future(timed(client))
            await asyncio.sleep(0.2)
        answer, took_s = await asking
    assert (answer, took_s > 0.2) == (b"value", True)


async def test_one_that_was_killed_is_read_again_within_two_seconds_of_its_return(tmp_path: Path) -> None:
    port = free_port()
    with run_redis(tmp_path, port) as url:
        async with opened(url) as client:
            await timed(client)
            with redis.Redis.from_url(url) as killer:
                os.kill(int(killer.info("server")["process_id"]), signal.SIGKILL)
            await asyncio.sleep(1.0)
            answer, took_s = await timed(client)
            assert (answer, took_s < AT_ONCE_S) == (UNREACHED, True)
            with run_redis(tmp_path / "again", port) as again:
                with redis.Redis.from_url(again) as filler:
                    filler.set("key", "value")
                assert await until_found(client) < 2.0


async def test_a_server_that_accepts_and_says_nothing_is_not_taken_for_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts for it
        async with opened(f"127.0.0.1:{silent.getsockname()[1]}") as client:
            assert (await timed(client))[0] is UNREACHED
            assert (await timed(client))[1] < AT_ONCE_S


async def test_metrics_say_which_server_is_down_and_how_often_it_went(url: str) -> None:
    async with opened(url) as client:
        await timed(client)
        address = url.removeprefix("redis://")
        before = of(node_samples())
        with frozen(url):
            await timed(client)
            during = of(node_samples())
        await until_found(client)
        after = of(node_samples())
    down = [samples["lockstep_redis_down"][address,] for samples in (before, during, after)]
    failures = [samples["lockstep_redis_failures_total"][address,] for samples in (before, during, after)]
    assert down == [0.0, 1.0, 0.0]
    assert differences(failures) == [1.0, 0.0]


def differences(values: Sequence[object]) -> list[float]:
    """By how much each value exceeds the one before."""
    numbers = [float(str(value)) for value in values]
    return [later - earlier for earlier, later in pairwise(numbers)]


class TestAlone:
    """The breaker without a connection."""

    async def test_it_opens_once_closes_with_an_answer_and_watches_the_next_command_from_then(self) -> None:
        said, since = list[str](), [time.monotonic()]
        breaker = Breaker(
            0.05,
            10.0,
            oldest_s=lambda: since[0],
            opened=lambda: said.append("opened"),
            lost=lambda: said.append("lost"),
        )
        breaker.sent()
        await until(lambda: breaker.is_open)
        assert said == ["opened"]
        breaker.answered()
        assert not breaker.is_open
        await until(lambda: len(said) > 1)
        assert (said, breaker.is_open) == (["opened", "opened"], True)
        breaker.close()

    async def test_a_connection_that_says_nothing_for_long_is_lost(self) -> None:
        said, since = list[str](), time.monotonic()
        breaker = Breaker(
            0.02, 0.06, oldest_s=lambda: since, opened=lambda: said.append("opened"), lost=lambda: said.append("lost")
        )
        breaker.sent()
        await until(lambda: len(said) > 1)
        assert said == ["opened", "lost"]

    async def test_nothing_is_said_while_nothing_waits(self) -> None:
        said = list[str]()
        breaker = Breaker(
            0.01, 0.02, oldest_s=lambda: None, opened=lambda: said.append("opened"), lost=lambda: said.append("lost")
        )
        breaker.sent()
        await asyncio.sleep(0.05)
        assert (said, breaker.is_open) == ([], False)
