"""A coefficients.json and the graph made of it compute the same, formula by formula."""

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, TargetEncoder

from lockstep.coefficients import Coefficients
from lockstep.errors import PlanRefused
from lockstep.formulas import FORMULAS, FUNCTIONS
from lockstep.graph import Graph
from tests.training.cases import TEXT, Case, unseen
from tests.training.columns import COLUMNS, fitted
from tests.training.kinds.page import TRANSFORMERS, outcome
from training.kinds.graphs import graph_of
from training.spec import Step

TEXTS = {
    "one hot of texts": Case(lambda: OneHotEncoder(handle_unknown="ignore"), TEXT),
    "ordinal of texts": Case(lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), TEXT),
    "target of texts": Case(lambda: TargetEncoder(target_type="binary"), TEXT, sees_label=True),
}
FUNCTION = {
    f"function {name}": Case(partial(FunctionTransformer, made), ("price",)) for name, made in FUNCTIONS.items()
}
LINEAR = {
    **{name: case for name, case in TRANSFORMERS.items() if not outcome("coefficients", "transformer", name)},
    **TEXTS,
    **FUNCTION,
}


def plain(case: Case) -> dict[str, Any]:
    it = fitted(Step("it", case.make, case.columns, case.sees_label), kind="coefficients")
    made: dict[str, Any] = json.loads(it.graph.model)
    return made


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", LINEAR)
def test_the_graph_scores_as_the_formulas_do(name: str) -> None:
    numbers = plain(LINEAR[name])
    graph, formulas = Graph(graph_of(numbers)), Coefficients(json.dumps(numbers).encode())
    for columns in (COLUMNS, unseen()):
        np.testing.assert_allclose(graph.raw(columns), formulas.raw(columns), rtol=1e-12, atol=1e-12)


def test_every_formula_has_a_graph_that_was_tried() -> None:
    used = {one["do"] for case in LINEAR.values() for step in plain(case)["steps"] for one in step["formulas"]}
    assert used == set(FORMULAS)


def test_a_row_has_the_same_score_alone_and_among_others() -> None:
    graph = Graph(graph_of(plain(LINEAR["impute, standard, pca"])))
    alone = [graph.raw({name: values[at : at + 1] for name, values in COLUMNS.items()})[0] for at in range(100)]
    np.testing.assert_array_equal(alone, graph.raw(COLUMNS)[:100])


def test_a_word_that_stands_for_nothing_elsewhere_is_a_word_like_others() -> None:
    """skl2onnx fills short texts up with '#', and would count those."""
    step = {
        "name": "it",
        "columns": ["words"],
        "as": "string",
        "formulas": [{"do": "count_words", "words": ["#", "a"]}],
        "features": [{"name": "#", "weight": 1.0}, {"name": "a", "weight": 10.0}],
    }
    graph = Graph(graph_of({"columns": {"words": "string"}, "intercept": 0.5, "steps": [step]}))
    texts = np.array(["# a #", "a", "", "a b c d"], object)
    np.testing.assert_array_equal(graph.raw({"words": texts}), [12.5, 10.5, 0.5, 10.5])


def test_a_lookup_of_numbers_that_are_no_ids_is_refused_by_name() -> None:
    formula = {"do": "lookup", "values": [[0.5]], "gives": [[1.0]], "otherwise": [0.0]}
    step = {
        "name": "it",
        "columns": ["price"],
        "as": "float64",
        "formulas": [formula],
        "features": [{"name": "price", "weight": 1.0}],
    }
    with pytest.raises(PlanRefused, match=r"step 'it' looks up numbers .*kind='onnx'"):
        graph_of({"columns": {"price": "float32"}, "intercept": 0.0, "steps": [step]})
