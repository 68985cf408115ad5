"""Calls that carry all features, by the Open Inference Protocol: one model and the same messages for us and MLServer.

The scorer gets a second model, of the same graph, whose plan takes every input from the request.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.predict.asked import ask
from benchmarks.predict.data import MODEL, Data
from benchmarks.predict.load import Messages
from benchmarks.predict.sides import Side, waited_for
from lockstep.bundle import MODEL as MODEL_FILE
from lockstep.bundle import Bundle, golden_rows, pack
from lockstep.model_store import ModelStore
from lockstep.plan import Column, Given, Plan
from lockstep.progress import bar
from lockstep.redis_server import free_port
from protos.inference import grpc_service_pb2 as oip
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.oip_tensors import NATURAL

__all__ = ["CARRIED", "carrying", "mlserver", "publish"]

CARRIED: Final = "install_carried"
FEATURES: Final = "/lockstep.v1.Scorer/GetFeatures"
PEERS: Final = Path(__file__).parent / "peers"
REQUIREMENTS: Final = PEERS / "mlserver-requirements.txt"
RUNTIME: Final = PEERS / "mlserver_runtime.py"
MODEL_READY: Final = "/inference.GRPCInferenceService/ModelReady"


def models_folder(data: Data) -> Path:
    """Where the model lies that takes everything from the request."""
    return data.home.root / "carried" / "models"


def publish(data: Data) -> Path:
    """Publish that model, unless an earlier run has; returns the folder of its model store."""
    store = ModelStore(models_folder(data))
    if not store.versions(CARRIED):
        made = store.publish(CARRIED, lambda number: _files(ModelStore(data.home.models).load(MODEL), number))
        store.promote(CARRIED, made.manifest.version)
    return models_folder(data)


def _files(bundle: Bundle, number: str) -> dict[str, bytes]:
    """The bundle's own graph, every input of which comes with the request."""
    columns = tuple(Column(name, bundle.plan.by_name[name].dtype, Given("request")) for name in bundle.plan.inputs)
    plan = Plan(bundle.plan.project, bundle.plan.service, (), columns, bundle.plan.inputs)
    row = {
        column.name: np.array([1 if column.dtype.missing is None else column.dtype.missing], column.dtype.numpy)
        for column in columns
    }
    golden = golden_rows(plan, row, bundle.manifest.link(bundle.graph.raw(row)))
    manifest = replace(bundle.manifest, name=CARRIED, version=number, plan=plan)
    return pack(manifest, {MODEL_FILE: bundle.graph.model, "golden.parquet": golden})


def carrying(data: Data, address: str, asked: Messages) -> Messages:
    """The same rows as `asked`, with what the scorer at this address reads for them in the request."""
    # A PredictRequest reads as a GetFeaturesRequest: the fields that both have are the same.
    replies = map(pb.GetFeaturesResponse.FromString, ask(address, FEATURES, asked.requests))
    return Messages([_request(data.plan, reply.features) for reply in replies], asked.scores)


def _request(plan: Plan, features: Sequence[pb.Feature]) -> bytes:
    request = oip.ModelInferRequest(model_name=CARRIED)
    for feature in features:
        dtype = plan.by_name[feature.name].dtype
        values = np.array(getattr(feature, feature.WhichOneof("values")).values, dtype.numpy)
        request.inputs.add(name=feature.name, datatype=NATURAL[dtype], shape=[values.size, 1])
        request.raw_input_contents.append(_raw(values))
    content: bytes = request.SerializeToString()
    return content


def _raw(values: NDArray[np.generic]) -> bytes:
    if values.dtype.kind != "O":
        return values.tobytes()
    texts = [str(value).encode() for value in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


# ---- MLServer


def _environment() -> Path:
    """The folder of commands of MLServer's own environment, which is made once for each list of requirements."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "lockstep" / "benchmarks" / "mlserver"
    done = folder / "installed.txt"
    if not done.exists() or done.read_text() != REQUIREMENTS.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        with bar("install MLServer", 1) as step:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            install = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, "--no-deps", "-r", str(REQUIREMENTS)], check=True)
            step(1)
        done.write_text(REQUIREMENTS.read_text())
    return folder / "bin"


@contextmanager
def mlserver(data: Data) -> Iterator[Side]:
    """MLServer with the same graph, in its own process: no workers beside it, no logs of each request."""
    commands, folder = _environment(), data.home.root / "carried" / "mlserver"
    port = free_port()
    _configure(data, folder, port)
    with (folder / "mlserver.log").open("w") as log:
        process = subprocess.Popen(
            [str(commands / "mlserver"), "start", str(folder)], cwd=folder, stdout=log, stderr=log
        )
    with waited_for(process, f"127.0.0.1:{port}", _is_ready, folder / "mlserver.log") as side:
        yield side


def _configure(data: Data, folder: Path, port: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    bundle = ModelStore(models_folder(data)).load(CARRIED)
    (folder / MODEL_FILE).write_bytes(bundle.graph.model)
    shutil.copy(RUNTIME, folder)
    link = bundle.manifest.link
    model = {
        "name": CARRIED,
        "implementation": f"{RUNTIME.stem}.Onnx",
        "parameters": {"uri": str(folder / MODEL_FILE), "extra": {"slope": link.slope, "offset": link.offset}},
    }
    server = {
        "host": "127.0.0.1",
        "http_port": free_port(),
        "grpc_port": port,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    (folder / "settings.json").write_text(json.dumps(server))


def _is_ready(address: str) -> bool:
    try:
        (reply,) = ask(address, MODEL_READY, [oip.ModelReadyRequest(name=CARRIED).SerializeToString()])
    except grpc.RpcError:
        return False
    return bool(oip.ModelReadyResponse.FromString(reply).ready)
