"""A client in another language: Node with grpc-js and the proto alone, compared with the Python client bit for bit."""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from lockstep.files import whole_folder
from lockstep.model_store import ModelStore
from lockstep_client import AsyncClient, Features, Prediction, ScorerError
from lockstep_client.requests import Request
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader, publish, row

HERE = Path(__file__).parent / "node"
PROTO = Path(__file__).parents[2] / "protos" / "lockstep" / "v1" / "scorer.proto"

BIG = 2**63 - 1
RANDOM = np.random.default_rng(7)
GOOD = [
    Request("tiny", {"ip": 1, "bid": 0.5}, at=NOON),
    Request("tiny", {"ip": [1, 2, 9, BIG, -BIG], "bid": RANDOM.normal(size=5)}, at=NOON + 12_345),
    Request("tiny", {"ip": 2, "bid": RANDOM.normal(size=200), "site": "é"}, "champion", NOON, explain=True),
    Request("tiny", {"ip": [1, 2], "bid": [float("nan"), 0.25], "site": ["ab", ""]}, at=[NOON, NOON + 1]),
]
BAD = [
    Request("tiny", {"ip": "one", "bid": 0.5}),
    Request("tiny", {"ip": 1, "bed": 0.5}),
    Request("tinny", {"ip": 1, "bid": 0.5}),
    Request("tiny", {"ip": 1, "bid": 0.5}, version="7"),
]
FEATURES = ["clicks", "seconds_since", "site"]
STREAM = [GOOD[0], BAD[0], GOOD[1], BAD[2], GOOD[2]]


@pytest.fixture(scope="session")
def modules() -> Path:
    """A folder with the packages that package.json names, kept between runs in the user's cache."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(f"no {'npm' if node else 'node'} on the PATH: the client in Node cannot run")
    wanted = (HERE / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "lockstep-tests" / f"node-{hashlib.sha256(wanted).hexdigest()[:12]}"
    if not folder.exists():
        with whole_folder(folder) as beside:
            _install(npm, beside, wanted)
    return folder


def _install(npm: str, folder: Path, package: bytes) -> None:
    (folder / "package.json").write_bytes(package)
    command = [npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        problem = f"npm cannot install grpc-js: {done.stderr[-500:]}"
        pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """The tiny model; address 1 has two clicks at noon, 2 three with the last one four seconds before noon."""
    publish(ModelStore(tmp_path))
    reader = MemoryReader({1: row(), 2: row(clicks=3.0, last_click=NOON - 4_000_000)})
    async with running(Settings(port=0, models_url=str(tmp_path)), reader) as started:
        yield started


def plain(request: Request) -> dict[str, Any]:
    """The request in proto3's JSON, but for NaN, which JSON has no number for and the loader takes as a string."""
    message: dict[str, Any] = MessageToDict(request.message(), preserving_proto_field_name=True)
    return message


async def ask_node(server: Server, modules: Path, requests: dict[str, Any]) -> dict[str, Any]:
    """What the client in Node prints."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(HERE / "client.js"), server.address, str(PROTO)),
        env={**os.environ, "NODE_PATH": str(modules / "node_modules")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(json.dumps(requests).encode()), 30)
    assert process.returncode == 0, err.decode()
    answer: dict[str, Any] = json.loads(out)
    return answer


async def test_node_is_told_what_python_is_told(server: Server, modules: Path) -> None:
    requests = {
        "predict": [plain(request) for request in GOOD],
        "refused": [["predict", plain(request)] for request in BAD] + [["getModel", {"model": "tinny"}]],
        "stream": [plain(request) for request in STREAM],
        "features": {**plain(GOOD[1]), "features": FEATURES},
    }
    node = await ask_node(server, modules, requests)
    async with AsyncClient(server.address, timeout_s=5) as client:
        answers = [outcome async for outcome in client.predict_stream([*GOOD, *BAD])]
        streamed = [outcome async for outcome in client.predict_stream(STREAM)]
        found = await client.features("tiny", GOOD[1].columns, at=GOOD[1].at, features=FEATURES)
    for one, other in zip(node["predicted"], answers[: len(GOOD)], strict=True):
        assert_same(one, other)
    errors = [said(one) for one in answers[len(GOOD) :]]
    assert node["refused"] == [*errors, errors[2]]  # the last two name a model that is not there
    assert_streamed_alike(node["streamed"], streamed)
    assert_found_alike(node["features"]["features"], found)
    assert node["models"] == {"models": [{"name": "tiny", "versions": ["1"], "aliases": {"champion": "1"}}]}
    assert [need["name"] for need in node["model"]["needs"]] == ["ip", "bid", "site"]
    assert node["late"]["code"] == "DEADLINE_EXCEEDED"


def said(error: object) -> dict[str, str]:
    """An error of the Python client as the one in Node prints it."""
    assert isinstance(error, ScorerError)
    return {"code": error.code.name, "message": error.message}


def assert_same(node: dict[str, Any], python: object) -> None:
    """One answer in both languages: the scores bit for bit."""
    assert isinstance(python, Prediction)
    assert np.array(node["scores"]).tobytes() == python.scores.tobytes()
    assert (node["model"], node["version"]) == (python.model, python.version)
    assert node["rung"] == f"RUNG_{python.rung.name}"
    assert len(node["features"]) == len(python.features)


def assert_streamed_alike(node: list[dict[str, Any]], python: list[Prediction | ScorerError]) -> None:
    """A stream in both languages: failures in the same places."""
    for one, other in zip(node, python, strict=True):
        if isinstance(other, ScorerError):
            assert (one["outcome"], one["failure"]["code"]) == ("failure", other.code.value[0])
        else:
            assert_same(one["response"], other)


def assert_found_alike(node: list[dict[str, Any]], python: Features) -> None:
    """Features in both languages: values, statuses and times."""
    for one, other in zip(node, python.features.values(), strict=True):
        assert one["name"] == other.name
        assert one[one["values"]]["values"] == other.values.tolist()
        assert one["status"] == [f"STATUS_{status.name}" for status in other.status]
        assert [int(us) for us in one["event_timestamp_us"]] == other.event_us.tolist()
