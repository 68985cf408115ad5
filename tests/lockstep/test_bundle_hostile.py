"""Loading a bundle unpickles nothing, opens no file, and executes nothing but the functions that the plan names."""

import io
import json
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lockstep.bundle import Manifest, build, golden_rows, pack
from lockstep.errors import BundleRefused, LockstepError
from lockstep.functions import load, model_inputs
from lockstep.graph import Graph
from lockstep.link import Link
from lockstep.model import KINDS
from lockstep.skops_model import dump
from tests.bundles import FUNCTIONS, PLAN, RESOLVED, bundle_files, sum_graph

WEIGHT = {"name": "w", "weight": 1.0}


class Bomb:
    """Whoever unpickles it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


@dataclass
class Seen:
    """What Python itself says happened: https://docs.python.org/3/library/audit_events.html."""

    unpickled: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)


_watched: list[Seen] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    if event == "pickle.find_class":
        _watched[0].unpickled.append(str(arguments))
    elif event == "exec":
        _watched[0].executed.append(arguments[0].co_filename)
    elif event in ("open", "os.system", "subprocess.Popen", "socket.connect"):
        _watched[0].opened.append(str(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def _audited() -> None:
    sys.addaudithook(_hook)  # stays until the process ends: there is no way to take one away


@contextmanager
def watching() -> Iterator[Seen]:
    _watched.append(Seen())
    try:
        yield _watched[0]
    finally:
        _watched.clear()


def _coefficients() -> bytes:
    step = {"name": "all", "columns": list(PLAN.inputs), "as": "float64", "formulas": [], "features": [WEIGHT] * 4}
    plain = {"columns": dict.fromkeys(PLAN.inputs, "float32"), "intercept": 0.0, "steps": [step]}
    return json.dumps(plain).encode()


def _skops() -> bytes:
    x = np.random.default_rng(1).normal(size=(20, 4))
    scaler = StandardScaler().fit(x)
    step = {"name": "it", "columns": list(PLAN.inputs), "dtype": "float32", "texts": False, "transformer": scaler}
    return dump([step], dict.fromkeys(PLAN.inputs, "float32"), LogisticRegression().fit(x, x[:, 0] > 0))


MODELS = {"onnx": sum_graph, "coefficients": _coefficients, "skops": _skops}


def of_kind(kind: str, model: bytes | None = None) -> dict[str, bytes]:
    """The tiny bundle with a model of that kind; `model` in its place, with hashes that fit."""
    whole, inputs = Manifest.from_json(bundle_files()["manifest.json"]), _inputs()
    honest = MODELS[kind]()
    inputs = {name: np.nan_to_num(values) for name, values in inputs.items()} if kind == "skops" else inputs
    resolved = {**RESOLVED, "last_click": np.full(2, RESOLVED["last_click"][1])} if kind == "skops" else RESOLVED
    scores = Link()(KINDS[kind].open(honest, []).raw(_inputs(resolved)))
    files = {KINDS[kind].path: model or honest, "golden.parquet": golden_rows(PLAN, resolved, scores)}
    return pack(replace(whole, kind=kind), {**files, **_functions()})


def _functions() -> dict[str, bytes]:
    return {f"functions/{name}.py": source for name, source in FUNCTIONS.items()}


def _inputs(resolved: Mapping[str, Any] = RESOLVED) -> dict[str, Any]:
    functions = {name: load(name, source) for name, source in FUNCTIONS.items()}
    return model_inputs(PLAN, functions, resolved, 2)


@pytest.mark.parametrize("kind", MODELS)
def test_a_bundle_of_any_kind_is_built_without_a_pickle_and_without_a_file(kind: str, tmp_path: Path) -> None:
    files, mark = of_kind(kind), tmp_path / "executed"
    evil = f"import os\nos.mkdir({str(mark)!r})".encode()
    extra = {
        "model.pkl": pickle.dumps(Bomb(mark)),
        "functions/evil.py": evil,
        "functions/__init__.py": evil,
        "sitecustomize.py": evil,
        "conftest.py": evil,
    }
    build(files)  # what is imported for the first time is imported now
    with watching() as seen:
        build({**files, **extra})
    assert (seen.unpickled, seen.opened) == ([], [])
    assert {name for name in seen.executed if name.endswith(".py")} == {f"functions/{name}.py" for name in FUNCTIONS}
    assert not mark.exists()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("place", ["the model", "golden.parquet", "manifest.json"])
def test_a_pickle_in_the_place_of_any_file_is_refused_and_not_opened(kind: str, place: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    files, bomb = of_kind(kind), pickle.dumps(Bomb(mark))
    path = KINDS[kind].path if place == "the model" else place
    changed = {**files, path: bomb}
    if place != "manifest.json":
        changed = pack(
            Manifest.from_json(files["manifest.json"]),
            {name: content for name, content in changed.items() if name != "manifest.json"},
        )
    with watching() as seen, pytest.raises(BundleRefused):
        build(changed)
    assert (seen.unpickled, mark.exists()) == ([], False)


def test_a_function_that_is_not_the_one_of_the_plan_is_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    files = bundle_files()
    evil = f"import numpy\nnumpy.save({str(mark)!r}, 1)\ndef site_length(site): return site".encode()
    own = {name: content for name, content in files.items() if name != "manifest.json"}
    republished = pack(Manifest.from_json(files["manifest.json"]), {**own, "functions/site_length.py": evil})
    with watching() as seen, pytest.raises(BundleRefused, match="not the one the plan names"):
        build(republished)
    assert "functions/site_length.py" not in seen.executed
    assert list(tmp_path.iterdir()) == []


def test_types_of_a_skops_file_that_nobody_trusts_are_not_made(tmp_path: Path) -> None:
    step = {"name": "it", "columns": list(PLAN.inputs), "dtype": "float32", "texts": False}
    hostile = dump([{**step, "transformer": FunctionTransformer(os.mkdir)}], {}, None)
    with watching() as seen, pytest.raises(BundleRefused, match=r"mkdir|posix"):
        build(of_kind("skops", hostile))
    assert seen.unpickled == []


def test_a_type_of_arrow_that_is_a_pickle_is_not_made(tmp_path: Path) -> None:
    """As arrow.py_extension_type was before https://arrow.apache.org/blog/2023/11/09/14.0.1/ (CVE-2023-47248)."""
    mark, files = tmp_path / "executed", bundle_files()
    table = pq.read_table(io.BytesIO(files["golden.parquet"]))
    named = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Bomb(mark)),
    }
    marked = table.cast(pa.schema([one.with_metadata(named) for one in table.schema]))
    sink = io.BytesIO()
    pq.write_table(marked, sink)
    own = {name: content for name, content in files.items() if name != "manifest.json"}
    changed = pack(Manifest.from_json(files["manifest.json"]), {**own, "golden.parquet": sink.getvalue()})
    with watching() as seen, suppress(LockstepError):
        build(changed)
    assert (seen.unpickled, mark.exists()) == ([], False)


def _external(location: str) -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _model(node: Any, *initializers: Any) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in "xy")
    graph = helper.make_graph([node, helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], list(initializers))
    content: bytes = helper.make_model(graph, ir_version=8).SerializeToString()
    return content


def as_initializer(location: str) -> bytes:
    return _model(helper.make_node("Identity", ["x"], ["z"]), _external(location))


def as_attribute(location: str) -> bytes:
    return _model(helper.make_node("Constant", [], ["w"], value=_external(location)))


def in_a_branch(location: str) -> bytes:
    out = helper.make_tensor_value_info("v", TensorProto.FLOAT, [1])
    inner = helper.make_graph([helper.make_node("Constant", [], ["v"], value=_external(location))], "b", [], [out])
    return _model(helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner))


def in_a_function(location: str) -> bytes:
    model = onnx.ModelProto.FromString(as_initializer(location))
    del model.graph.initializer[:]
    nodes = [helper.make_node("Constant", [], ["v"], value=_external(location))]
    model.functions.append(helper.make_function("own", "F", [], ["v"], nodes, [helper.make_opsetid("", 17)]))
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("made", [as_initializer, as_attribute, in_a_branch, in_a_function])
@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*", ""])
def test_a_tensor_that_lies_in_another_file_is_refused_wherever_it_stands(made: Any, location: str) -> None:
    with pytest.raises(BundleRefused, match="a tensor of the model lies in another file"):
        Graph(made(location))


def test_a_model_in_another_format_of_onnx_runtime_is_refused() -> None:
    with pytest.raises(BundleRefused):
        Graph(b"\x1c\x00\x00\x00ORTM" + bytes(64))


def test_a_manifest_as_deep_as_the_sea_is_refused() -> None:
    with pytest.raises(BundleRefused, match="RecursionError"):
        build({**bundle_files(), "manifest.json": b"[" * 100_000})
