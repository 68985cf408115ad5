"""What a stranger, a Prometheus, a probe and a browser get from a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockstep.model_store import ModelStore
from serving.outlook.routes import FRESH_S
from serving.outlook.shown import shown
from serving.server import running
from serving.settings import Settings
from tests.bundles import MemoryReader, publish
from tests.serving.conftest import Client, column, request

ASKED = {"model": "tiny", "columns": {"ip": "2", "bid": "0.5"}, "at": "2017-11-09T12:00:00Z"}
JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def plain(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Site:
    """A server's HTTP side."""

    def __init__(self, url: str, grpc_address: str) -> None:
        self.url, self.grpc_address = url, grpc_address
        self.port = int(url.split(":")[2].strip("/"))

    async def ask(self, path: str, *, method: str = "GET", body: object = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(content))}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content)
        whole = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, answer = whole.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        return Answer(int(first.split()[1]), dict(line.split(": ", 1) for line in rest), answer)

    async def attempt(self, body: object = ASKED, **headers: str) -> Answer:
        """The form, sent."""
        return await self.ask("/api/try", method="POST", body=body, **{**JSON, **headers})


@pytest.fixture
async def site(settings: Settings, reader: MemoryReader) -> AsyncIterator[Site]:
    async with _site(settings, reader) as made:
        yield made


@asynccontextmanager
async def _site(settings: Settings, reader: MemoryReader) -> AsyncIterator[Site]:
    async with running(settings, reader) as server, shown(server, settings) as url:
        yield Site(url, server.address)


async def test_prometheus_reads_what_callers_did(site: Site) -> None:
    async with grpc.aio.insecure_channel(site.grpc_address) as channel:
        await Client(channel).ask(request(column("ip", 1), column("bid", 0.5)))
    await asyncio.sleep(FRESH_S)
    answer = await site.ask("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = {
        (sample.name, sample.labels.get("code")): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }
    assert samples["lockstep_requests_total", "OK"] == 1
    assert samples["lockstep_ready", None] == 1


async def test_it_is_live_and_ready_and_says_what_is_served(site: Site) -> None:
    assert (await site.ask("/healthz")).status == 200
    ready = await site.ask("/readyz")
    assert ready.status == 200
    assert ready.plain == {
        "ready": True,
        "models": {"tiny": {"ready": True, "versions": {"1": ["champion"]}, "why_not": {}}},
    }
    assert (await site.ask("/readyz/tiny")).status == 200
    assert (await site.ask("/readyz/tinny")).status == 404


async def test_without_a_model_it_is_live_and_not_ready_and_says_why(tmp_path: Path) -> None:
    async with _site(Settings(port=0, models_url=str(tmp_path)), MemoryReader()) as site:
        assert (await site.ask("/healthz")).status == 200
        answer = await site.ask("/readyz")
    assert (answer.status, answer.plain["ready"]) == (503, False)
    assert "no model is published" in answer.plain["why_not"]


async def test_a_model_that_is_refused_is_not_ready_and_says_why(store: ModelStore, settings: Settings) -> None:
    version = publish(store, "broken")
    (Path(store.url) / "broken" / version / "model.onnx").write_bytes(b"")
    async with _site(settings, MemoryReader()) as site:
        answer = await site.ask("/readyz/broken")
        assert (answer.status, answer.plain["ready"]) == (503, False)
        assert "SHA-256" in answer.plain["why_not"][version]
        assert (await site.ask("/readyz")).status == 200
        (refused,) = [one for one in (await site.ask("/api/state")).plain["served"] if one["why_not"]]
    assert (refused["model"], refused["version"]) == ("broken", version)


async def test_the_page_may_load_nothing_from_elsewhere(site: Site) -> None:
    for path in ("/", "/page.css", "/page.js", "/charts.js"):
        answer = await site.ask(path)
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert b"https://" not in answer.body
        assert b"http://" not in answer.body.replace(b"http://www.w3.org/2000/svg", b"")


async def test_the_state_names_models_and_what_they_need(site: Site) -> None:
    state = (await site.ask("/api/state")).plain
    (model,) = state["served"]
    assert [need["name"] for need in model["needs"]] == ["ip", "bid", "site"]
    assert model["metrics"] == {"auc": 0.75}
    assert state["may_try"]


async def test_a_prediction_can_be_tried(site: Site) -> None:
    answer = await site.attempt()
    assert answer.status == 200
    assert answer.plain["rung"] == "FRESH"
    assert {one["name"] for one in answer.plain["features"]} >= {"clicks", "bid", "seconds_since"}


async def test_what_is_wrong_with_a_trial_is_said(site: Site) -> None:
    answer = await site.attempt({**ASKED, "columns": {"ip": "x"}})
    assert (answer.status, "'x' is not of type int64" in answer.plain["error"]) == (400, True)
    for body in (b"{", b"[" * 50_000, b"3", b"\xff"):
        assert (await site.attempt(body)).status == 400


async def test_a_form_of_another_site_cannot_try(site: Site) -> None:
    assert (await site.attempt(Content_Type="text/plain")).status == 415
    for host in ("evil.example", "evil.example:9464", "127.0.0.1.evil.example", ""):
        assert (await site.attempt(Host=host)).status == 403
        assert (await site.ask("/api/state", Host=host)).status == 403
    assert (await site.ask("/metrics", Host="scorer:9464")).status == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:80", "10.0.0.7:9464", "Scorer.corp"])
async def test_addresses_localhost_and_the_names_that_were_set_are_ours(
    settings: Settings, reader: MemoryReader, host: str
) -> None:
    async with _site(replace(settings, page_hosts="grafana, scorer.corp"), reader) as site:
        assert (await site.ask("/api/state", Host=host)).status == 200


async def test_trying_can_be_switched_off(settings: Settings, reader: MemoryReader) -> None:
    async with _site(replace(settings, page_try="never"), reader) as site:
        assert not (await site.ask("/api/state")).plain["may_try"]
        assert (await site.attempt()).status == 403


async def test_what_is_not_there_is_404_and_what_is_read_cannot_be_written(site: Site) -> None:
    for path in (
        "/nothing",
        "/api/nothing",
        "/reports/tiny/1",
        "/reports/tiny",
        "/reports/../../etc/passwd",
        "/page.py",
    ):
        assert (await site.ask(path)).status == 404, path
    assert (await site.ask("/", method="POST")).status == 405


async def test_metrics_can_be_switched_off(settings: Settings, reader: MemoryReader) -> None:
    off = replace(settings, metrics=False)
    async with running(off, reader) as server, shown(server, off) as url:
        assert url == ""
