"""Two workers and their supervisor, as processes: one port for gRPC, one page."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockstep.model_store import ModelStore
from serving.settings import Settings
from tests.bundles import publish
from tests.serving.test_workers import ask, children, started

Found = TypeVar("Found")
LINE = "the page is "


class Site:
    """The page of a supervisor, and its port for calls."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        self.address = process.stdout.readline().split()[3].rstrip(":")
        self.url = process.stdout.readline().removeprefix(LINE).split(",")[0]

    def read(self, path: str, body: object = None) -> str:
        """One page, whatever its status."""
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=10) as reply:
                content: bytes = reply.read()
        except urllib.error.HTTPError as error:
            with error:
                content = error.read()
        return content.decode()

    def metric(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The series of a metric whose labels include these, by the other ones."""
        return {
            tuple(value for label, value in sorted(sample.labels.items()) if label not in labels): sample.value
            for family in text_string_to_metric_families(self.read("metrics"))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def answered(self) -> float:
        """Requests so far."""
        return sum(self.metric("lockstep_requests_total", call="Predict", code="OK").values())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    store = ModelStore(tmp_path_factory.mktemp("models"))
    publish(store)
    with started(Settings(models_url=store.url)) as process:
        yield Site(process)
        process.terminate()
        process.communicate(timeout=20)


def eventually(look: Callable[[], Found | None], within_s: float = 20) -> Found:
    """What is found, as soon as it is there."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_calls_to_all_workers_are_one_count(site: Site) -> None:
    before = site.answered()
    for _ in range(20):
        ask(site.address)
    assert eventually(lambda: site.answered() == before + 20)
    assert site.metric("lockstep_workers") == {(): 2.0}
    assert set(site.metric("process_resident_memory_bytes")) == {("1",), ("2",), ("supervisor",)}
    assert site.metric("lockstep_model_info") == {("onnx", "tiny", "1"): 1.0}


def test_the_page_is_that_of_a_server(site: Site) -> None:
    state = json.loads(site.read("api/state"))
    assert [model["version"] for model in state["served"]] == ["1"]
    assert json.loads(site.read("readyz"))["ready"]
    asked: dict[str, Any] = {"model": "tiny", "columns": {"ip": "1", "bid": "0.5"}}
    assert json.loads(site.read("api/try", asked))["rung"] == "DEFAULTS"
    assert "no report" not in site.read("reports/tiny/1")


def test_a_worker_that_dies_takes_its_gauges_along_and_leaves_its_counts(site: Site) -> None:
    for _ in range(10):
        ask(site.address)
    time.sleep(2.5)  # the supervisor looks every two seconds
    before, restarts = site.answered(), site.metric("lockstep_worker_restarts_total")[()]
    dying = children(site.process).pop()
    os.kill(dying, signal.SIGKILL)
    least = before
    while site.metric("lockstep_worker_restarts_total")[()] == restarts or site.metric("lockstep_workers") != {(): 2.0}:
        now = site.answered()
        assert now >= least
        least = now
        time.sleep(0.05)
    ask(site.address)
    assert eventually(lambda: site.answered() >= before + 1)
