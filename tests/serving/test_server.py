"""The server over the wire: answers, refusals, failures of its parts, start and end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lockstep.errors import BadSetting
from lockstep.model_store import ModelStore
from lockstep.plan import Array, Plan
from lockstep.resolve import ViewRows
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.reader import Reader
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, PRIOR, TTL, MemoryReader, publish, row
from tests.serving.conftest import Client, column, found, odds, request

GOOD = request(column("ip", 1), column("bid", 0.5))


@asynccontextmanager
async def asking(settings: Settings, reader: Reader) -> AsyncIterator[Client]:
    """A client of a server with these parts."""
    async with running(settings, reader) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield Client(channel)


class TestAnswers:
    """What a good request gets."""

    async def test_scores_come_back_in_request_order(self, client: Client) -> None:
        reply = await client.ask(request(column("ip", 2, 9, 1), column("bid", 0.5, 0.25, 1.0)))
        assert odds(reply) == [0.5 + 3 + 4, 0.25 - 1, 1 + 2]

    async def test_a_column_of_length_one_is_broadcast_over_the_others(self, client: Client) -> None:
        reply = await client.ask(request(column("ip", 1), column("bid", *[i / 10 for i in range(100)])))
        assert odds(reply) == pytest.approx([2 + i / 10 for i in range(100)], abs=2e-4)

    async def test_optional_columns_take_part_when_sent(self, client: Client) -> None:
        reply = await client.ask(request(column("ip", 1), column("bid", 0.5), column("site", "ab", "news")))
        assert odds(reply) == [2.5 + 2, 2.5 + 4]

    async def test_whole_numbers_are_taken_for_a_float_column(self, client: Client) -> None:
        assert odds(await client.ask(request(column("ip", 1), column("bid", 3)))) == [5]

    async def test_the_answer_names_model_version_statuses_and_rung(self, client: Client) -> None:
        reply = await client.ask(request(column("ip", 1, 3, 9), column("bid", 0.5)))
        assert (reply.model, reply.version, reply.rung) == ("tiny", "1", pb.RUNG_DEFAULTS)
        # last_click is NULL for address 1, both features are for 3; 9 has no row
        assert found(reply) == {"PRESENT": 1, "NULL": 3, "NOT_FOUND": 2}
        assert reply.views[0].defaulted == 2

    async def test_an_answer_from_usable_rows_is_fresh_even_where_a_value_is_null(self, client: Client) -> None:
        assert (await client.ask(request(column("ip", 1, 2, 3), column("bid", 0.5)))).rung == pb.RUNG_FRESH

    async def test_versions_and_aliases_answer_side_by_side(
        self, store: ModelStore, server: Server, client: Client
    ) -> None:
        publish(store, offset=1.0, alias="challenger")
        await server.refresh()
        asked = {version: await client.ask(replaced(GOOD, version=version)) for version in ("", "challenger", "1", "2")}
        assert {version: (reply.version, *odds(reply)) for version, reply in asked.items()} == {
            "": ("1", 2.5),
            "challenger": ("2", 3.5),
            "1": ("1", 2.5),
            "2": ("2", 3.5),
        }


def replaced(good: pb.PredictRequest, version: str) -> pb.PredictRequest:
    """The request for another version."""
    changed = pb.PredictRequest()
    changed.CopyFrom(good)
    changed.version = version
    return changed


class TestTime:
    """The time t belongs to the request."""

    @pytest.mark.parametrize(
        ("t", "status"),
        [
            pytest.param(NOON - 1, "FUTURE", id="a microsecond before the row"),
            pytest.param(NOON, "PRESENT", id="at the row's time"),
            pytest.param(NOON + TTL, "PRESENT", id="at the end of its TTL"),
            pytest.param(NOON + TTL + 1, "STALE", id="a microsecond after its TTL"),
        ],
    )
    async def test_a_row_is_usable_from_its_time_to_the_end_of_its_ttl(
        self, client: Client, t: int, status: str
    ) -> None:
        assert found(await client.ask(request(column("ip", 2), column("bid", 0.5), t=[t]))) == {status: 2}

    async def test_every_row_has_its_own_time(self, client: Client) -> None:
        reply = await client.ask(request(column("ip", 2), column("bid", 0.5), t=[NOON, NOON + 1_000_000, NOON - 1]))
        assert odds(reply) == [0.5 + 3 + 4, 0.5 + 3 + 5, 0.5 - 1]

    async def test_without_a_time_the_clock_of_the_server_counts(self, reader: MemoryReader, client: Client) -> None:
        now = time.time_ns() // 1000
        reader.rows[7] = row(event_us=now)
        reader.rows[8] = row(event_us=now - TTL - 1)
        reply = await client.ask(request(column("ip", 7, 8), column("bid", 0.5), t=[]))
        assert found(reply) == {"PRESENT": 1, "NULL": 1, "STALE": 2}

    async def test_a_setting_refuses_times_of_the_caller(self, settings: Settings, reader: MemoryReader) -> None:
        async with asking(replace(settings, refuse_event_timestamps=True), reader) as client:
            code, message = await client.refused(GOOD)
            assert (code, "own clock" in message) == ("INVALID_ARGUMENT", True)
            assert (await client.ask(request(*GOOD.columns, t=[]))).rung == pb.RUNG_DEFAULTS


IP, BID = column("ip", 1), column("bid", 0.5)
BAD = {
    "unknown column": (request(IP, BID, column("bids", 0.5)), "INVALID_ARGUMENT", "'bids'", "Did you mean 'bid'?"),
    "missing join key": (request(BID), "INVALID_ARGUMENT", "'ip'", "missing", "int64 (join key)"),
    "missing feature": (request(IP), "INVALID_ARGUMENT", "'bid'", "missing", "float32"),
    "column sent twice": (request(IP, BID, IP), "INVALID_ARGUMENT", "'ip'", "twice"),
    "column without values": (request(pb.Column(name="ip"), BID), "INVALID_ARGUMENT", "'ip'", "no values"),
    "strings for int64": (request(column("ip", "1"), BID), "INVALID_ARGUMENT", "'ip'", "strings", "expected int64"),
    "floats for int64": (
        request(column("ip", 1.0), BID),
        "INVALID_ARGUMENT",
        "'ip'",
        "floating-point",
        "expected int64",
    ),
    "strings for float32": (request(IP, column("bid", "x")), "INVALID_ARGUMENT", "'bid'", "expected float32"),
    "numbers for strings": (request(IP, BID, column("site", 1)), "INVALID_ARGUMENT", "'site'", "expected strings"),
    "lengths that do not broadcast": (
        request(column("ip", 1, 2, 3), column("bid", 0.5, 0.5)),
        "INVALID_ARGUMENT",
        "'bid'",
        "2 values",
        "'ip' has 3",
    ),
    "times that do not broadcast": (
        request(column("ip", 1, 2, 3), BID, t=[NOON, NOON]),
        "INVALID_ARGUMENT",
        "'event_timestamp_us'",
        "2 values",
    ),
    "time in nanoseconds": (
        request(column("ip", 1, 2), BID, t=[NOON, NOON * 1000]),
        "INVALID_ARGUMENT",
        "'event_timestamp_us', row 1",
        "microseconds",
    ),
    "no rows": (request(column("ip"), BID), "INVALID_ARGUMENT", "'ip'", "no rows"),
    "too many rows": (request(column("ip", *range(1001)), BID), "INVALID_ARGUMENT", "1001 rows", "at most 1000"),
    "overlong string": (
        request(IP, BID, column("site", "a", "é" * 513)),
        "INVALID_ARGUMENT",
        "'site', row 1",
        "1026 bytes",
        "at most 1024",
    ),
    "no model named": (request(IP, BID, model=""), "INVALID_ARGUMENT", "names no model"),
    "unknown model": (request(IP, BID, model="tini"), "NOT_FOUND", "'tini'", "Did you mean 'tiny'?"),
    "unknown version": (request(IP, BID, version="7"), "NOT_FOUND", "'7'", "1, champion"),
    "unknown alias": (request(IP, BID, version="champ"), "NOT_FOUND", "'champ'", "Did you mean 'champion'?"),
}


class TestRefusals:
    """What a bad request gets: a precise sentence, and the server goes on."""

    @pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
    async def test_bad_input_is_refused_by_name_and_the_server_goes_on(
        self, client: Client, bad: tuple[object, ...]
    ) -> None:
        wrong, code, *fragments = bad
        assert isinstance(wrong, pb.PredictRequest)
        refused, message = await client.refused(wrong)
        assert refused == code
        assert [fragment for fragment in fragments if str(fragment) not in message] == [], message
        assert odds(await client.ask(GOOD)) == [2.5]

    async def test_bytes_that_are_no_message_are_the_callers_error(self, client: Client) -> None:
        raw = client.channel.unary_unary("/lockstep.v1.Scorer/Predict")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await raw(b"\xff\xff\xff")
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert odds(await client.ask(GOOD)) == [2.5]

    async def test_a_message_over_the_limit_is_refused(self, settings: Settings, reader: MemoryReader) -> None:
        async with asking(replace(settings, max_message_bytes=2_000), reader) as client:
            code, _ = await client.refused(request(column("ip", *[2**60] * 500), BID))
            assert code == "RESOURCE_EXHAUSTED"
            assert odds(await client.ask(GOOD)) == [2.5]

    async def test_without_a_model_the_server_says_that_it_has_none_yet(
        self, settings: Settings, reader: MemoryReader, tmp_path: Path
    ) -> None:
        async with asking(replace(settings, models_url=str(tmp_path / "empty")), reader) as client:
            code, message = await client.refused(GOOD)
        assert (code, "publish and promote" in message) == ("UNAVAILABLE", True)


class SilentReader(MemoryReader):
    """A reader that never answers; `cancelled` says whether it was told to give up."""

    def __init__(self, *, stubborn: bool = False) -> None:
        super().__init__()
        self.started, self.cancelled, self.stubborn = asyncio.Event(), asyncio.Event(), stubborn
        self.released = asyncio.Event()

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """Never, or not before it is released."""
        self.started.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            if not self.stubborn:
                raise
            await self.released.wait()
        return {}

    async def close(self) -> None:
        """Let the stubborn go."""
        self.released.set()


class FailingReader(MemoryReader):
    """A reader with a bug."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """Always fails."""
        raise ZeroDivisionError("a bug")


class ForgetfulReader(MemoryReader):
    """A reader that breaks its contract: it leaves a view out."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """Nothing at all."""
        return {}


class TestLadder:
    """What an answer falls back to."""

    @pytest.mark.parametrize("stubborn", [False, True], ids=["gives up when cancelled", "never gives up"])
    async def test_a_store_that_never_answers_costs_its_share_of_the_deadline(
        self, settings: Settings, stubborn: bool
    ) -> None:
        async with asking(replace(settings, reader_share=0.1), SilentReader(stubborn=stubborn)) as client:
            started = time.monotonic()
            reply = await client.ask(GOOD, timeout=2)
            assert 0.19 < time.monotonic() - started < 2
        assert (odds(reply), reply.rung, found(reply)) == ([-0.5], pb.RUNG_ALL_DEFAULTS, {"UNREACHABLE": 2})

    async def test_a_store_that_says_nothing_delays_the_start_once_and_not_for_every_version(
        self, settings: Settings, store: ModelStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Mute(MemoryReader):
            async def prepare(self, plan: Plan) -> None:
                await asyncio.sleep(60)

        monkeypatch.setattr("serving.server.PREPARE_S", 1.0)
        monkeypatch.setattr("serving.server.SILENT_PREPARE_S", 0.01)
        for _ in range(3):
            publish(store)
        started = time.monotonic()
        async with running(replace(settings, newest_versions=4), Mute()) as server:
            assert time.monotonic() - started < 3.0
            assert server.catalogue.versions("tiny") == ["1", "2", "3", "4"]
        assert caplog.text.count("the model is served unchecked") == 4

    async def test_a_request_without_a_deadline_has_the_default_one(self, settings: Settings) -> None:
        async with asking(replace(settings, default_deadline_ms=50), SilentReader()) as client, asyncio.timeout(5):
            assert (await client.ask(GOOD)).rung == pb.RUNG_ALL_DEFAULTS

    async def test_a_deadline_beyond_the_longest_one_counts_as_that(self, settings: Settings) -> None:
        async with asking(replace(settings, max_deadline_ms=50), SilentReader()) as client, asyncio.timeout(5):
            assert (await client.ask(GOOD, timeout=600)).rung == pb.RUNG_ALL_DEFAULTS

    async def test_a_store_that_fails_is_logged_and_every_stored_feature_takes_its_default(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with asking(settings, FailingReader()) as client:
            reply = await client.ask(GOOD)
        assert (odds(reply), reply.rung) == ([-0.5], pb.RUNG_ALL_DEFAULTS)
        assert "ZeroDivisionError: a bug" in caplog.text

    async def test_a_model_that_fails_is_logged_and_its_prior_answers(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        reply = await client.ask(request(column("ip", 1, 2), BID, column("site", "boom")))
        assert (list(reply.scores), reply.rung) == ([PRIOR, PRIOR], pb.RUNG_PRIOR)
        assert "ValueError: boom" in caplog.text
        assert odds(await client.ask(GOOD)) == [2.5]

    async def test_a_row_for_which_the_model_gives_no_number_gets_the_prior_and_the_others_their_scores(
        self, client: Client
    ) -> None:
        reply = await client.ask(request(column("ip", 1), column("bid", 0.5, float("nan"))))
        assert (odds(reply)[0], reply.scores[1], reply.rung) == (2.5, PRIOR, pb.RUNG_PRIOR)

    async def test_an_unforeseen_error_is_logged_whole_and_leaves_as_internal_error(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with asking(settings, ForgetfulReader()) as client:
            assert await client.refused(GOOD) == ("INTERNAL", "internal error")
        assert "KeyError: 'ip_activity'" in caplog.text

    async def test_a_caller_that_gives_up_frees_the_reader(self, settings: Settings) -> None:
        reader = SilentReader()
        async with asking(replace(settings, default_deadline_ms=60_000), reader) as client, asyncio.timeout(5):
            call = client.stub.Predict(GOOD)
            await reader.started.wait()
            call.cancel()
            await reader.cancelled.wait()


class TestModels:
    """Versions come and go while the server runs."""

    async def test_a_promoted_version_is_picked_up_while_the_server_runs(
        self, store: ModelStore, settings: Settings, reader: MemoryReader
    ) -> None:
        async with asking(replace(settings, poll_s=0.02), reader) as client, asyncio.timeout(10):
            publish(store, offset=1.0)
            while (await client.ask(GOOD)).version != "2":
                await asyncio.sleep(0.01)
            assert odds(await client.ask(GOOD)) == [3.5]
            store.rollback("tiny")
            while (await client.ask(GOOD)).version != "1":
                await asyncio.sleep(0.01)


class TestHealthAndReflection:
    """What a load balancer and grpcurl see."""

    async def health(self, client: Client, service: str) -> str:
        """SERVING, NOT_SERVING or the code of an error."""
        stub = health_pb2_grpc.HealthStub(client.channel)
        try:
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))

    async def test_server_service_and_every_model_have_a_health(self, client: Client) -> None:
        named = ("", "lockstep.v1.Scorer", "tiny", "unknown")
        assert [await self.health(client, name) for name in named] == ["SERVING", "SERVING", "SERVING", "NOT_FOUND"]

    async def test_a_server_is_not_serving_before_its_first_model(
        self, settings: Settings, reader: MemoryReader, tmp_path: Path
    ) -> None:
        store = ModelStore(tmp_path / "empty")
        empty = replace(settings, models_url=store.url)
        async with running(empty, reader) as server, grpc.aio.insecure_channel(server.address) as channel:
            client = Client(channel)
            assert await self.health(client, "") == "NOT_SERVING"
            publish(store)
            await server.refresh()
            assert [await self.health(client, name) for name in ("", "tiny")] == ["SERVING", "SERVING"]

    async def test_reflection_lists_the_services(self, client: Client) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        replies = [reply async for reply in stub.ServerReflectionInfo(asked)]
        assert {one.name for one in replies[0].list_services_response.service} == {
            "lockstep.v1.Scorer",
            "inference.GRPCInferenceService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


class TestStartAndEnd:
    """How a process comes up and goes down."""

    async def test_a_stopping_server_finishes_what_is_under_way_and_takes_nothing_new(self, settings: Settings) -> None:
        reader = SilentReader()
        server = Server(replace(settings, default_deadline_ms=500), reader)
        await server.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            client = Client(channel)
            under_way = asyncio.ensure_future(client.ask(GOOD))
            await reader.started.wait()
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0.05)
            code, _ = await client.refused(GOOD)
            assert (code, stopping.done()) == ("UNAVAILABLE", False)
            assert (await under_way).rung == pb.RUNG_ALL_DEFAULTS
        await stopping
        assert reader.released.is_set()

    async def test_a_port_that_is_taken_is_named(
        self, server: Server, settings: Settings, reader: MemoryReader
    ) -> None:
        with pytest.raises(BadSetting, match=f"{server.port}.*another server running"):
            async with running(replace(settings, port=server.port), reader):
                pass


@pytest.fixture
def process(settings: Settings) -> Iterator["subprocess.Popen[str]"]:
    """`python -m serving` with an empty reader in memory."""
    environment = {
        "LOCKSTEP_SERVE_PORT": "0",
        "LOCKSTEP_SERVE_MODELS_URL": settings.models_url,
        "LOCKSTEP_SERVE_READER": "tests.bundles:MemoryReader",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "serving"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        started.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_process_says_where_it_serves_and_ends_in_order(
    process: "subprocess.Popen[str]", stop: signal.Signals
) -> None:
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    assert line.startswith("lockstep serves on 127.0.0.1:")
    assert line.endswith(": tiny 1 (champion)\n")
    assert (await asyncio.to_thread(process.stdout.readline)).startswith("the page is http://127.0.0.1:")
    async with grpc.aio.insecure_channel(line.split()[3].rstrip(":")) as channel:
        assert odds(await Client(channel).ask(GOOD)) == [-0.5]
    process.send_signal(stop)
    out, err = await asyncio.to_thread(process.communicate, None, 10)
    assert (process.returncode, out, '"draining"' in err) == (0, "", True)


def test_a_process_that_cannot_start_says_why_in_one_sentence() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "serving"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "LOCKSTEP_SERVE_READER": "tests.bundles:Reader"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("serving: setting 'reader' is 'tests.bundles:Reader': ")
