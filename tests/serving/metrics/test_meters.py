"""What a real server exports after real calls."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from lockstep.model_store import ModelStore
from protos.lockstep.v1 import scorer_pb2 as pb
from protos.lockstep.v1 import scorer_pb2_grpc
from serving.metrics.families import FAMILIES, Stage
from serving.metrics.histogram import Distribution
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import MemoryReader, publish, row
from tests.serving.conftest import Client, column, request

TINY = ("tiny", "1")
GOOD = request(column("ip", 1, 2, 9), column("bid", 0.5))


@pytest.fixture
def counted(server: Server) -> Any:
    """The value of one series."""

    def of(name: str, *labels: str) -> Any:
        return server.samples()[name].get(labels)

    return of


def size(found: Distribution) -> int:
    return sum(found.counts)


async def test_a_call_is_counted_by_model_version_and_code(client: Client, counted: Any) -> None:
    for _ in range(3):
        await client.ask(GOOD)
    assert counted("lockstep_requests_total", "Predict", *TINY, "OK") == 3
    assert size(counted("lockstep_request_duration_seconds", "Predict", *TINY)) == 3
    assert counted("lockstep_request_duration_seconds", "Predict", *TINY).total > 0


async def test_failures_are_counted_for_the_model_they_named(client: Client, counted: Any) -> None:
    await client.refused(request(column("ipp", 1)))
    await client.refused(request(column("ip", 1), model="nobody knows"))
    await client.refused(request(column("ip", 1), version="champignon"))
    assert counted("lockstep_requests_total", "Predict", *TINY, "INVALID_ARGUMENT") == 1
    assert counted("lockstep_requests_total", "Predict", "", "", "NOT_FOUND") == 2


async def test_an_alias_is_counted_as_the_version_it_means(client: Client, counted: Any) -> None:
    await client.ask(request(column("ip", 1), column("bid", 0.5), version="champion"))
    assert counted("lockstep_requests_total", "Predict", *TINY, "OK") == 1


class Forever(MemoryReader):
    """A store that never answers."""

    async def read(self, *_: Any) -> Any:
        """Nothing."""
        await asyncio.Event().wait()


async def test_a_caller_that_leaves_is_counted(settings: Settings) -> None:
    series = "Predict", *TINY, "CANCELLED"
    async with running(settings, Forever()) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            under_way = asyncio.create_task(Client(channel).ask(GOOD))
            await asyncio.sleep(0.2)
            under_way.cancel()
            async with asyncio.timeout(5):
                while series not in server.samples().get("lockstep_requests_total", {}):
                    await asyncio.sleep(0.01)
        assert server.samples()["lockstep_requests_total"][series] == 1


async def test_rows_batches_rungs_and_features_are_counted(client: Client, counted: Any) -> None:
    await client.ask(GOOD)
    await client.ask(request(column("ip", 1), column("bid", 0.5)))
    assert counted("lockstep_rows_total", *TINY, "fresh") == 3
    assert counted("lockstep_rows_total", *TINY, "defaults") == 1
    assert counted("lockstep_rows_total", *TINY, "prior") == 0
    assert counted("lockstep_request_rows", *TINY).total == counted("lockstep_batch_rows", *TINY).total == 4
    assert counted("lockstep_batch_requests", *TINY).total == 2
    assert counted("lockstep_feature_values_total", *TINY, "ip_activity", "not_found") == 2
    assert counted("lockstep_feature_values_total", *TINY, "ip_activity", "unreachable") == 0
    assert counted("lockstep_feature_defaults_total", *TINY, "ip_activity") == 1
    assert size(counted("lockstep_feature_age_seconds", *TINY, "ip_activity")) == 3


async def test_every_stage_is_timed_and_together_they_fit_into_the_whole(client: Client, counted: Any) -> None:
    for _ in range(5):
        await client.ask(GOOD)
    stages = {stage: counted("lockstep_stage_duration_seconds", stage.label, *TINY) for stage in Stage}
    assert {stage: size(found) for stage, found in stages.items()} == dict.fromkeys(Stage, 5)
    whole = counted("lockstep_request_duration_seconds", "Predict", *TINY).total
    assert 0 < sum(found.total for found in stages.values()) <= whole


async def test_a_request_that_asks_for_its_features_is_counted_too(client: Client, counted: Any) -> None:
    asked = pb.PredictRequest()
    asked.CopyFrom(GOOD)
    asked.explain = True
    await client.ask(asked)
    await client.stub.GetFeatures(pb.GetFeaturesRequest(model="tiny", columns=GOOD.columns))
    assert counted("lockstep_rows_total", *TINY, "fresh") == 2
    assert counted("lockstep_requests_total", "GetFeatures", *TINY, "OK") == 1


async def test_requests_of_a_stream_are_counted_one_by_one(client: Client, counted: Any) -> None:
    async def asked() -> AsyncIterator[pb.PredictRequest]:
        for one in (GOOD, request(column("ipp", 1)), GOOD):
            yield one

    replies = [reply async for reply in client.stub.PredictStream(asked())]
    assert len(replies) == 3
    assert counted("lockstep_requests_total", "PredictStream", *TINY, "OK") == 2
    assert counted("lockstep_requests_total", "PredictStream", *TINY, "INVALID_ARGUMENT") == 1


async def test_other_calls_are_counted_without_a_model(client: Client, counted: Any) -> None:
    await client.stub.ListModels(pb.ListModelsRequest())
    assert counted("lockstep_requests_total", "ListModels", "", "", "OK") == 1


async def test_models_and_the_process_are_described(server: Server, counted: Any) -> None:
    assert counted("lockstep_ready") == 1
    assert counted("lockstep_model_info", *TINY, "onnx") == 1
    assert counted("lockstep_model_alias_info", *TINY, "champion") == 1
    assert counted("lockstep_queue_requests", *TINY) == 0
    assert counted("process_resident_memory_bytes", "1") > 10e6
    assert counted("process_cpu_seconds_total", "1") > 0


ELSEWHERE = {
    "lockstep_requests_total": "after the first call",
    "lockstep_request_duration_seconds": "after the first answer",
    "lockstep_model_refused_info": "where a version is refused",
    "lockstep_worker_restarts_total": "by the supervisor",
    "lockstep_redis_down": "by a reader of Redis",
    "lockstep_redis_failures_total": "by a reader of Redis",
}
"""What is exported, but not by every server from its start."""


async def test_a_server_exports_every_metric_of_the_table_from_its_start(server: Server) -> None:
    assert set(FAMILIES) - set(server.samples()) <= set(ELSEWHERE)


async def test_a_refused_version_is_named(store: ModelStore, settings: Settings) -> None:
    version = publish(store, alias=None)
    (Path(store.url) / "tiny" / version / "model.onnx").write_bytes(b"")
    async with running(settings, MemoryReader()) as server:
        assert server.samples()["lockstep_model_refused_info"] == {("tiny", "2"): 1.0}


async def test_series_of_a_version_end_when_it_is_no_longer_served(store: ModelStore, settings: Settings) -> None:
    async with running(settings, MemoryReader({1: row()})) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub: Any = scorer_pb2_grpc.ScorerStub(channel)  # type: ignore[no-untyped-call]
            await stub.Predict(GOOD)
        for _ in range(2):
            publish(store)
        await server.refresh()
        for name, values in server.samples().items():
            labels = FAMILIES[name].labels
            if "version" in labels:
                place = labels.index("version")
                assert {key[place] for key in values} <= {"2", "3", ""}, name
