"""The Open Inference Protocol over the wire, asked through the generated stub."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from lockstep.graph import log_odds
from lockstep.model_store import ModelStore
from lockstep.status import Rung
from protos.inference import grpc_service_pb2 as pb
from protos.inference import grpc_service_pb2_grpc
from serving.reader import Reader
from serving.servicer_oip import WINDOW
from serving.settings import Settings
from tests.bundles import NOON, PLAN, MemoryReader, publish
from tests.serving.oip_server import speaking
from tests.serving.tensors import infer, raw_infer, raw_of, tensor

GOOD = raw_infer(("ip", "INT64", [1]), ("bid", "FP32", [0.5]))


class Asking:
    """A caller: `await asking.ModelInfer(request)`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]

    def __getattr__(self, call: str) -> Any:
        return getattr(self.stub, call)

    async def refused(self, call: str, request: Any) -> tuple[str, str]:
        """Status and message of a request that must fail."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await getattr(self.stub, call)(request)
        return raised.value.code().name, raised.value.details() or ""


@asynccontextmanager
async def asking(settings: Settings, reader: Reader, **options: bool) -> AsyncIterator[Asking]:
    """A caller of a server with these parts."""
    async with speaking(settings, reader, **options) as address, grpc.aio.insecure_channel(address) as channel:
        yield Asking(channel)


@pytest.fixture
async def caller(settings: Settings, reader: MemoryReader) -> AsyncIterator[Asking]:
    async with asking(settings, reader) as one:
        yield one


def odds(reply: pb.ModelInferResponse) -> list[float]:
    """Log-odds of the scores, the first output: the sum that the tiny model computes."""
    raw = reply.raw_output_contents
    scores = np.frombuffer(raw[0]) if raw else np.array(reply.outputs[0].contents.fp64_contents)
    rounded: list[float] = log_odds(scores).round(4).tolist()
    return rounded


class TestInfer:
    """ModelInfer."""

    @pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
    async def test_scores_come_back_in_request_order(self, caller: Asking, raw: bool) -> None:
        asked = (
            raw_infer(("ip", "INT64", [2, 9, 1]), ("bid", "FP32", [0.5, 0.25, 1.0]))
            if raw
            else infer(tensor("ip", "INT64", 2, 9, 1), tensor("bid", "FP32", 0.5, 0.25, 1.0))
        )
        assert odds(await caller.ModelInfer(asked)) == [0.5 + 3 + 4, 0.25 - 1, 1 + 2]

    async def test_one_key_is_broadcast_over_many_candidates(self, caller: Asking) -> None:
        sites = ["", "ab", "a" * 9]
        asked = raw_infer(("ip", "INT64", [1]), ("bid", "FP64", [0.5]), ("site", "BYTES", sites))
        assert odds(await caller.ModelInfer(asked)) == [2.5, 4.5, 11.5]

    async def test_narrow_integers_are_keys_and_numbers(self, caller: Asking) -> None:
        asked = raw_infer(("ip", "UINT8", [1]), ("bid", "INT16", [3]))
        assert odds(await caller.ModelInfer(asked)) == [5]

    async def test_t_of_the_request_counts(self, caller: Asking) -> None:
        times = ("event_timestamp_us", "INT64", [NOON, NOON + 1_000_000, NOON - 1])
        asked = raw_infer(("ip", "INT64", [2]), ("bid", "FP32", [0.5]), times)
        assert odds(await caller.ModelInfer(asked)) == [0.5 + 3 + 4, 0.5 + 3 + 5, 0.5 - 1]

    async def test_a_server_at_its_own_clock_refuses_t_and_does_not_offer_it(
        self, settings: Settings, reader: MemoryReader
    ) -> None:
        async with asking(replace(settings, refuse_event_timestamps=True), reader) as caller:
            asked = raw_infer(("ip", "INT64", [1]), ("bid", "FP32", [0.5]), ("event_timestamp_us", "INT64", [NOON]))
            code, message = await caller.refused("ModelInfer", asked)
            assert (code, "own clock" in message) == ("INVALID_ARGUMENT", True)
            metadata = await caller.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
            assert [one.name for one in metadata.inputs] == ["ip", "bid", "site"]

    @pytest.mark.parametrize("version", ["", "1", "champion"])
    async def test_a_version_is_a_number_or_an_alias(self, caller: Asking, version: str) -> None:
        reply = await caller.ModelInfer(raw_infer(*COLUMNS, model_version=version, id="r7"))
        assert (reply.model_name, reply.model_version, reply.id) == ("tiny", "1", "r7")

    @pytest.mark.parametrize(
        ("bad", "code", "parts"),
        [
            pytest.param(infer(model_name="tin"), "NOT_FOUND", ("'tin'", "Did you mean 'tiny'"), id="model"),
            pytest.param(infer(model_version="9"), "NOT_FOUND", ("'9'", "Known: 1, champion"), id="version"),
            pytest.param(infer(), "INVALID_ARGUMENT", ("'ip'", "missing", "int64 (join key)"), id="nothing"),
            pytest.param(
                raw_infer(("ip", "INT64", [1, 2, 3]), ("bid", "FP32", [1, 2])),
                "INVALID_ARGUMENT",
                ("'bid'", "2 values", "'ip' has 3"),
                id="lengths",
            ),
            pytest.param(
                raw_infer(("ip", "INT64", [1]), ("bid", "FP32", [1]), ("site", "BYTES", ["a", "b" * 1025])),
                "INVALID_ARGUMENT",
                ("'site', row 1", "1025 bytes", "at most 1024"),
                id="overlong text",
            ),
            pytest.param(
                raw_infer(("ip", "FP64", [np.nan]), ("bid", "FP32", [1])),
                "INVALID_ARGUMENT",
                ("'ip'", "'FP64'", "expected int64"),
                id="NaN as a key",
            ),
            pytest.param(
                raw_infer(("ip", "INT64", [*range(1001)]), ("bid", "FP32", [1])),
                "INVALID_ARGUMENT",
                ("'ip'", "1001 rows", "at most 1000"),
                id="too many rows",
            ),
        ],
    )
    async def test_a_bad_request_is_refused_and_the_next_one_answered(
        self, caller: Asking, bad: pb.ModelInferRequest, code: str, parts: tuple[str, ...]
    ) -> None:
        found, message = await caller.refused("ModelInfer", bad)
        assert found == code
        assert all(part in message for part in parts), message
        assert odds(await caller.ModelInfer(GOOD)) == [2.5]

    async def test_a_timeout_in_the_request_shortens_the_deadline(self, settings: Settings) -> None:
        async with asking(replace(settings, default_deadline_ms=60_000), SilentReader()) as caller, asyncio.timeout(5):
            asked = infer(*GOOD.inputs, raw_input_contents=GOOD.raw_input_contents)
            asked.parameters["timeout"].int64_param = 50_000
            reply = await caller.ModelInfer(asked)
            assert (odds(reply), reply.parameters["rung"].int64_param) == ([-0.5], Rung.ALL_DEFAULTS)

    async def test_a_timeout_in_the_request_never_lengthens_the_deadline(self, settings: Settings) -> None:
        async with asking(replace(settings, max_deadline_ms=50), SilentReader()) as caller, asyncio.timeout(5):
            asked = infer(*GOOD.inputs, raw_input_contents=GOOD.raw_input_contents)
            asked.parameters["timeout"].int64_param = 60_000_000
            assert (await caller.ModelInfer(asked)).parameters["rung"].int64_param == Rung.ALL_DEFAULTS


COLUMNS = (("ip", "INT64", [1]), ("bid", "FP32", [0.5]))


class SilentReader(MemoryReader):
    """A store that never answers."""

    asked = 0
    given_up = 0

    async def read(self, *_: Any) -> Any:
        """Nothing, for a minute."""
        self.asked += 1
        try:
            await asyncio.sleep(60)
        finally:
            self.given_up += 1


class LimpingReader(MemoryReader):
    """A store that takes longer for low addresses: 0.2 s for 0, 0.1 s for 1, none for the others."""

    async def read(self, plan: Any, given: Any, rows: int) -> Any:
        """As a reader in memory, later."""
        await asyncio.sleep(max(0.0, 0.2 - 0.1 * float(given["ip"][0])))
        return await super().read(plan, given, rows)


class ForgetfulReader(MemoryReader):
    """Forgets a view, which no reader may."""

    async def read(self, *_: Any) -> Any:
        """No view at all."""
        return {}


def numbered(count: int) -> list[pb.ModelInferRequest]:
    """Requests for the addresses 0, 1, 2…, each with its number as id and as bid."""
    return [raw_infer(("ip", "INT64", [n]), ("bid", "FP32", [n]), id=str(n)) for n in range(count)]


class TestStream:
    """ModelStreamInfer."""

    async def test_replies_come_in_request_order_though_the_first_is_the_slowest(self, settings: Settings) -> None:
        async with asking(settings, LimpingReader()) as caller:
            replies = [one async for one in caller.ModelStreamInfer(iter(numbered(5)))]
        assert [one.infer_response.id for one in replies] == list("01234")
        assert [odds(one.infer_response) for one in replies] == [[n - 1] for n in range(5)]
        assert all(one.infer_response.parameters["triton_final_response"].bool_param for one in replies)

    async def test_a_stream_may_be_longer_than_what_is_under_way_at_once(self, caller: Asking) -> None:
        count = 3 * WINDOW + 1
        replies = [one async for one in caller.ModelStreamInfer(iter(numbered(count)))]
        assert [one.infer_response.id for one in replies] == [str(n) for n in range(count)]

    async def test_a_bad_request_is_answered_by_an_error_and_the_stream_goes_on(self, caller: Asking) -> None:
        bad = raw_infer(("ip", "INT64", [1]), id="bad")
        replies = [one async for one in caller.ModelStreamInfer(iter([GOOD, bad, GOOD]))]
        assert [bool(one.error_message) for one in replies] == [False, True, False]
        assert "column 'bid': missing" in replies[1].error_message
        assert replies[1].infer_response.id == "bad"

    async def test_an_unforeseen_error_is_logged_whole_and_leaves_as_internal_error(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with asking(settings, ForgetfulReader()) as caller:
            replies = [one async for one in caller.ModelStreamInfer(iter([GOOD, GOOD]))]
        assert [one.error_message for one in replies] == ["internal error"] * 2
        assert "KeyError: 'ip_activity'" in caplog.text

    async def test_a_caller_that_gives_up_frees_what_it_asked_for(self, settings: Settings) -> None:
        reader = SilentReader()
        async with asking(replace(settings, default_deadline_ms=60_000), reader) as caller, asyncio.timeout(5):
            call = caller.ModelStreamInfer(iter(numbered(3)))
            while reader.asked < 1:
                await asyncio.sleep(0.005)
            call.cancel()
            while reader.given_up < reader.asked:
                await asyncio.sleep(0.005)
            assert 1 <= reader.given_up == reader.asked

    async def test_an_empty_stream_ends(self, caller: Asking) -> None:
        assert [one async for one in caller.ModelStreamInfer(iter(()))] == []


class TestMetadata:
    """What the server says of itself and its models."""

    async def test_a_server_is_live_and_ready_with_its_first_model(
        self, settings: Settings, reader: MemoryReader, tmp_path: Path
    ) -> None:
        async with asking(replace(settings, models_url=str(tmp_path / "none")), reader) as caller:
            assert (await caller.ServerLive(pb.ServerLiveRequest())).live
            assert not (await caller.ServerReady(pb.ServerReadyRequest())).ready
            assert not (await caller.ModelReady(pb.ModelReadyRequest(name="tiny"))).ready
            assert (await caller.refused("ModelInfer", GOOD))[0] == "UNAVAILABLE"

    @pytest.mark.parametrize(
        ("name", "version", "ready"),
        [("tiny", "", True), ("tiny", "1", True), ("tiny", "champion", True), ("tiny", "2", False), ("x", "", False)],
    )
    async def test_a_model_is_ready_where_it_can_be_asked(
        self, caller: Asking, name: str, version: str, ready: bool
    ) -> None:
        assert (await caller.ServerReady(pb.ServerReadyRequest())).ready
        assert (await caller.ModelReady(pb.ModelReadyRequest(name=name, version=version))).ready == ready

    async def test_the_metadata_name_every_tensor(self, caller: Asking) -> None:
        metadata = await caller.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
        assert (metadata.name, list(metadata.versions), metadata.platform) == ("tiny", ["1"], "lockstep_onnx")
        assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [
            ("ip", "INT64", [-1]),
            ("bid", "FP32", [-1]),
            ("site", "BYTES", [-1]),
            ("event_timestamp_us", "INT64", [-1]),
        ]
        assert [(one.name, one.datatype, list(one.shape)) for one in metadata.outputs] == [
            ("score", "FP64", [-1]),
            ("rung", "INT32", [1]),
            ("model_version", "BYTES", [1]),
            ("status.ip_activity", "INT64", [8]),
            ("defaulted.ip_activity", "INT64", [1]),
        ]

    async def test_every_output_of_the_metadata_can_be_asked_for(self, caller: Asking) -> None:
        metadata = await caller.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
        names = tuple(one.name for one in metadata.outputs)
        reply = await caller.ModelInfer(raw_infer(*COLUMNS, outputs=names))
        assert [(one.name, one.datatype) for one in reply.outputs] == [
            (one.name, one.datatype) for one in metadata.outputs
        ]
        assert reply.raw_output_contents[names.index("model_version")] == raw_of("BYTES", "1")

    async def test_the_configuration_says_what_may_be_left_out(self, caller: Asking) -> None:
        config = (await caller.ModelConfig(pb.ModelConfigRequest(name="tiny"))).config
        assert [one.name for one in config.input if one.optional] == ["site", "event_timestamp_us"]
        assert [pb.DataType.Name(one.data_type) for one in config.input] == [
            "TYPE_INT64",
            "TYPE_FP32",
            "TYPE_STRING",
            "TYPE_INT64",
        ]
        assert (config.max_batch_size, len(config.output), set(PLAN.given)) == (0, 5, {"ip", "bid", "site"})

    async def test_server_metadata(self, caller: Asking) -> None:
        metadata = await caller.ServerMetadata(pb.ServerMetadataRequest())
        assert (metadata.name, "statistics" in metadata.extensions) == ("lockstep", True)

    @pytest.mark.parametrize("call", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
    async def test_an_unknown_model_is_not_found(self, caller: Asking, call: str) -> None:
        code, message = await caller.refused(call, getattr(pb, f"{call}Request")(name="tin"))
        assert (code, "Did you mean 'tiny'" in message) == ("NOT_FOUND", True)


def by_version(reply: pb.ModelStatisticsResponse) -> dict[str, tuple[int, int, int, int]]:
    """Rows, answers, refusals and timed stages by version."""
    return {
        one.version: (
            one.inference_count,
            one.execution_count,
            one.inference_stats.fail.count,
            one.inference_stats.compute_infer.count,
        )
        for one in reply.model_stats
    }


async def test_statistics_count_rows_answers_and_refusals_of_each_version(
    store: ModelStore, settings: Settings, reader: MemoryReader
) -> None:
    publish(store, alias="challenger")
    async with asking(settings, reader) as caller:
        await caller.ModelInfer(raw_infer(("ip", "INT64", [1, 2, 3]), ("bid", "FP32", [0.5])))
        await caller.refused("ModelInfer", raw_infer(("ip", "INT64", [1])))
        async for _ in caller.ModelStreamInfer(iter([GOOD])):
            pass
        reply = await caller.ModelStatistics(pb.ModelStatisticsRequest())
        assert by_version(reply) == {"1": (4, 2, 1, 2), "2": (0, 0, 0, 0)}
        stages = reply.model_stats[0].inference_stats
        assert 0 < stages.compute_input.ns + stages.compute_infer.ns + stages.compute_output.ns == stages.success.ns
        assert reply.model_stats[0].last_inference > 1e12
        one = await caller.ModelStatistics(pb.ModelStatisticsRequest(name="tiny", version="challenger"))
        assert by_version(one) == {"2": (0, 0, 0, 0)}
        assert len((await caller.ModelStatistics(pb.ModelStatisticsRequest(name="tiny"))).model_stats) == 2


class TestRepository:
    """RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload."""

    async def test_a_model_that_is_unloaded_is_refused_until_it_is_loaded_again(self, caller: Asking) -> None:
        await caller.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="tiny"))
        code, message = await caller.refused("ModelInfer", GOOD)
        assert (code, "RepositoryModelLoad" in message) == ("UNAVAILABLE", True)
        assert (await caller.refused("ModelStatistics", pb.ModelStatisticsRequest(name="tiny")))[0] == "UNAVAILABLE"
        await caller.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="tiny"))
        assert odds(await caller.ModelInfer(GOOD)) == [2.5]

    async def test_the_index_lists_what_is_served_and_why_the_rest_is_not(
        self, store: ModelStore, settings: Settings, reader: MemoryReader
    ) -> None:
        for _ in range(3):
            publish(store, alias=None)
        async with asking(replace(settings, newest_versions=1), reader) as caller:
            index = await caller.RepositoryIndex(pb.RepositoryIndexRequest())
            assert [(one.name, one.version, one.state) for one in index.models] == [
                ("tiny", "1", "READY"),
                ("tiny", "2", "UNAVAILABLE"),
                ("tiny", "3", "UNAVAILABLE"),
                ("tiny", "4", "READY"),
            ]
            assert [one.reason[:26] for one in index.models] == ["", *["neither among the newest v"] * 2, ""]
            ready = await caller.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
            assert [one.version for one in ready.models] == ["1", "4"]

    async def test_loading_picks_up_what_was_published_meanwhile(self, store: ModelStore, caller: Asking) -> None:
        publish(store, offset=1.0)
        await caller.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="tiny"))
        assert odds(await caller.ModelInfer(GOOD)) == [3.5]

    @pytest.mark.parametrize(
        ("call", "request_", "code", "parts"),
        [
            ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="x"), "NOT_FOUND", ("'x'", "tiny")),
            ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=".."), "NOT_FOUND", ("'..'", "tiny")),
            ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="x"), "NOT_FOUND", ("'x'", "tiny")),
            ("RepositoryIndex", pb.RepositoryIndexRequest(repository_name="r"), "INVALID_ARGUMENT", ("'r'", "empty")),
            (
                "RepositoryModelLoad",
                pb.RepositoryModelLoadRequest(
                    model_name="tiny", parameters={"config": pb.ModelRepositoryParameter(string_param="{}")}
                ),
                "INVALID_ARGUMENT",
                ("'config'", "as it was published"),
            ),
        ],
        ids=["load unknown", "load outside", "unload unknown", "repository", "load with a configuration"],
    )
    async def test_what_cannot_be_done_is_refused(
        self, caller: Asking, call: str, request_: Any, code: str, parts: tuple[str, ...]
    ) -> None:
        found, message = await caller.refused(call, request_)
        assert found == code
        assert all(part in message for part in parts), message

    async def test_without_control_callers_neither_load_nor_unload_and_may_still_look(
        self, settings: Settings, reader: MemoryReader
    ) -> None:
        async with asking(settings, reader, repository_control=False) as caller:
            for call in ("RepositoryModelLoad", "RepositoryModelUnload"):
                code, message = await caller.refused(call, getattr(pb, f"{call}Request")(model_name="tiny"))
                assert (code, "LOCKSTEP_SERVE_OIP_REPOSITORY_CONTROL" in message) == ("PERMISSION_DENIED", True)
            assert len((await caller.RepositoryIndex(pb.RepositoryIndexRequest())).models) == 1
            assert odds(await caller.ModelInfer(GOOD)) == [2.5]
