"""The scorer in one's own process: the server's answers without a server, and features that the caller sends."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockstep.bundle import build
from lockstep.errors import BadColumn, BadRequest, DefinitionDiffers, RowRefused, UnknownColumn, UnknownModel
from lockstep.graph import log_odds
from lockstep.model_store import ModelStore
from lockstep.plan import Plan
from lockstep.redis_server import run_redis
from lockstep.resolve import ViewRows
from lockstep.status import Rung, Status
from lockstep.times import MINUTE, SECOND
from serving import AsyncLocalScorer, LocalScorer
from serving.scorer import Scores
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader, bundle_files, publish, row
from tests.serving.conftest import Client, column, request

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scorer(settings: Settings, reader: MemoryReader) -> Iterator[LocalScorer]:
    with LocalScorer("tiny", settings=settings, reader=reader) as made:
        yield made


def odds(answer: Scores) -> list[float]:
    rounded: list[float] = log_odds(answer.scores).round(4).tolist()
    return rounded


# By key, as the server answers.


async def test_it_answers_what_the_server_answers(client: Client, settings: Settings, reader: MemoryReader) -> None:
    asked: dict[str, list[Any]] = {"ip": [1, 2, 3, 9], "bid": [0.5], "site": ["", "a", "", "abc"]}
    times = [NOON, NOON, NOON + 2 * MINUTE, NOON]
    reply = await client.ask(request(*(column(name, *values) for name, values in asked.items()), t=times))
    async with AsyncLocalScorer("tiny", settings=settings, reader=MemoryReader(reader.rows)) as local:
        answer = await local.predict(asked, at=times)
    assert answer.scores.tolist() == list(reply.scores)
    assert (answer.model, answer.version, int(answer.rung)) == (reply.model, reply.version, int(reply.rung))
    assert [(view.view, view.counts, view.defaulted) for view in answer.views] == [
        (view.view, {count.status: count.count for count in view.counts}, view.defaulted) for view in reply.views
    ]


def test_single_values_are_one_row(scorer: LocalScorer) -> None:
    assert odds(scorer.predict({"ip": 1, "bid": 0.5}, at=NOON)) == [2.5]


def test_without_a_time_it_is_now(scorer: LocalScorer) -> None:
    assert scorer.predict({"ip": 1, "bid": 0.5}).views[0].counts == {Status.STALE: 2}


def test_threads_share_a_scorer(scorer: LocalScorer) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [{"ip": 1 + turn % 2, "bid": turn / 100} for turn in range(200)]
        answers = list(pool.map(lambda rows: odds(scorer.predict(rows, at=NOON)), asked))
    assert answers == [[round(turn / 100 + (2.0, 7.0)[turn % 2], 4)] for turn in range(200)]


def test_more_rows_than_a_server_takes_are_taken(scorer: LocalScorer) -> None:
    assert len(scorer.predict({"ip": np.ones(5_000, np.int64), "bid": 0.5}, at=NOON).scores) == 5_000


def test_a_version_stays_what_it_was_when_the_scorer_was_made(scorer: LocalScorer, store: ModelStore) -> None:
    publish(store, offset=1.0)
    assert (scorer.predict({"ip": 1, "bid": 0.5}, at=NOON).version, scorer.bundle.manifest.version) == ("1", "1")


def test_a_store_that_fails_is_a_rung_and_no_error(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryReader):
        async def read(self, *_: object) -> dict[str, ViewRows]:
            raise OSError("gone")

    with LocalScorer("tiny", settings=settings, reader=Broken()) as scorer:
        answer = scorer.predict({"ip": 1, "bid": 0.5}, at=NOON)
    assert (odds(answer), answer.rung) == ([-0.5], Rung.ALL_DEFAULTS)
    assert "the reader failed" in caplog.text


def test_a_store_that_is_slow_is_not_waited_for(settings: Settings) -> None:
    class Slow(MemoryReader):
        async def read(self, *_: object) -> dict[str, ViewRows]:
            return await asyncio.sleep(60, dict[str, ViewRows]())

    with LocalScorer("tiny", settings=settings, reader=Slow()) as scorer:
        assert scorer.predict({"ip": 1, "bid": 0.5}, at=NOON, timeout_s=0.05).rung is Rung.ALL_DEFAULTS


# Sent features.


def test_what_is_sent_wins_over_what_is_stored(scorer: LocalScorer) -> None:
    answer = scorer.predict({"ip": [1, 2, 9], "bid": 0.5}, features={"clicks": [1.0, 2.0, 3.0]}, at=NOON)
    assert odds(answer) == [1.5, 6.5, 3.5]  # the last click of address 2 is read as ever
    assert answer.views[0].counts == {Status.PRESENT: 1, Status.NULL: 1, Status.NOT_FOUND: 1}


def test_one_sent_value_holds_for_all_rows(scorer: LocalScorer) -> None:
    assert odds(scorer.predict({"ip": [1, 9], "bid": 0.5}, features={"clicks": 7}, at=NOON)) == [7.5, 7.5]


def test_a_sent_feature_says_that_it_came_with_the_request(scorer: LocalScorer) -> None:
    answer = scorer.predict({"ip": [1], "bid": 0.5}, features={"clicks": 7}, at=NOON, explain=True)
    assert answer.features is not None
    status = {one.column.name: one.status for one in answer.features.columns if one.status is not None}
    assert {name: Status(found[0]).name for name, found in status.items()} == {
        **dict.fromkeys(("ip", "bid", "clicks"), "REQUEST"),
        **dict.fromkeys(("site", "last_click"), "NULL"),
    }


def test_sent_nan_is_null_and_takes_the_default(scorer: LocalScorer) -> None:
    assert odds(scorer.predict({"ip": [1], "bid": 0.5}, features={"clicks": np.nan}, at=NOON)) == [-0.5]


def test_sent_times_are_times(scorer: LocalScorer) -> None:
    moment = datetime(2017, 11, 9, 11, 59, 57, tzinfo=UTC)
    answer = scorer.predict({"ip": [1], "bid": 0.5}, features={"last_click": moment}, at=NOON)
    assert odds(answer) == [5.5]
    again = scorer.predict(
        {"ip": [1], "bid": 0.5}, features={"last_click": [np.datetime64(moment.replace(tzinfo=None))]}, at=NOON
    )
    assert odds(again) == [5.5]


class Forbidden(MemoryReader):
    async def read(self, *_: object) -> dict[str, ViewRows]:
        raise AssertionError("there was nothing to read")


def test_a_strict_caller_gets_an_error_instead_of_a_default(scorer: LocalScorer) -> None:
    with pytest.raises(RowRefused, match="ip_activity"):
        scorer.predict({"ip": 9, "bid": 0.5}, at=NOON, strict=True)
    sent = {"clicks": 7, "last_click": float(NOON)}
    assert odds(scorer.predict({"ip": 9, "bid": 0.5}, features=sent, at=NOON, strict=True)) == [7.5]


@pytest.mark.parametrize("key", [{}, {"ip": 1}], ids=["without the key", "with the key"])
def test_with_all_features_sent_nothing_is_read(settings: Settings, key: dict[str, int]) -> None:
    with LocalScorer("tiny", settings=settings, reader=Forbidden()) as scorer:
        features = {"clicks": [1.0, 2.0], "last_click": [NOON - SECOND, NOON]}
        answer = scorer.predict({**key, "bid": 0.5}, features=features, at=NOON)
    assert (odds(answer), answer.rung, answer.views) == ([2.5, 2.5], Rung.FRESH, ())


@pytest.mark.parametrize(
    ("features", "error", "says"),
    [
        ({"clickz": 1.0}, UnknownColumn, "no such column. Did you mean 'clicks'"),
        ({"bid": 1.0}, BadColumn, "'bid': is no stored feature: every request carries it"),
        ({"seconds_since": 1.0}, BadColumn, "computed from event_timestamp, last_click; send those"),
        ({"event_timestamp": 1.0}, BadColumn, "is the time of the row; say it as t"),
        ({"clicks": "many"}, BadColumn, "'clicks': holds strings; expected float32"),
        ({"clicks": [1.0, 2.0, 3.0]}, BadColumn, "every column has one value, or one per row"),
        ({"clicks": [1.0, None]}, BadColumn, "'clicks', row 1: is a NoneType among others"),
    ],
)
def test_a_feature_that_cannot_be_sent_is_refused(
    scorer: LocalScorer, features: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says.replace("(", r"\(")):
        scorer.predict({"ip": [1, 2], "bid": 0.5}, features=features, at=NOON)


def test_a_stored_feature_among_the_rows_is_refused_and_told_where_to_go(scorer: LocalScorer) -> None:
    with pytest.raises(BadColumn, match="read from view 'ip_activity'; to send it instead, name it among the features"):
        scorer.predict({"ip": 1, "bid": 0.5, "clicks": 1.0}, at=NOON)


def test_many_mixes_do_not_pile_up(scorer: LocalScorer) -> None:
    for turn in range(3):
        for features in ({}, {"clicks": 1.0}, {"last_click": float(NOON)}, {"clicks": 1.0, "last_click": float(NOON)}):
            assert len(scorer.predict({"ip": turn, "bid": 0.5}, features=features, at=NOON).scores) == 1
    assert len(scorer._scorer._scorer._lanes) == 4


# In memory, never persisted.


def test_a_bundle_in_memory_needs_no_store(tmp_path: Path) -> None:
    settings = Settings(models_url=str(tmp_path / "nothing"))
    with LocalScorer(build(bundle_files(offset=1.0)), reader=MemoryReader({1: row()}), settings=settings) as scorer:
        assert odds(scorer.predict({"ip": 1, "bid": 0.5}, at=NOON)) == [3.5]
    assert not list(tmp_path.iterdir())


def test_a_bundle_in_memory_has_one_version() -> None:
    with pytest.raises(BadRequest, match="leave `version` out"):
        LocalScorer(build(bundle_files()), "2")


# Beginning and end.


def test_an_unknown_model_is_named(settings: Settings) -> None:
    with pytest.raises(UnknownModel, match=r"there is no model 'tinny'. Did you mean 'tiny'"):
        LocalScorer("tinny", settings=settings)


class Other(MemoryReader):
    async def prepare(self, plan: Plan) -> None:
        raise DefinitionDiffers(plan.views[0].name, ["clicks"])


def test_a_view_that_means_something_else_is_refused_and_the_reader_closed(settings: Settings) -> None:
    reader = Other()
    with pytest.raises(DefinitionDiffers, match="'ip_activity' was defined otherwise"):
        LocalScorer("tiny", settings=settings, reader=reader)
    assert reader.closed


async def test_so_it_is_with_await(settings: Settings) -> None:
    reader = Other()
    with pytest.raises(DefinitionDiffers):
        async with AsyncLocalScorer("tiny", settings=settings, reader=reader):
            pytest.fail("it was entered")
    assert reader.closed


def test_a_closed_scorer_says_so(settings: Settings) -> None:
    reader = MemoryReader()
    with LocalScorer("tiny", settings=settings, reader=reader) as scorer:
        pass
    assert reader.closed
    scorer.close()
    with pytest.raises(BadRequest, match="closed, or was made before a fork"):
        scorer.predict({"ip": 1, "bid": 0.5})


def test_it_reads_redis_and_says_what_is_not_there(store: ModelStore, tmp_path: Path) -> None:
    with run_redis(tmp_path / "redis") as url:
        settings = Settings(models_url=store.url, redis=url)
        with LocalScorer("tiny", settings=settings) as scorer:
            answer = scorer.predict({"ip": [1, 2], "bid": 0.5}, at=NOON)
    assert answer.views[0].counts == {Status.NOT_FOUND: 4}
    assert odds(answer) == [-0.5, -0.5]


def test_it_imports_neither_grpc_nor_feast_nor_pandas() -> None:
    code = "import sys; from serving import LocalScorer; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, check=True)
    loaded = done.stdout.decode()
    assert "'serving.local'" in loaded
    for name in ("grpc", "feast", "pandas", "sklearn", "redis"):
        assert f"'{name}'" not in loaded
