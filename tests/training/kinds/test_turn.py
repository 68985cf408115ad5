"""A bundle of one kind becomes one of another only where no row's score parts."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from lockstep.bundle import Bundle, build
from lockstep.errors import BadRequest, BundleRefused, ExportDiffers, PlanRefused
from lockstep.model import KINDS
from lockstep.plan import Array, digest
from tests.training.cases import FLOATS, TEXT, TOKENS
from tests.training.columns import COLUMNS, ROWS, fitted
from tests.training.kinds.bundled import bundled
from tests.training.kinds.needs import NEEDS
from training.exports.formats import FORMATS, exporter
from training.exports.rows import RowSet, golden_rows
from training.kinds.turn import turn
from training.spec import Step
from training.transformers import TopN

STEPS = (Step("numbers", StandardScaler, FLOATS), Step("ids", lambda: TopN(3), ("app",)))
WHOLE = RowSet("the made-up rows", COLUMNS, ROWS)


def bundle(kind: str = "skops", *steps: Step) -> Bundle:
    return build(bundled(fitted(*(steps or STEPS), kind=kind)))


def quiet(_: float) -> None:
    """Nobody watches."""


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PAIRS = [("skops", "onnx"), ("skops", "coefficients"), ("coefficients", "onnx"), ("c", "onnx")]


@pytest.mark.parametrize(
    ("before", "kind"), [pytest.param(*pair, marks=NEEDS.get(pair[0], ()), id=" to ".join(pair)) for pair in PAIRS]
)
def test_a_turned_bundle_builds_and_scores_the_same(before: str, kind: str, tmp_path: Path) -> None:
    old, steps = bundle(before), list[float]()
    made = exporter(kind)(old, [golden_rows(old), WHOLE], tmp_path / "out", steps.append)
    after = build(read(tmp_path / "out"))
    assert (after.manifest.kind, after.manifest.trusted, len(steps)) == (kind, [], FORMATS[kind].steps)
    assert set(after.files) == {"golden.parquet", "manifest.json", KINDS[kind].path}
    np.testing.assert_allclose(after.score(COLUMNS, ROWS), old.score(COLUMNS, ROWS), atol=1e-6)
    assert list(made.facts) == ["compared, golden.parquet", "compared, the made-up rows"]
    assert all(path.exists() for path in made.files)


@NEEDS["c"]
@pytest.mark.parametrize("before", KINDS)
def test_a_bundle_of_every_kind_becomes_c(before: str, tmp_path: Path) -> None:
    old = bundle(before)
    made = exporter("c")(old, [golden_rows(old), WHOLE], tmp_path, quiet)
    assert made.facts["rows compared"] == f"50 of golden.parquet, {ROWS} of the made-up rows"
    hashed = "model.onnx" if before == "c" else "manifest.json"
    assert f'MADE_UP_FINGERPRINT "{digest(old.files[hashed])}"' in (tmp_path / "made_up.h").read_text()


def refused(make: Callable[[], object], error: type[Exception], said: str, folder: Path) -> None:
    with pytest.raises(error, match=said):
        make()
    assert not folder.exists()


def test_one_row_that_parts_is_reported_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, out = bundle(), tmp_path / "out"
    raw = before.graph.raw

    def moved(columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Another score for one row."""
        return np.where(np.arange(ROWS) == 17, raw(columns) + 0.01, raw(columns))

    monkeypatch.setattr(before.graph, "raw", moved)
    said = f"the made-up rows: 1 of {ROWS} rows .* first row 18"
    refused(lambda: turn("onnx", before, [WHOLE], out, quiet), ExportDiffers, said, out)


def test_what_the_other_kind_cannot_express_is_refused_by_name(tmp_path: Path) -> None:
    before = bundle("skops", Step("quantiles", lambda: QuantileTransformer(n_quantiles=10), FLOATS))
    out = tmp_path / "out"
    said = r"step 'quantiles' \(QuantileTransformer\).*Use KBinsDiscretizer"
    refused(lambda: turn("coefficients", before, [WHOLE], out, quiet), PlanRefused, said, out)


def test_what_turns_into_other_scores_is_refused_with_the_rows_that_part(tmp_path: Path) -> None:
    before = bundle("skops", Step("words", lambda: TfidfVectorizer(sublinear_tf=True, **TOKENS), TEXT))
    out = tmp_path / "out"
    said = r"cannot be turned into kind 'onnx': \d+ of 50 golden rows score differently.*kind='onnx' in its spec"
    refused(lambda: turn("onnx", before, [WHOLE], out, quiet), BundleRefused, said, out)


@pytest.mark.parametrize("before", ["onnx", pytest.param("c", marks=NEEDS["c"])])
def test_a_bundle_without_its_transformers_is_no_coefficients(before: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = rf"of kind '{before}' holds what its transformers compute.*kind='coefficients' in its spec"
    refused(lambda: turn("coefficients", bundle(before), [WHOLE], out, quiet), BundleRefused, said, out)


@pytest.mark.parametrize("kind", ["onnx", "coefficients"])
def test_a_bundle_of_the_kind_already_is_only_copied_by_hand(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = rf"'made_up' 1 is of kind '{kind}' already: copy its folder"
    refused(lambda: turn(kind, bundle(kind), [WHOLE], out, quiet), BundleRefused, said, out)


def test_a_model_that_answers_with_predictions_of_another_is_not_turned(tmp_path: Path) -> None:
    before, out = bundle(), tmp_path / "out"
    cached = replace(before, manifest=replace(before.manifest, kind="cached"))
    said = "answers with another model's predictions.*Turn that model"
    refused(lambda: turn("onnx", cached, [WHOLE], out, quiet), BundleRefused, said, out)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(BadRequest, match="is there already"):
        turn("onnx", bundle(), [WHOLE], tmp_path, quiet)
    assert list(read(tmp_path)) == ["precious"]
