"""What a server imports for its traces, and what it sends: over the wire, to a collector of the test's own."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from lockstep.errors import BadSetting
from lockstep.model_store import ModelStore
from lockstep.redis_server import free_port
from serving.logs import OncePerPeriod
from serving.server import running
from serving.settings import Settings
from serving.traces import open_traces
from serving.traces.traces import CLOSE_S
from tests.bundles import MemoryReader
from tests.serving.conftest import Client, column, request

ROOT = Path(__file__).parents[3]
ASKED = request(column("ip", 1, 2), column("bid", 0.5))


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[otlp.ExportTraceServiceRequest] = []

    def Export(  # noqa: N802 # gRPC's name
        self, request: otlp.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> otlp.ExportTraceServiceResponse:
        self.requests.append(request)
        return otlp.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    kept = Collector()
    server = grpc.aio.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call] # generated
    kept.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield kept
    await server.stop(None)


async def traced_call(settings: Settings, reader: MemoryReader) -> float:
    """A call to a server of these settings; returns how long the server took to stop, in seconds."""
    clock = asyncio.get_running_loop().time
    async with running(settings, reader) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await Client(channel).ask(ASKED)
        stopping_s = clock()
    return clock() - stopping_s


async def test_a_collector_gets_what_was_traced_before_the_server_has_stopped(
    store: ModelStore, reader: MemoryReader, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=night")
    at = f"http://127.0.0.1:{collector.port}"
    await traced_call(Settings(port=0, models_url=store.url, traces=True, traces_endpoint=at, traces_ratio=1.0), reader)
    (sent,) = (one for request in collector.requests for one in request.resource_spans)
    resource = {one.key: one.value.string_value for one in sent.resource.attributes}
    assert resource["service.name"] == "lockstep"
    assert resource["deployment.environment.name"] == "night"
    (scope,) = sent.scope_spans
    assert scope.scope.name == "lockstep"
    assert {"lockstep.v1.Scorer/Predict", "queue", "model", "encode"} <= {span.name for span in scope.spans}


async def test_the_environment_of_opentelemetry_names_collector_and_service(
    store: ModelStore, reader: MemoryReader, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bidder")
    await traced_call(Settings(port=0, models_url=store.url, traces=True, traces_ratio=1.0), reader)
    (sent,) = (one for request in collector.requests for one in request.resource_spans)
    assert {"service.name": "bidder"}.items() <= {
        one.key: one.value.string_value for one in sent.resource.attributes
    }.items()


async def test_a_collector_that_is_not_there_keeps_nobody_waiting_and_is_said_once(
    store: ModelStore, reader: MemoryReader, caplog: pytest.LogCaptureFixture
) -> None:
    at = f"http://127.0.0.1:{free_port()}"
    settings = Settings(port=0, models_url=store.url, traces=True, traces_endpoint=at, traces_ratio=1.0)
    assert await traced_call(settings, reader) < CLOSE_S + 1.0
    said = [one for one in caplog.records if one.name.startswith("opentelemetry") and one.levelno >= logging.WARNING]
    once = OncePerPeriod()
    assert sum(once.filter(one) for one in said) <= 1


def test_a_server_that_traces_nothing_imports_nothing_for_it(store: ModelStore) -> None:
    code = (
        "import asyncio, json, sys\n"
        "from serving.server import running\nfrom serving.settings import Settings\n"
        "from tests.bundles import MemoryReader\n"
        "async def main():\n"
        f"    async with running(Settings(port=0, models_url={store.url!r}), MemoryReader()): pass\n"
        "asyncio.run(main())\nprint(json.dumps(sorted(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = json.loads(ran.stdout)
    assert [name for name in loaded if name.startswith(("opentelemetry", "serving.traces"))] == ["serving.traces"]


def test_without_the_extra_the_setting_is_refused_and_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "serving.traces.spans"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(BadSetting, match=r"pip install 'lockstep\[traces\]'"):
        open_traces(Settings(traces=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [("traces_ratio", 1.5), ("traces_ratio", float("nan")), ("traces_endpoint", "localhost:4317")],
)
def test_settings_that_cannot_work_are_refused(name: str, value: object) -> None:
    with pytest.raises(BadSetting, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]
