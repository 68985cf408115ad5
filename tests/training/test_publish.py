"""The bundle of a training: its files, its facts, and that it is refused once the model in it was altered."""

import json
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper

from lockstep.bundle import GOLDEN, MODEL, build, pack
from lockstep.errors import BundleRefused
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.plan import digest
from training.publish import LIBRARIES, code_revision
from training.train import Trained


@pytest.fixture
def files(trained: Trained, home: Home) -> dict[str, bytes]:
    """The published bundle, file by file."""
    assert trained.bundle.manifest.version == "1"
    return ModelStore(home.models).read("install", "1")


@pytest.fixture
def manifest(files: dict[str, bytes]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(files["manifest.json"])
    return plain


def test_a_bundle_is_a_folder_of_these_files(files: dict[str, bytes]) -> None:
    functions = ("device_os", "hour_of_day", "seconds_since_last_by_ip", "seconds_since_last_by_ip_app")
    others = {"manifest.json", MODEL, GOLDEN, "baseline.json", "report.html"}
    assert set(files) == others | {f"functions/{name}.py" for name in functions}


def test_the_manifest_lists_every_other_file_with_its_hash(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    assert manifest["files"] == {path: digest(content) for path, content in files.items() if path != "manifest.json"}


def test_the_manifest_tells_what_was_trained_on(manifest: dict[str, Any], trained: Trained) -> None:
    window = trained.window
    assert manifest["window"]["cut_us"] == window.cut_us
    assert manifest["data"]["rows"] > manifest["data"]["positives"] > 0
    assert manifest["prior"] == manifest["data"]["positives"] / manifest["data"]["rows"]
    assert len(manifest["data"]["sha256"]) == 64
    assert set(manifest["libraries"]) == {"python", *LIBRARIES}
    assert manifest["kind"] == "onnx"
    assert manifest["plan"] == json.loads(json.dumps(trained.bundle.plan.to_json()))


def test_the_manifest_tells_how_good_the_model_is_with_and_without_immature_rows(
    manifest: dict[str, Any], trained: Trained
) -> None:
    metrics = manifest["metrics"]
    assert metrics["test"] == json.loads(json.dumps(trained.assessment.to_json()))
    assert metrics["test"] != metrics["test_with_immature"]
    assert [gate["name"] for gate in metrics["gates"]] == [gate.name for gate in trained.gates]


def test_golden_rows_span_the_scores_from_the_lowest_to_the_highest(files: dict[str, bytes], trained: Trained) -> None:
    golden = pq.read_table(BytesIO(files[GOLDEN]))["__score"].to_numpy()
    scores = trained.fitted.score(trained.test.inputs)
    assert 100 < len(golden) <= 256
    assert (golden.min(), golden.max()) == (scores.min(), scores.max())


def test_the_baseline_knows_every_input_and_the_scores(files: dict[str, bytes], trained: Trained) -> None:
    text = files["baseline.json"].decode()
    assert all(f'"{name}"' in text for name in trained.bundle.plan.inputs)


def test_the_report_is_one_page_that_asks_nobody_for_anything(files: dict[str, bytes]) -> None:
    page = files["report.html"].decode()
    assert page.lstrip().lower().startswith("<!doctype html")
    assert "install" in page
    assert "<svg" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_nothing_in_a_bundle_is_a_pickle(files: dict[str, bytes]) -> None:
    assert not [path for path, content in files.items() if content[:1] == b"\x80" or path.endswith((".pkl", ".joblib"))]


def moved(model: bytes) -> bytes:
    """The model with every leaf moved by 0.001."""
    proto = onnx.load_from_string(model)
    leaves = next(
        one.t for node in proto.graph.node for one in node.attribute if one.name == "target_weights_as_tensor"
    )
    leaves.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(leaves) + 0.001, leaves.name))
    changed: bytes = proto.SerializeToString()
    return changed


def test_an_altered_model_is_refused_by_its_hash(files: dict[str, bytes]) -> None:
    with pytest.raises(BundleRefused, match=r"'model\.onnx' is not the one that was published"):
        build(files | {MODEL: moved(files[MODEL])})


def test_an_altered_model_is_refused_by_the_golden_rows_even_with_a_new_hash(
    files: dict[str, bytes], trained: Trained
) -> None:
    others = {path: content for path, content in files.items() if path != "manifest.json"}
    build(pack(trained.bundle.manifest, others))
    with pytest.raises(BundleRefused, match=r"\d+ of \d+ golden rows score differently"):
        build(pack(trained.bundle.manifest, others | {MODEL: moved(files[MODEL])}))


def test_golden_rows_hold_every_column_that_a_request_resolves_to(files: dict[str, bytes], trained: Trained) -> None:
    names = pq.read_schema(BytesIO(files[GOLDEN])).names
    assert set(names) == {column.name for column in trained.bundle.plan.resolved} | {"__score"}


def test_the_fingerprint_tells_one_training_set_from_another(trained: Trained, manifest: dict[str, Any]) -> None:
    assert manifest["data"]["sha256"] != digest(b"")
    assert np.isfinite(manifest["prior"])


def test_the_revision_is_that_of_the_code_and_marks_changes() -> None:
    here = Path(__file__).parents[2]
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    wanted = done.stdout.strip() if done.returncode == 0 else ""
    assert code_revision().rstrip("+") == wanted


def test_without_git_the_revision_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_revision() == ""
