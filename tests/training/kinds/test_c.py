"""Kind c: the estimator is fitted on what C computes, the scorer runs the graph, and the code is in the bundle."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.svm import SVC

from lockstep.bundle import Bundle, build
from lockstep.errors import BundleRefused, MissingTool, PlanRefused
from lockstep.graph import Graph
from lockstep.plan import digest
from tests.training.cases import EXACT, FLOATS, HOLES, IDS, TEXT, Case, unseen
from tests.training.columns import COLUMNS, ROWS, fitted
from tests.training.kinds.bundled import bundled
from tests.training.kinds.needs import NEEDS
from training.checks import check_scores, check_transformers
from training.exports.c.compiler import compiled
from training.exports.c.export import code, export
from training.exports.c.features import CompiledFeatures
from training.exports.c.header import Api
from training.exports.rows import RowSet, golden_rows
from training.fit import Fitted
from training.spec import Step

pytestmark = NEEDS["c"]
MODELS = {"pca": HOLES, "ids": IDS, "words": TEXT, "scores": FLOATS}
CASES = dict(zip(MODELS, ("impute, standard, pca", "top n", "tf-idf l2", "log-odds of a linear model"), strict=True))


@pytest.fixture(scope="module")
def it() -> Fitted:
    """Transformations that are models themselves, into trees."""
    cases = {name: EXACT[case] for name, case in CASES.items()}
    steps = [Step(name, case.make, MODELS[name], case.sees_label) for name, case in cases.items()]
    trees = HistGradientBoostingClassifier(max_iter=30, min_samples_leaf=5, random_state=1)
    return fitted(*steps, estimator=trees, kind="c")


@pytest.fixture(scope="module")
def bundle(it: Fitted) -> Bundle:
    return build(bundled(it))


def test_the_features_are_computed_by_c_and_pass_both_checks(it: Fitted) -> None:
    assert isinstance(it.transformations, CompiledFeatures)
    assert it.features(COLUMNS).dtype == np.float32
    check_transformers(it, COLUMNS)
    check_transformers(it, unseen())
    check_scores(it, COLUMNS)


def test_the_scorer_runs_the_graph_and_finds_the_code_beside_it(bundle: Bundle) -> None:
    assert isinstance(bundle.graph, Graph)
    assert sorted(bundle.files) == [
        "c/made_up.c",
        "c/made_up.h",
        "golden.parquet",
        "manifest.json",
        "model.onnx",
    ]
    assert bundle.manifest.files["c/made_up.c"] == digest(bundle.files["c/made_up.c"])


def test_the_code_names_the_graph_that_it_agrees_with(bundle: Bundle) -> None:
    header = bundle.files["c/made_up.h"].decode()
    assert f'#define MADE_UP_FINGERPRINT "{digest(bundle.files["model.onnx"])}"' in header
    assert "SHA-256 of the bundle's model.onnx" in header


def test_the_code_in_the_bundle_scores_every_row_as_the_scorer_does(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("made_up.h", "made_up.c"):
        (tmp_path / name).write_bytes(bundle.files[f"c/{name}"])
    scores = compiled(Api(bundle), tmp_path).score(COLUMNS)
    np.testing.assert_allclose(scores, bundle.score(COLUMNS, ROWS), rtol=1e-12)


def test_an_export_writes_the_code_that_training_proved(bundle: Bundle, tmp_path: Path) -> None:
    stored = Bundle(bundle.manifest, bundle.functions, bundle.graph, dict(sorted(bundle.files.items())))
    made = export(stored, [golden_rows(bundle), RowSet("rows", COLUMNS, ROWS)], tmp_path, lambda _: None)
    assert [path.name for path in made.files] == ["made_up.h", "made_up.c", "made_up_example.c", "golden.csv"]
    for path in made.files[:2]:
        assert path.read_bytes() == bundle.files[f"c/{path.name}"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        pytest.param(
            EXACT["counts of pairs"],
            r"step 'it' \(CountVectorizer\) cannot be written in C: .*several words.*Use ngram_range=\(1, 1\), or",
            id="several words in a row",
        ),
        pytest.param(
            Case(lambda: EXACT["counts"].make().set_params(lowercase=True), TEXT),
            r"step 'it'.*Use ",
            id="what has no graph",
        ),
    ],
)
def test_a_transformer_that_c_cannot_express_is_refused_when_it_is_fitted(case: Case, said: str) -> None:
    with pytest.raises(PlanRefused, match=said):
        fitted(Step("it", case.make, case.columns), kind="c")


def test_an_estimator_that_c_cannot_express_is_refused_when_it_is_fitted() -> None:
    with pytest.raises(PlanRefused, match=r"the estimator SVC cannot be written in C: .* Use HistGradientBoosting"):
        fitted(Step("numbers", EXACT["standard"].make, FLOATS), estimator=SVC(), kind="c")


def test_code_that_scores_one_row_otherwise_is_no_bundle(it: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(api: Api, rows: RowSet) -> dict[str, bytes]:
        """Code that adds to the raw score of one row."""
        files, raw = code(api, rows), np.float32(it.graph.raw(COLUMNS)[123])
        source = files["made_up.c"].decode()
        moved = re.sub(r"\* raw \+", f"* (raw == (double){raw}f ? raw + 1 : raw) +", source)
        return {**files, "made_up.c": moved.encode()}

    monkeypatch.setattr("training.kinds.c.code", wrong)
    said = rf"C code does not score as .* of {ROWS} rows score differently, first row \d+: .* Train with kind='onnx'"
    with pytest.raises(BundleRefused, match=said):
        bundled(it)


def test_a_machine_without_compiler_is_told_when_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(MissingTool, match=r"no C compiler 'no-such-compiler'.*Install one"):
        fitted(Step("numbers", EXACT["standard"].make, FLOATS), kind="c")
