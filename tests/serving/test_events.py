"""What a person should know is one line of the log each, and no request is one."""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import redis

from lockstep.bundle import build
from lockstep.cached_bundle import cached_files
from lockstep.cached_model import OnMiss
from lockstep.errors import Overloaded
from lockstep.model_store import ModelStore
from lockstep.plan import View, digest
from lockstep.prediction_key import PredictionKeys
from lockstep.predictions import Pointer, PredictionView, view_name
from lockstep.redis_server import free_port, run_redis
from lockstep.redis_where import Where
from lockstep.request import check
from serving.access.callers import Callers
from serving.models import Models
from serving.predictions import Predictions
from serving.redis import open_client
from serving.redis.terms import RedisClient
from serving.room import Room
from serving.statuses import failure_of
from tests.bundles import NOON, PLAN, TTL, publish
from tests.serving.conftest import Client, column, request
from tests.serving.processes import serving_process

LONG_S = 20.0


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def told(lines: pytest.LogCaptureFixture, *facts: str) -> list[tuple[Any, ...]]:
    """The messages so far, each with what it says of these facts; they are cleared."""
    found = [(one.getMessage(), *(vars(one).get(fact) for fact in facts)) for one in lines.records]
    lines.clear()
    return found


class TestModels:
    """Versions come, are promoted, are refused and go."""

    def test_a_promotion_and_a_rollback_are_a_line_each(
        self, store: ModelStore, lines: pytest.LogCaptureFixture
    ) -> None:
        models = Models(store, newest_versions=2)
        models.refresh()
        assert told(lines, "version", "before") == [("bundle loaded", "1", None), ("alias moved", "1", "")]
        publish(store)
        models.refresh()
        assert told(lines, "version", "before") == [("bundle loaded", "2", None), ("alias moved", "2", "1")]
        store.rollback("tiny")
        models.refresh()
        models.refresh()
        assert told(lines, "alias", "version", "before") == [("alias moved", "champion", "1", "2")]

    def test_what_is_served_no_longer_is_said(self, store: ModelStore, lines: pytest.LogCaptureFixture) -> None:
        models = Models(store, newest_versions=1)
        models.refresh()
        lines.clear()
        models.unload("tiny")
        assert told(lines, "model", "version") == [
            ("alias moved", "tiny", ""),
            ("version no longer served", "tiny", "1"),
        ]

    def test_a_version_that_stays_refused_is_said_once(
        self, store: ModelStore, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("serving.models.RETRY_S", 0.0)
        models = Models(store, newest_versions=2)
        models.refresh()
        lines.clear()
        damaged = Path(store.url) / "tiny" / publish(store) / "model.onnx"
        damaged.write_bytes(b"")
        for _ in range(3):
            models.refresh()
        assert told(lines, "version") == [("bundle refused, what was served before stays", "2")]
        damaged.unlink()
        models.refresh()
        assert told(lines, "version") == [("bundle refused, what was served before stays", "2")], "for another reason"


async def until(lines: pytest.LogCaptureFixture, words: str, client: RedisClient) -> str:
    """Ask until the log says so, and return that line."""
    asking_s = time.monotonic()
    while time.monotonic() - asking_s < LONG_S:
        await client.get([b"key"])
        for one in lines.records:
            if words in one.getMessage():
                return one.getMessage()
        await asyncio.sleep(0.02)
    raise AssertionError(f"nothing said {words!r}: {told(lines)}")


class TestRedis:
    """A store that is lost and comes back."""

    async def test_a_server_that_ends_and_is_there_again(self, tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
        port = free_port()
        client = open_client(Where(f"127.0.0.1:{port}"), patience_s=1.0)
        with run_redis(tmp_path / "first", port):
            await client.get([b"key"])
            assert told(lines) == [], "nothing was lost yet"
        await until(lines, f"Redis at 127.0.0.1:{port}: the connection was lost; it is dialled again", client)
        with run_redis(tmp_path / "second", port):
            await until(lines, f"Redis at 127.0.0.1:{port} answers again", client)
            await client.close()
        assert sum("answers again" in line for (line,) in told(lines)) == 1

    async def test_a_breaker_that_opens_and_closes(self, tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
        with run_redis(tmp_path) as url:
            client = open_client(Where(url.removeprefix("redis://")), patience_s=LONG_S, breaker_s=0.05)
            await client.get([b"key"])
            with redis.Redis.from_url(url) as own:
                pid = int(own.info("server")["process_id"])
            os.kill(pid, signal.SIGSTOP)
            await until(lines, "leaves commands unanswered; it is not asked until it answers", client)
            os.kill(pid, signal.SIGCONT)
            await until(lines, "answers again", client)
            await client.close()
        assert len(told(lines)) == 2


async def test_a_fill_that_flips_the_pointer_is_said_once(
    store: ModelStore, tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    behind, seen = store.manifest("tiny"), PredictionView(PLAN.project, view_name("tiny"))
    view = View(seen.name, (), TTL, digest(""))
    bundle = build(cached_files(behind, view, "cached", "1", on_miss=OnMiss.DEFAULT, default=0.5))
    asked = {"ip": np.array([1]), "bid": np.array([0.5])}
    given, _ = check(bundle.plan, asked, np.array([NOON]), max_rows=1)
    with run_redis(tmp_path / "redis") as url, redis.Redis.from_url(url) as own:
        client = open_client(Where(url.removeprefix("redis://")))
        predictions = Predictions(bundle, client, lambda: "1")
        for version in ("", "2", "2", "3"):
            if version:
                own.set(seen.pointer, Pointer(version, PredictionKeys(bundle.plan).sha256).to_bytes())
            await predictions.read(bundle.plan, given, 1)
        await client.close()
    said = "cached predictions come from another version"
    assert told(lines, "version", "before") == [(said, "2", ""), (said, "3", "2")]


def test_an_unforeseen_error_is_logged_once_a_minute_for_each_kind(lines: pytest.LogCaptureFixture) -> None:
    for error in (ZeroDivisionError(), ZeroDivisionError(), KeyError()):
        failure_of(error, "Predict")
    assert [reason for _, reason in told(lines, "reason")] == [
        "unforeseen ZeroDivisionError in Predict",
        "unforeseen ZeroDivisionError in Predict",
        "unforeseen KeyError in Predict",
    ]


def test_a_full_lane_is_said_once_a_minute(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("serving.room.time.monotonic", lambda: now_s[0])
    room = Room("tiny", max_rows=1, max_requests=1)
    room.take(1)
    for now_s[0] in (100.0, 101.0, 159.0, 161.0):
        with pytest.raises(Overloaded):
            room.take(1)
    assert told(lines, "model", "requests") == [("too much to do: callers are told to come again later", "tiny", 1)] * 2


def test_a_callers_file_that_changes_is_said(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "callers.toml"
    path.write_text("")
    callers = Callers("", path)
    callers.refresh()
    lines.clear()
    callers.refresh()
    assert told(lines) == []
    path.write_text("# nobody, said otherwise\n")
    callers.refresh()
    assert told(lines, "callers") == [("the callers' file was read", 0)]


class Log:
    """A server as a process, and what it wrote."""

    def __init__(self, store: ModelStore) -> None:
        self.process = serving_process(store.url)

    def address(self) -> str:
        """Where it listens, once it does."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()[3].rstrip(":")

    def end(self) -> list[dict[str, Any]]:
        """Its lines after SIGTERM."""
        self.process.terminate()
        return [json.loads(line) for line in self.process.communicate(timeout=LONG_S)[1].splitlines()]


@pytest.fixture
def log(store: ModelStore) -> Iterator[Log]:
    found = Log(store)
    with found.process:
        yield found
        found.process.kill()


async def test_the_life_of_a_server_is_a_few_lines_however_many_requests_it_answers(log: Log) -> None:
    address = await asyncio.to_thread(log.address)
    async with grpc.aio.insecure_channel(address) as channel:
        client = Client(channel)
        for _ in range(50):
            await client.ask(request(column("ip", 1), column("bid", 0.5)))
        assert (await client.refused(request(model="huge")))[0] == "NOT_FOUND"
    found = await asyncio.to_thread(log.end)
    assert [line["message"] for line in found] == [
        "bundle loaded",
        "alias moved",
        "page and metrics are open",
        "serving",
        "draining",
        "drained",
    ]
    assert {line["level"] for line in found} == {"INFO"}
    assert (found[3]["address"], found[3]["worker"]) == (address, 1)
    assert 0 <= found[5]["took_s"] < LONG_S
