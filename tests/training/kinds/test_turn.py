"""A bundle of one kind becomes one of another only where no row's score parts."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from lockstep.bundle import Bundle, build
from lockstep.errors import BadRequest, BundleRefused, ExportDiffers, PlanRefused
from lockstep.plan import Array
from tests.training.cases import FLOATS
from tests.training.columns import COLUMNS, ROWS, fitted
from tests.training.kinds.bundled import bundled
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


@pytest.mark.parametrize("kind", ["onnx", "coefficients"])
def test_a_turned_bundle_builds_and_scores_the_same(kind: str, tmp_path: Path) -> None:
    before, steps = bundle(), list[float]()
    made = exporter(kind)(before, [golden_rows(before), WHOLE], tmp_path / "out", steps.append)
    after = build(read(tmp_path / "out"))
    assert (after.manifest.kind, after.manifest.trusted, len(steps)) == (kind, [], FORMATS[kind].steps)
    np.testing.assert_allclose(after.score(COLUMNS, ROWS), before.score(COLUMNS, ROWS), atol=1e-6)
    assert list(made.facts) == ["compared, golden.parquet", "compared, the made-up rows"]
    assert all(path.exists() for path in made.files)


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


@pytest.mark.parametrize("kind", ["onnx", "coefficients"])
def test_a_bundle_without_its_transformers_is_refused_with_the_way_out(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = rf"of kind '{kind}' holds.*kind='onnx' in its spec"
    refused(lambda: turn("onnx", bundle(kind), [WHOLE], out, quiet), BundleRefused, said, out)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(BadRequest, match="is there already"):
        turn("onnx", bundle(), [WHOLE], tmp_path, quiet)
    assert list(read(tmp_path)) == ["precious"]
