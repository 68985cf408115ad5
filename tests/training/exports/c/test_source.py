"""Every transformer that goes to C scores there as in ONNX Runtime, on rows like the fitted ones and unlike them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from lockstep.bundle import Bundle
from lockstep.errors import ExportRefused
from tests.training.cases import EXACT, FLOATS, IDS, TEXT, TOKENS, Case, unseen
from tests.training.columns import COLUMNS
from tests.training.exports.models import bundle, row_set
from training.exports.c.compiler import Compiled, compiled
from training.exports.c.export import compare
from training.exports.c.header import Api
from training.exports.c.source import source
from training.exports.rows import golden_rows
from training.spec import Step

NOT_IN_C = {"counts of pairs"}
TEXTS = {
    "one hot of texts": Case(lambda: OneHotEncoder(handle_unknown="ignore"), TEXT),
    "target of texts": Case(EXACT["target"].make, TEXT, sees_label=True),
    "ordinal of texts": Case(EXACT["ordinal"].make, TEXT),
    "words of letters": Case(lambda: EXACT["counts"].make().set_params(token_pattern=r"[a-z]+"), TEXT),
}
CASES = {name: case for name, case in {**EXACT, **TEXTS}.items() if name not in NOT_IN_C}


def steps(cases: dict[str, Case]) -> list[Step]:
    return [Step(f"step {i}", case.make, case.columns, case.sees_label) for i, case in enumerate(cases.values())]


def code(made: Bundle) -> str:
    row = {name: values[:1] for name, values in golden_rows(made).columns.items()}
    return source(Api(made), row)


def build(made: Bundle, folder: Path) -> Compiled:
    api = Api(made)
    (folder / f"{api.name}.h").write_text(api.header())
    (folder / f"{api.name}.c").write_text(code(made))
    return compiled(api, folder)


def test_all_transformers_in_one_model_score_as_the_graph_does(tmp_path: Path) -> None:
    made = bundle(*steps(CASES))
    model = build(made, tmp_path)
    for columns in (COLUMNS, unseen()):
        difference = compare(Api(made), model, row_set(made, columns))
        assert difference.rows == len(columns["app"])
        assert difference.odds <= 1e-5


def test_trees_score_to_the_last_bits(tmp_path: Path) -> None:
    trees = HistGradientBoostingClassifier(max_iter=30, min_samples_leaf=5, random_state=1)
    made = bundle(*steps({name: CASES[name] for name in ("log-odds of trees", "pca", "tf-idf l2")}), estimator=trees)
    model = build(made, tmp_path)
    raw = made.graph.raw(row_set(made, COLUMNS).columns)
    scores = model.score(row_set(made, COLUMNS).columns)
    np.testing.assert_allclose(scores, made.manifest.link(raw), rtol=1e-14)


def test_missing_values_take_the_side_that_the_trees_learnt(tmp_path: Path) -> None:
    trees = HistGradientBoostingClassifier(max_iter=30, min_samples_leaf=5, random_state=1)
    made = bundle(Step("as it is", StandardScaler, ("gap", "height")), estimator=trees)
    columns = {**COLUMNS, "height": np.where(np.arange(len(COLUMNS["height"])) % 3 == 0, np.nan, COLUMNS["height"])}
    assert "!(x[" in code(made), "no tree sends NaN to the side of yes"
    assert compare(Api(made), build(made, tmp_path), row_set(made, columns)).odds < 1e-14


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(GradientBoostingClassifier(n_estimators=20, random_state=1), id="trees of float32"),
        pytest.param(
            StackingClassifier(
                [
                    ("trees", GradientBoostingClassifier(n_estimators=5, random_state=1)),
                    ("linear", LogisticRegression()),
                ]
            ),
            id="classifiers that feed a classifier",
        ),
    ],
)
def test_classifiers_of_onnx_ml_are_rewritten(estimator: Any, tmp_path: Path) -> None:
    made = bundle(Step("numbers", StandardScaler, FLOATS), estimator=estimator)
    assert compare(Api(made), build(made, tmp_path), row_set(made, COLUMNS)).odds <= 1e-5


@pytest.mark.parametrize(
    ("case", "said"),
    [
        pytest.param(EXACT["counts of pairs"], r"step 'it': .*several words.* Use ngram_range=\(1, 1\)", id="pairs"),
        pytest.param(
            Case(lambda: EXACT["counts"].make().set_params(token_pattern="a1|zz"), TEXT),
            r"step 'it': words found by the pattern 'a1\|zz'.* Use token_pattern='\[\^ \]\+'",
            id="a pattern that is no class",
        ),
        pytest.param(
            Case(OneHotEncoder, TEXT), "step 'it': .* Use handle_unknown='ignore'", id="unknown texts refused"
        ),
    ],
)
def test_what_c_cannot_express_is_refused_by_name(case: Case, said: str) -> None:
    with pytest.raises(ExportRefused, match=said):
        code(bundle(Step("it", case.make, case.columns)))


def test_an_estimator_that_c_cannot_express_is_refused() -> None:
    made = bundle(Step("numbers", StandardScaler, FLOATS), estimator=SVC())
    with pytest.raises(ExportRefused, match=r"the estimator: SVMClassifier .* Use HistGradientBoostingClassifier"):
        code(made)


def test_names_that_c_does_not_take_are_changed_and_told(tmp_path: Path) -> None:
    made = bundle(Step("ids", EXACT["top n"].make, IDS), name="my-model")
    header = Api(made).header()
    assert "double my_model_score(const struct my_model_row *row);" in header
    assert 'X(app, INT64, "app")' in header
    assert build(made, tmp_path).score(row_set(made, COLUMNS).columns).shape == (400,)


def test_a_row_without_values_holds_defaults_and_nulls(tmp_path: Path) -> None:
    made = bundle(
        *steps({name: EXACT[name] for name in ("impute mean", "top n", "counts")}),
        defaults={"gap": 0.1, "app": 7, "words": 'a1 "zz"'},
    )
    built = code(made)
    assert ".gap = 0.1f," in built
    assert ".seldom = NAN," in built
    assert ".app = INT64_C(7)," in built
    assert ".os = INT64_C(0)," in built
    assert r'.words = {"a1 \042zz\042", 7},' in built
    build(made, tmp_path)


def test_texts_are_read_by_their_size_and_not_to_a_zero(tmp_path: Path) -> None:
    made = bundle(Step("words", lambda: EXACT["counts"].make(), TEXT))
    texts = np.array(["a1 a2", "a1\0 a2", "\0", "ü" * 5_000 + " zz", " a1", "zz "], object)
    assert TOKENS["lowercase"] is False
    assert compare(Api(made), build(made, tmp_path), row_set(made, {"words": texts})).rows == 6
