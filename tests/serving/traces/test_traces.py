"""A real server whose calls are traced, a caller that sends W3C context, and spans in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from lockstep.model_store import ModelStore
from lockstep.plan import Array, Plan
from lockstep.resolve import ViewRows
from protos.inference import grpc_service_pb2 as oip
from protos.inference import grpc_service_pb2_grpc
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.metrics.families import Stage
from serving.server import Server, running
from serving.settings import Settings
from serving.traces import spans as made
from tests.bundles import MemoryReader
from tests.serving.conftest import Client, column, request

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASKED = request(column("ip", 1, 2), column("bid", 0.5), t=[])
STAGES = [stage.label for stage in Stage]


def caller(flags: str = "01") -> tuple[tuple[str, str], ...]:
    """The metadata of a caller that traces, or does not: https://www.w3.org/TR/trace-context/."""
    return (("traceparent", f"00-{TRACE}-{CALLER}-{flags}"), ("tracestate", "vendor=of-caller"))


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Takes the spans of the servers of a test."""
    taken = InMemorySpanExporter()

    def provider(_: Settings) -> TracerProvider:
        found = TracerProvider(shutdown_on_exit=False)
        found.add_span_processor(SimpleSpanProcessor(taken))
        return found

    monkeypatch.setattr(made, "provider_of", provider)
    return taken


@pytest.fixture
def settings(store: ModelStore, exporter: InMemorySpanExporter) -> Settings:
    """No call begins a trace by itself."""
    return Settings(port=0, models_url=store.url, default_deadline_ms=5_000, traces=True, traces_ratio=0.0)


async def spans(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    """What was exported, the calls' own spans last; they are written just after the reply."""
    await asyncio.sleep(0.02)
    return list(exporter.get_finished_spans())


def facts(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Of its trace and of its parent."""
    assert span.context is not None
    assert span.parent is not None
    return format_trace_id(span.context.trace_id), format_span_id(span.parent.span_id)


def nanoseconds(span: ReadableSpan) -> int:
    """How long it lasted."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.end_time - span.start_time


async def test_a_call_is_one_span_of_the_callers_trace_with_its_stages_below_it(
    client: Client, exporter: InMemorySpanExporter
) -> None:
    await client.stub.Predict(ASKED, metadata=caller())
    *stages, call = await spans(exporter)
    assert ids(call) == (TRACE, CALLER)
    assert call.context is not None
    assert call.context.trace_state.to_header() == "vendor=of-caller"
    assert (call.name, call.kind) == ("lockstep.v1.Scorer/Predict", SpanKind.SERVER)
    assert {ids(stage) for stage in stages} == {(TRACE, format_span_id(call.context.span_id))}
    assert [stage.name for stage in stages] == [name for name in STAGES if name != "decode"]  # no Redis, no packed rows


async def test_a_span_says_model_version_rows_rung_and_status(client: Client, exporter: InMemorySpanExporter) -> None:
    await client.stub.Predict(ASKED, metadata=caller())
    *_, call = await spans(exporter)
    assert facts(call) == {
        "rpc.system.name": "grpc",
        "rpc.method": "lockstep.v1.Scorer/Predict",
        "rpc.response.status_code": "OK",
        "lockstep.model": "tiny",
        "lockstep.version": "1",
        "lockstep.rows": 2,
        "lockstep.rung": "defaults",
        "lockstep.batch.requests": 1,
        "lockstep.batch.rows": 2,
    }
    assert call.status.status_code is StatusCode.UNSET


async def test_stages_follow_each_other_within_their_call(client: Client, exporter: InMemorySpanExporter) -> None:
    await client.stub.Predict(ASKED, metadata=caller())
    *stages, call = await spans(exporter)
    moments = [moment for stage in stages for moment in (stage.start_time, stage.end_time)]
    whole = [call.start_time, *moments, call.end_time]
    assert whole == sorted(whole, key=int)  # type: ignore[arg-type] # None would be no number, and fail


async def test_requests_of_one_batch_have_each_their_own_queue_and_the_batchs_stages(
    client: Client, exporter: InMemorySpanExporter
) -> None:
    asked = [client.stub.Predict(request(column("ip", 1), column("bid", 0.5)), metadata=caller()) for _ in range(8)]
    await asyncio.gather(*asked)
    found = await spans(exporter)
    shared = [facts(span)["lockstep.batch.requests"] for span in found if span.kind is SpanKind.SERVER]
    assert len(shared) == len({span.start_time for span in found if span.name == "queue"}) == 8
    batches = round(sum(1 / requests for requests in shared))
    lasted = sorted(nanoseconds(span) for span in found if span.name == "model")
    assert batches < 8
    assert 1 + sum(later - earlier > 3 for earlier, later in pairwise(lasted)) == batches


@pytest.mark.parametrize(("ratio", "flags", "traced"), [(1.0, "00", False), (0.0, "01", True)], ids=["not", "traced"])
async def test_a_caller_that_says_whether_it_traces_is_followed(
    settings: Settings, reader: MemoryReader, exporter: InMemorySpanExporter, ratio: float, flags: str, traced: bool
) -> None:
    async with (
        running(replace(settings, traces_ratio=ratio), reader) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        await Client(channel).stub.Predict(ASKED, metadata=caller(flags))
        assert bool(await spans(exporter)) == traced


BROKEN = {
    "no context": (),
    "of zeros": (("traceparent", f"00-{'0' * 32}-{CALLER}-01"),),
    "not hex": (("traceparent", f"00-{'x' * 32}-{CALLER}-01"),),
}


@pytest.mark.parametrize("metadata", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_a_call_without_a_context_begins_a_trace_as_often_as_the_ratio_says(
    settings: Settings,
    reader: MemoryReader,
    exporter: InMemorySpanExporter,
    metadata: tuple[tuple[str, str], ...],
    ratio: float,
) -> None:
    async with (
        running(replace(settings, traces_ratio=ratio), reader) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        await Client(channel).stub.Predict(ASKED, metadata=metadata)
        found = await spans(exporter)
    assert [span.parent for span in found if span.kind is SpanKind.SERVER] == [None] * int(ratio)


async def test_a_call_that_fails_is_a_span_with_its_status_and_of_an_error_only_where_the_server_is_to_blame(
    client: Client, exporter: InMemorySpanExporter
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await client.stub.Predict(request(model="huge"), metadata=caller())
    with pytest.raises(grpc.aio.AioRpcError):
        await client.stub.Predict(request(column("bid", 0.5)), metadata=caller())
    unknown, bad = await spans(exporter)
    assert facts(unknown)["rpc.response.status_code"] == "NOT_FOUND"
    assert "lockstep.model" not in facts(unknown)
    assert (facts(bad)["rpc.response.status_code"], facts(bad)["lockstep.model"]) == ("INVALID_ARGUMENT", "tiny")
    assert {span.status.status_code for span in (unknown, bad)} == {StatusCode.UNSET}


class SlowReader(MemoryReader):
    """Takes longer than any caller waits."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        await asyncio.sleep(30)
        raise AssertionError("given up before")


async def test_a_caller_that_leaves_is_a_cancelled_span_and_is_forgotten(
    settings: Settings, exporter: InMemorySpanExporter
) -> None:
    async with running(settings, SlowReader()) as server, grpc.aio.insecure_channel(server.address) as channel:
        call = Client(channel).stub.Predict(ASKED, metadata=caller())
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.sleep(0.1)
        (found,) = await spans(exporter)
        assert server._traces is not None
        assert server._traces._in_lanes == {}
    assert facts(found)["rpc.response.status_code"] == "CANCELLED"


async def test_what_asks_for_more_than_scores_is_traced_without_the_stages_of_a_batch(
    client: Client, exporter: InMemorySpanExporter
) -> None:
    explained = pb.PredictRequest()
    explained.CopyFrom(ASKED)
    explained.explain = True
    await client.stub.Predict(explained, metadata=caller())
    await client.stub.GetFeatures(pb.GetFeaturesRequest(model="tiny", columns=ASKED.columns), metadata=caller())
    await client.stub.ListModels(pb.ListModelsRequest(), metadata=caller())
    found = await spans(exporter)
    assert [span.name.rpartition("/")[2] for span in found] == [
        *("encode", "Predict"),
        *("encode", "GetFeatures"),
        "ListModels",
    ]
    assert [facts(span).get("lockstep.rows") for span in found if span.kind is SpanKind.SERVER] == [2, 2, None]


async def test_a_stream_is_one_span_however_many_requests_it_has(
    client: Client, exporter: InMemorySpanExporter
) -> None:
    async def requests() -> AsyncIterator[pb.PredictRequest]:
        for _ in range(5):
            yield ASKED

    replies = [reply async for reply in client.stub.PredictStream(requests(), metadata=caller())]
    (call,) = await spans(exporter)
    assert len(replies) == 5
    assert (call.name, ids(call)) == ("lockstep.v1.Scorer/PredictStream", (TRACE, CALLER))
    assert facts(call)["rpc.response.status_code"] == "OK"


async def test_a_stream_whose_caller_leaves_is_cancelled(client: Client, exporter: InMemorySpanExporter) -> None:
    stream = client.stub.PredictStream(metadata=caller())
    await stream.write(ASKED)
    await stream.read()
    stream.cancel()
    await asyncio.sleep(0.1)
    (call,) = await spans(exporter)
    assert facts(call)["rpc.response.status_code"] == "CANCELLED"


async def test_the_open_inference_protocol_is_traced_alike(server: Server, exporter: InMemorySpanExporter) -> None:
    inputs = [
        oip.ModelInferRequest.InferInputTensor(
            name="ip", datatype="INT64", shape=[2, 1], contents=oip.InferTensorContents(int64_contents=[1, 2])
        ),
        oip.ModelInferRequest.InferInputTensor(
            name="bid", datatype="FP64", shape=[2, 1], contents=oip.InferTensorContents(fp64_contents=[0.5, 0.5])
        ),
    ]
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call] # generated
        await stub.ModelInfer(oip.ModelInferRequest(model_name="tiny", inputs=inputs), metadata=caller())
    *stages, call = await spans(exporter)
    assert call.name == "inference.GRPCInferenceService/ModelInfer"
    assert facts(call)["lockstep.rows"] == 2
    assert {"queue", "read", "model", "encode"} <= {stage.name for stage in stages}


async def test_calls_are_traced_where_metrics_are_off_and_counted_where_they_are_not(
    settings: Settings, reader: MemoryReader, exporter: InMemorySpanExporter
) -> None:
    async with (
        running(replace(settings, metrics=False), reader) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        await Client(channel).stub.Predict(ASKED, metadata=caller())
        counted = server.samples()["lockstep_requests_total"]
        assert len(await spans(exporter)) > len(STAGES) - 2
    assert counted["Predict", "tiny", "1", "OK"] == 1.0
