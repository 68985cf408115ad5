"""What `pack` returns, `build` accepts; what differs in any byte, it refuses by name."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lockstep.bundle import Manifest, build, golden_rows, pack, parts_at
from lockstep.bundle_format import FORMAT
from lockstep.errors import BundleRefused
from lockstep.graph import Link
from tests.bundles import PLAN, PRIOR, RESOLVED, bundle_files, sum_graph


@pytest.fixture
def files() -> dict[str, bytes]:
    return bundle_files("tiny", "3")


def repacked(files: dict[str, bytes], **changed: bytes) -> dict[str, bytes]:
    """The same bundle with other files, published as if nothing were wrong."""
    manifest = Manifest.from_json(files["manifest.json"])
    named = {name.replace("__", "/").replace("_dot_", "."): content for name, content in changed.items()}
    return pack(manifest, {path: content for path, content in {**files, **named}.items() if path != "manifest.json"})


def test_a_bundle_scores_as_it_was_packed(files: dict[str, bytes]) -> None:
    bundle = build(files)
    assert (bundle.manifest.name, bundle.manifest.version, bundle.plan) == ("tiny", "3", PLAN)
    assert bundle.raw(RESOLVED, 2).tolist() == [-0.5, 5.25]
    np.testing.assert_allclose(bundle.score(RESOLVED, 2), 1 / (1 + np.exp([0.5, -5.25])), rtol=1e-12)


def test_a_manifest_survives_its_file(files: dict[str, bytes]) -> None:
    manifest = Manifest.from_json(files["manifest.json"])
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert (manifest.prior, manifest.link, manifest.metrics) == (PRIOR, Link(), {"auc": 0.75})
    assert json.loads(files["manifest.json"])["format"] == FORMAT


@pytest.mark.parametrize("path", ["model.onnx", "golden.parquet", "functions/seconds_since.py"])
def test_a_file_that_is_missing_or_altered_by_one_bit_is_named(files: dict[str, bytes], path: str) -> None:
    with pytest.raises(BundleRefused, match=f"'{path}' is missing"):
        build({name: content for name, content in files.items() if name != path})
    altered = files[path][:-1] + bytes([files[path][-1] ^ 1])
    with pytest.raises(BundleRefused, match=f"'{path}' is not the one that was published"):
        build({**files, path: altered})


def test_a_folder_without_a_manifest_is_no_bundle(files: dict[str, bytes]) -> None:
    del files["manifest.json"]
    with pytest.raises(BundleRefused, match=r"no manifest\.json"):
        build(files)


def edit(**changes: Any) -> Callable[[bytes], bytes]:
    """The manifest with fields replaced; None removes one."""

    def apply(content: bytes) -> bytes:
        plain = {**json.loads(content), **changes}
        return json.dumps({name: value for name, value in plain.items() if value is not None}).encode()

    return apply


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(lambda content: content[:-5], "cannot be read", id="cut short"),
        pytest.param(lambda content: b"[]", "cannot be read", id="a list"),
        pytest.param(edit(format=None), "cannot be read", id="no format"),
        pytest.param(
            edit(format=FORMAT + 1), f"has format {FORMAT + 1}; this Lockstep reads format {FORMAT}", id="newer"
        ),
        pytest.param(edit(prior=None), "cannot be read", id="a field missing"),
        pytest.param(edit(colour="red"), "cannot be read", id="a field too many"),
        pytest.param(edit(link={"slop": 1}), "cannot be read", id="no link"),
        pytest.param(edit(files={}), "lists no 'golden.parquet'", id="no files listed"),
        pytest.param(
            edit(link={"slope": 1.0, "offset": 0.1}), "2 of 2 golden rows score differently", id="another link"
        ),
    ],
)
def test_a_manifest_that_is_not_what_was_written_is_refused(
    files: dict[str, bytes], change: Callable[[bytes], bytes], problem: str
) -> None:
    with pytest.raises(BundleRefused, match=problem):
        build({**files, "manifest.json": change(files["manifest.json"])})


def test_a_model_that_scores_otherwise_than_it_was_trained_is_refused(files: dict[str, bytes]) -> None:
    other = sum_graph(("bid", "clicks", "seconds_since"))
    with pytest.raises(BundleRefused, match="1 of 2 golden rows score differently, first row 1"):
        build(repacked(files, model_dot_onnx=other))


def test_a_model_that_does_not_run_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(BundleRefused, match="ONNX Runtime cannot load the model"):
        build(repacked(files, model_dot_onnx=b"no model"))


def test_golden_rows_that_a_function_cannot_take_are_refused(files: dict[str, bytes]) -> None:
    boom = {**RESOLVED, "site": np.array(["boom", "a"], object)}
    with pytest.raises(BundleRefused, match=r"golden rows cannot be scored.*boom"):
        build(repacked(files, golden_dot_parquet=golden_rows(PLAN, boom, np.array([0.1, 0.2]))))


@pytest.mark.parametrize(
    ("golden", "problem"),
    [
        pytest.param(lambda: b"PAR1", "golden.parquet cannot be read", id="no table"),
        pytest.param(
            lambda: golden_rows(PLAN, {name: v[:0] for name, v in RESOLVED.items()}, np.zeros(0)), "rows", id="empty"
        ),
    ],
)
def test_golden_rows_that_prove_nothing_are_refused(
    files: dict[str, bytes], golden: Callable[[], bytes], problem: str
) -> None:
    with pytest.raises(BundleRefused, match=problem):
        build(repacked(files, golden_dot_parquet=golden()))


def test_golden_rows_keep_every_type_and_null() -> None:
    odd = {**RESOLVED, "bid": np.array([np.nan, 0.1], np.float32), "site": np.array(["é\n", ""], object)}
    kept = bundle_files()
    kept["golden.parquet"] = golden_rows(PLAN, odd, np.array([np.nan, 0.5]))
    with pytest.raises(BundleRefused, match="golden rows score differently, first row 0"):
        build(repacked(kept))


@pytest.mark.parametrize(
    ("score", "expected", "parts"),
    [
        (0.5, 0.5, False),
        (0.5 + 9e-7, 0.5, False),
        (0.5 + 3e-6, 0.5, True),
        (1e-7 * (1 + 5e-6), 1e-7, False),
        (1e-7 * (1 + 2e-5), 1e-7, True),
        (np.nan, 0.5, True),
        (0.5, np.nan, True),
        (1.0, 0.999, True),
    ],
)
def test_scores_part_by_log_odds_and_by_probability(score: float, expected: float, parts: bool) -> None:
    assert parts_at(np.array([0.1, score]), np.array([0.1, expected])).tolist() == ([1] if parts else [])
