"""A cached model on a real server and a real Redis: hits, misses of every kind, flips, one computation for many."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import redis

from lockstep.cached_bundle import cached_files
from lockstep.cached_model import OnMiss
from lockstep.errors import BadRequest
from lockstep.model_store import ModelStore
from lockstep.plan import Array, Plan, View, digest
from lockstep.prediction_key import PredictionKeys
from lockstep.predictions import Pointer, PredictionView, view_name
from lockstep.redis_server import free_port
from lockstep.resolve import ViewRows
from lockstep_client import AsyncClient, Cached, Origin, Prediction, Request, Rung, ScorerError, Status
from protos.inference import grpc_service_pb2 as oip
from protos.inference import grpc_service_pb2_grpc
from serving.local import AsyncLocalScorer
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, PLAN, PRIOR, TTL, MemoryReader, publish, row

VIEW = PredictionView(PLAN.project, view_name("tiny"))
KEYS = PredictionKeys(PLAN)
HIT, DEFAULT, LIVE = Origin
IPS = range(200)
DEFAULT_SCORE = 0.0625


@dataclass
class CountingReader(MemoryReader):
    """Features in memory, and how many rows were asked for them."""

    scored: list[int] = field(default_factory=list)
    pause_s: float = 0.0

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        self.scored += given["ip"].tolist()
        await asyncio.sleep(self.pause_s)
        return await super().read(plan, given, rows)


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    """Two versions of `tiny`, of which the second adds 1 to the log-odds, and two cached models."""
    made = ModelStore(tmp_path / "models")
    publish(made)
    publish(made, offset=1.0, alias=None)
    for name, on_miss in (("live", OnMiss.LIVE), ("stored", OnMiss.DEFAULT)):
        publish_cached(made, name, on_miss)
    return made


def publish_cached(models: ModelStore, name: str, on_miss: OnMiss) -> None:
    behind, view = models.manifest("tiny"), View(VIEW.name, (), TTL, digest(""))
    models.publish(name, lambda n: cached_files(behind, view, name, n, on_miss=on_miss, default=DEFAULT_SCORE))
    models.promote(name, "1")


@pytest.fixture
def reader() -> CountingReader:
    """Address i has i clicks at noon."""
    return CountingReader({ip: row(clicks=float(ip)) for ip in IPS})


@pytest.fixture
def settings(models: ModelStore, redis_url: str) -> Settings:
    return Settings(port=0, models_url=models.url, redis=redis_url, default_deadline_ms=5_000)


@pytest.fixture
async def server(settings: Settings, reader: CountingReader, redis_client: redis.Redis) -> AsyncIterator[Server]:
    async with running(settings, reader) as started:
        yield started


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address, timeout_s=8) as made:
        yield made


@asynccontextmanager
async def asking(settings: Settings, reader: CountingReader) -> AsyncIterator[AsyncClient]:
    async with running(settings, reader) as server, AsyncClient(server.address, timeout_s=8) as made:
        yield made


def put(client: redis.Redis, scores: Mapping[int, float], version: str = "1", t: int = NOON) -> None:
    """Predictions by address, of requests with a bid of half."""
    requests = asked(list(scores))
    rows = VIEW.pack(requests, np.array([*scores.values()]), np.zeros(len(scores), np.int8), np.full(len(scores), t))
    client.mset(dict(zip(VIEW.keys(version, requests), rows.to_pylist(), strict=True)))


def asked(ips: Sequence[int]) -> list[bytes]:
    return KEYS.of({"ip": np.array(ips), "bid": np.full(len(ips), 0.5, np.float32)}, len(ips))


def point(client: redis.Redis, version: str, keys: str = KEYS.sha256) -> None:
    client.set(VIEW.pointer, Pointer(version, keys).to_bytes())


async def ask(client: AsyncClient, model: str, *ips: int, t: int = NOON, **more: Any) -> Prediction:
    return await client.predict(model, {"ip": list(ips), "bid": 0.5}, at=t, **more)


def cached(answer: Prediction) -> Cached:
    assert answer.cached is not None
    return answer.cached


def origins(answer: Prediction) -> list[Origin]:
    return list(cached(answer).origins)


async def stored(client: AsyncClient, *ips: int, t: int = NOON) -> None:
    """Wait until live scores are kept."""
    async with asyncio.timeout(5):
        while set(origins(await ask(client, "stored", *ips, t=t))) != {HIT}:
            await asyncio.sleep(0.01)


class TestHits:
    """What is stored."""

    async def test_a_hit_is_the_live_score_of_its_version_bit_for_bit_on_every_key(
        self, client: AsyncClient, redis_client: redis.Redis, reader: CountingReader
    ) -> None:
        live = {version: await ask(client, "tiny", *IPS, version=version) for version in ("1", "2")}
        for version in ("1", "2"):
            point(redis_client, version)
            made = await ask(client, "live", *IPS)
            assert set(origins(made)) == {LIVE}
            np.testing.assert_array_equal(made.scores, live[version].scores)
            await stored(client, *IPS)
            reader.scored.clear()
            kept = await ask(client, "live", *IPS)
            assert set(origins(kept)) == {HIT}
            assert not reader.scored
            np.testing.assert_array_equal(kept.scores, live[version].scores)
            assert (cached(kept).model, cached(kept).version) == ("tiny", version)
            assert kept.rung == live[version].rung

    async def test_the_answer_says_how_old_each_score_is(self, client: AsyncClient, redis_client: redis.Redis) -> None:
        put(redis_client, {1: 0.25})
        put(redis_client, {2: 0.5}, t=NOON - 7)
        point(redis_client, "1")
        answer = await ask(client, "stored", 1, 2, 3, t=NOON + 5)
        assert cached(answer).age_us.tolist() == [5, 12, 0]
        assert answer.scores.tolist() == [0.25, 0.5, DEFAULT_SCORE]
        assert (answer.model, answer.version, origins(answer)) == ("stored", "1", [HIT, HIT, DEFAULT])

    @pytest.mark.parametrize(
        ("t", "status"),
        [
            pytest.param(NOON - 1, Status.FUTURE, id="a microsecond before it was made"),
            pytest.param(NOON, Status.PRESENT, id="when it was made"),
            pytest.param(NOON + TTL, Status.PRESENT, id="at the end of the TTL"),
            pytest.param(NOON + TTL + 1, Status.STALE, id="a microsecond after the TTL"),
        ],
    )
    async def test_a_prediction_is_usable_from_its_time_to_the_end_of_the_ttl(
        self, client: AsyncClient, redis_client: redis.Redis, t: int, status: Status
    ) -> None:
        put(redis_client, {1: 0.25})
        point(redis_client, "1")
        answer = await ask(client, "stored", 1, t=t)
        (view,) = answer.views
        hit = status is Status.PRESENT
        assert (view.view, view.counts, view.defaulted) == (VIEW.name, {status: 1}, 0 if hit else 1)
        assert origins(answer) == [HIT if hit else DEFAULT]
        assert answer.scores.tolist() == [0.25 if hit else DEFAULT_SCORE]

    async def test_a_column_sent_as_its_default_or_left_out_is_one_key(
        self, client: AsyncClient, redis_client: redis.Redis
    ) -> None:
        put(redis_client, {1: 0.25})
        point(redis_client, "1")
        for site, origin in (("", HIT), ("x", DEFAULT)):
            answer = await client.predict("stored", {"ip": 1, "bid": 0.5, "site": site}, at=NOON)
            assert origins(answer) == [origin]

    async def test_a_null_among_the_request_features_is_a_key_of_its_own(
        self, client: AsyncClient, redis_client: redis.Redis
    ) -> None:
        requests = KEYS.of({"ip": np.array([1]), "bid": np.array([np.nan], np.float32)}, 1)
        (row_,) = VIEW.pack(requests, np.array([0.25]), np.zeros(1, np.int8), np.array([NOON])).to_pylist()
        redis_client.set(VIEW.keys("1", requests)[0], row_)
        point(redis_client, "1")
        answer = await client.predict("stored", {"ip": 1, "bid": [float("nan"), 0.0, -float("nan")]}, at=NOON)
        assert origins(answer) == [HIT, DEFAULT, HIT]


class TestMisses:
    """What becomes of a request without a prediction."""

    async def test_with_the_default(
        self, client: AsyncClient, redis_client: redis.Redis, reader: CountingReader
    ) -> None:
        point(redis_client, "1")
        answer = await ask(client, "stored", 1, 2)
        assert answer.scores.tolist() == [DEFAULT_SCORE] * 2
        assert (answer.rung, origins(answer)) == (Rung.PRIOR, [DEFAULT] * 2)
        assert not reader.scored

    async def test_live_beside_hits_of_the_same_request(self, client: AsyncClient, redis_client: redis.Redis) -> None:
        put(redis_client, {1: 0.25})
        point(redis_client, "1")
        answer = await ask(client, "live", 1, 2)
        assert origins(answer) == [HIT, LIVE]
        assert answer.scores.tolist() == [0.25, (await ask(client, "tiny", 2)).scores[0]]
        assert answer.views[0].defaulted == 0

    async def test_a_stale_prediction_is_made_anew_and_an_older_one_never_replaces_a_newer(
        self, client: AsyncClient, redis_client: redis.Redis
    ) -> None:
        put(redis_client, {1: 0.25})
        point(redis_client, "1")
        later = NOON + TTL + 1
        assert origins(await ask(client, "live", 1, t=later)) == [LIVE]
        await stored(client, 1, t=later)
        assert origins(await ask(client, "live", 1, t=NOON)) == [LIVE], "made for a later t, it is no answer to this"
        await asyncio.sleep(0.05)
        assert origins(await ask(client, "stored", 1, t=later)) == [HIT]

    async def test_what_is_kept_expires_a_ttl_after_it_is_of_no_use(
        self, client: AsyncClient, redis_client: redis.Redis
    ) -> None:
        await ask(client, "live", 1)
        await stored(client, 1)
        (key,) = VIEW.keys("1", asked([1]))
        assert TTL // 1000 < redis_client.pttl(key) <= 2 * TTL // 1000

    async def test_a_score_of_last_resort_is_not_kept(
        self, client: AsyncClient, redis_client: redis.Redis, reader: CountingReader
    ) -> None:
        answer = await client.predict("live", {"ip": 1, "bid": 0.5, "site": "boom"}, at=NOON)
        assert (answer.rung, answer.scores.tolist(), origins(answer)) == (Rung.PRIOR, [PRIOR], [LIVE])
        await asyncio.sleep(0.05)
        assert redis_client.dbsize() == 0

    async def test_without_a_pointer_the_champion_answers(self, client: AsyncClient, redis_client: redis.Redis) -> None:
        answer = await ask(client, "live", 1)
        assert (origins(answer), cached(answer).version) == ([LIVE], "1")
        await stored(client, 1)

    async def test_a_version_that_is_not_served_here_answers_hits_and_the_default(
        self, client: AsyncClient, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        put(redis_client, {1: 0.25}, version="9")
        point(redis_client, "9")
        answer = await ask(client, "live", 1, 2)
        assert (answer.scores.tolist(), origins(answer)) == ([0.25, DEFAULT_SCORE], [HIT, DEFAULT])
        assert "a miss cannot be scored live: model 'tiny' has no version or alias '9'" in caplog.text

    async def test_predictions_of_a_model_with_other_columns_never_answer(
        self, client: AsyncClient, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        point(redis_client, "2", keys="other columns")
        assert origins(await ask(client, "stored", 1)) == [DEFAULT]
        assert "version 2 of 'tiny_predictions' takes other columns" in caplog.text

    async def test_a_pointer_that_cannot_be_read_is_said(
        self, client: AsyncClient, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        redis_client.set(VIEW.pointer, b"12")
        assert origins(await ask(client, "stored", 1)) == [DEFAULT]
        assert "the pointer of 'tiny_predictions' cannot be read" in caplog.text

    async def test_a_request_is_checked_as_the_models_own(self, client: AsyncClient) -> None:
        for columns, what in (
            ({"ip": 1}, "'bid': missing"),
            ({"ip": 1, "bid": 0.5, "prediction": 0.5}, "is read from view 'tiny_predictions'"),
        ):
            with pytest.raises(ScorerError, match=what):
                await client.predict("live", columns, at=NOON)
        with pytest.raises(ScorerError, match="ask the model behind it"):
            await client.predict("live", {"ip": 1, "bid": 0.5}, features={"prediction": 0.5}, at=NOON)


class TestDamage:
    """Rows that are no answer are misses, and are said."""

    @pytest.mark.parametrize("damage", ["a bit", "cut", "another request's", "nobody's"])
    async def test_a_row_that_is_no_answer(
        self, client: AsyncClient, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, damage: str
    ) -> None:
        put(redis_client, {1: 0.25, 2: 0.5})
        point(redis_client, "1")
        key, other = VIEW.keys("1", asked([1, 2]))
        whole: Any = redis_client.get(key)
        rows = {
            "a bit": bytes([*whole[:30], whole[30] ^ 1, *whole[31:]]),
            "cut": whole[:-1],
            "another request's": redis_client.get(other),
            "nobody's": b"some other program's",
        }
        redis_client.set(key, rows[damage])
        answer = await ask(client, "stored", 1, 2)
        assert (answer.scores.tolist(), origins(answer)) == ([DEFAULT_SCORE, 0.5], [DEFAULT, HIT])
        assert answer.views[0].counts == {Status.PRESENT: 1, Status.UNREADABLE: 1}
        assert f"damaged or of other requests, e.g. under key {key.hex()}" in caplog.text
        assert (await ask(client, "live", 1)).scores == (await ask(client, "tiny", 1)).scores


class TestFlips:
    """One pointer says which version answers."""

    async def test_a_flip_under_load_never_mixes_versions(self, client: AsyncClient, redis_client: redis.Redis) -> None:
        put(redis_client, dict.fromkeys(IPS, 0.25), version="1")
        put(redis_client, dict.fromkeys(IPS, 0.5), version="2")
        point(redis_client, "1")
        seen: set[tuple[str, float]] = set()
        stop = asyncio.Event()

        async def keep_asking(first: int) -> None:
            while not stop.is_set():
                answer = await ask(client, "live", *range(first, first + 20))
                assert set(origins(answer)) == {HIT}
                assert len(set(answer.scores)) == 1, "scores of two versions in one answer"
                seen.add((cached(answer).version, float(answer.scores[0])))

        async with asyncio.TaskGroup() as group:
            for first in range(0, 160, 20):
                group.create_task(keep_asking(first))
            for flip in range(40):
                await asyncio.sleep(0.01)
                await asyncio.to_thread(point, redis_client, "12"[flip % 2])
            stop.set()
        assert seen == {("1", 0.25), ("2", 0.5)}

    async def test_a_flip_is_seen_by_the_next_request(self, client: AsyncClient, redis_client: redis.Redis) -> None:
        put(redis_client, {1: 0.25}, version="1")
        put(redis_client, {1: 0.5}, version="2")
        for version, score in (("1", 0.25), ("2", 0.5), ("1", 0.25)):
            point(redis_client, version)
            assert (await ask(client, "live", 1)).scores.tolist() == [score]


class TestSingleFlight:
    """One computation for many callers of one key."""

    async def test_many_callers_of_one_key_wait_for_one_computation(
        self, client: AsyncClient, reader: CountingReader
    ) -> None:
        reader.pause_s = 0.1
        answers = await asyncio.gather(*(ask(client, "live", 7, t=NOON) for _ in range(50)))
        assert reader.scored == [7]
        assert {origin for answer in answers for origin in origins(answer)} <= {LIVE, HIT}
        assert len({answer.scores[0] for answer in answers}) == 1

    async def test_rows_of_one_request_share_it_too(self, client: AsyncClient, reader: CountingReader) -> None:
        answer = await ask(client, "live", 7, 8, 7, 7)
        assert sorted(reader.scored) == [7, 8]
        assert answer.scores[[0, 2, 3]].tolist() == [answer.scores[0]] * 3

    async def test_a_caller_of_a_later_t_takes_the_score_that_is_on_its_way_and_is_told_its_age(
        self, client: AsyncClient, reader: CountingReader
    ) -> None:
        reader.pause_s = 0.6
        first = asyncio.create_task(ask(client, "live", 7))
        await asyncio.sleep(0.2)
        later, earlier = await asyncio.gather(ask(client, "live", 7, t=NOON + 5), ask(client, "live", 7, t=NOON - 5))
        assert cached(later).age_us.tolist() == [5]
        assert later.scores == (await first).scores
        assert cached(earlier).age_us.tolist() == [0]
        assert reader.scored == [7, 7], "a score of a later t is no answer to an earlier one"

    async def test_a_caller_who_goes_away_takes_nobody_with_him(
        self, client: AsyncClient, reader: CountingReader
    ) -> None:
        reader.pause_s = 1.0
        first = asyncio.create_task(ask(client, "live", 7))
        await asyncio.sleep(0.2)
        second = asyncio.create_task(ask(client, "live", 7))
        await asyncio.sleep(0.2)
        first.cancel()
        assert origins(await second) == [LIVE]
        assert reader.scored == [7]


class TestFailures:
    """Stores that fail or are slow."""

    async def test_without_redis_the_default_or_a_live_score_answers(
        self, settings: Settings, reader: CountingReader
    ) -> None:
        async with asking(replace(settings, redis=f"127.0.0.1:{free_port()}"), reader) as client:
            default, live = await asyncio.gather(ask(client, "stored", 1), ask(client, "live", 1))
            assert (default.scores.tolist(), default.rung) == ([DEFAULT_SCORE], Rung.PRIOR)
            assert default.views[0].counts == {Status.UNREACHABLE: 1}
            assert (origins(live), live.scores) == ([LIVE], (await ask(client, "tiny", 1)).scores)

    async def test_a_request_has_its_answer_before_its_deadline(
        self, client: AsyncClient, reader: CountingReader, redis_client: redis.Redis
    ) -> None:
        put(redis_client, {1: 0.25})
        point(redis_client, "1")
        reader.pause_s = 10.0
        answer = await ask(client, "live", 1, 2, timeout_s=0.5)  # else DEADLINE_EXCEEDED
        assert answer.scores[0] == 0.25
        assert answer.rung > Rung.DEFAULTS


class TestInterfaces:
    """The same over every interface."""

    async def test_a_stream(self, client: AsyncClient, redis_client: redis.Redis) -> None:
        put(redis_client, {1: 0.25})
        point(redis_client, "1")
        requests = [Request("stored", {"ip": ip, "bid": 0.5}, at=NOON) for ip in (1, 2, 1)]
        answers = [answer async for answer in client.predict_stream(requests)]
        assert [origins(answer) for answer in answers if isinstance(answer, Prediction)] == [[HIT], [DEFAULT], [HIT]]

    async def test_the_open_inference_protocol(self, server: Server, redis_client: redis.Redis) -> None:
        put(redis_client, {1: 0.25})
        point(redis_client, "1")
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
            request = oip.ModelInferRequest(model_name="stored")
            request.parameters["event_timestamp_us"].int64_param = NOON + 3
            for name, datatype, values in (("ip", "INT64", [1, 2]), ("bid", "FP32", [0.5, 0.5])):
                tensor = request.inputs.add(name=name, datatype=datatype, shape=[2])
                contents = tensor.contents.int64_contents if datatype == "INT64" else tensor.contents.fp32_contents
                contents.extend(values)
            reply = await stub.ModelInfer(request)
        assert reply.outputs[0].contents.fp64_contents[:] == [0.25, DEFAULT_SCORE]
        told = {name: one.int64_param for name, one in reply.parameters.items() if name.startswith("cached_")}
        assert reply.parameters["cached_version"].string_param == "1"
        assert (told["cached_hit"], told["cached_default"], told["cached_live"], told["cached_oldest_us"]) == (
            1,
            1,
            0,
            3,
        )

    async def test_an_explained_answer_has_the_rung_of_each_row(
        self, client: AsyncClient, redis_client: redis.Redis
    ) -> None:
        put(redis_client, {1: 0.25})
        point(redis_client, "1")
        answer = await ask(client, "stored", 1, 2, explain=True)
        assert answer.row_rungs == (Rung.FRESH, Rung.PRIOR)
        assert origins(answer) == [HIT, DEFAULT]

    async def test_the_stored_prediction_is_a_feature_that_can_be_looked_at(
        self, client: AsyncClient, redis_client: redis.Redis
    ) -> None:
        put(redis_client, {1: 0.25}, t=NOON - 3)
        point(redis_client, "1")
        found = (await client.features("stored", {"ip": [1, 2], "bid": 0.5}, at=NOON)).features["prediction"]
        assert found.values.tolist() == [0.25, DEFAULT_SCORE]
        assert found.status == (Status.PRESENT, Status.NOT_FOUND)
        assert found.event_us.tolist() == [NOON - 3, 0]

    async def test_answers_of_other_models_say_nothing_of_a_cache(self, client: AsyncClient) -> None:
        assert (await ask(client, "tiny", 1)).cached is None

    def test_the_scorer_as_a_library_refuses_a_cached_model(self, models: ModelStore) -> None:
        with pytest.raises(BadRequest, match="answered by a server"):
            AsyncLocalScorer(models.load("live"))
