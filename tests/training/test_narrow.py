"""The graph that serves makes the ids that a tree looks at and no others, and scores as if it made them all."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lockstep.graph import Graph
from tests.training.columns import COLUMNS, fitted
from training.export import estimator_graph, joined, transform_graph
from training.fit import Fitted
from training.narrow import narrowed
from training.spec import Step
from training.transformers import TopN

NUMBERS = Step("numbers", StandardScaler, ("height", "price"))
IDS = Step("ids", lambda: TopN(8), ("app", "os"))
WORDS = Step("words", lambda: CountVectorizer(lowercase=False, token_pattern=r"[^ ]+"), ("words",))


def boosting(**settings: Any) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(**{"max_iter": 12, "min_samples_leaf": 5, "random_state": 1, **settings})


def looked_at(it: Fitted) -> set[int]:
    """The features that any split of the estimator compares."""
    nodes = np.concatenate([tree.nodes for (tree,) in it.estimator._predictors])
    return set(nodes["feature_idx"][nodes["is_leaf"] == 0].tolist())


def values_of(it: Fitted, step: str = "ids") -> int:
    """How many ids the graph that serves compares with."""
    (found,) = (
        one for one in onnx.load_from_string(it.graph.model).graph.initializer if one.name == f"{step}/top_values"
    )
    return int(numpy_helper.to_array(found).size)


@pytest.mark.parametrize("steps", [(NUMBERS, IDS, WORDS), (IDS, NUMBERS), (WORDS, NUMBERS, IDS), (IDS,)])
def test_a_narrow_graph_scores_as_the_whole_one_on_every_row(steps: tuple[Step, ...]) -> None:
    it = fitted(*steps, estimator=boosting())
    whole = joined(transform_graph(it.steps), estimator_graph(it.estimator, it.estimator.n_features_in_)[0])
    expected = Graph(whole).raw(COLUMNS)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(it.graph.raw(COLUMNS), expected)
    first = sum(width for name, width in list(it.widths.items())[: [step.name for step in steps].index("ids")])
    used = looked_at(it) & set(range(first, first + it.widths["ids"]))
    assert values_of(it) == len(used)


def test_of_ids_that_no_tree_looks_at_one_stays() -> None:
    it = fitted(NUMBERS, IDS, estimator=boosting(max_iter=1, max_leaf_nodes=2))
    assert looked_at(it) <= {0, 1}
    assert values_of(it) == 1
    assert sorted(it.graph.inputs) == ["app", "height", "os", "price"]


def test_a_step_without_values_stays_without() -> None:
    it = fitted(NUMBERS, Step("ids", lambda: TopN(0), ("app", "os")), estimator=boosting())
    assert values_of(it) == 0


def test_the_estimator_and_its_transformers_stay_as_they_were_fitted() -> None:
    it = fitted(NUMBERS, IDS, estimator=boosting())
    (_, ids), width = it.steps, it.widths["ids"]
    serving, kept = narrowed(it.steps, it.estimator)
    assert sum(len(values) for values in ids.transformer.values_) == width
    assert sum(len(values) for values in serving[1].transformer.values_) == len(kept) - 2 < width
    assert serving[0] is it.steps[0]


def test_an_estimator_that_looks_at_everything_gets_everything() -> None:
    it = fitted(NUMBERS, IDS, estimator=LogisticRegression(max_iter=5_000))
    serving, kept = narrowed(it.steps, it.estimator)
    assert serving == it.steps
    assert kept.tolist() == list(range(it.estimator.n_features_in_))
    assert values_of(it) == it.widths["ids"]


def test_where_a_step_does_not_say_how_many_features_it_makes_all_are_made() -> None:
    it = fitted(NUMBERS, IDS, estimator=boosting())
    it.steps[0].graph.output[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    serving, kept = narrowed(it.steps, it.estimator)
    assert serving == it.steps
    assert len(kept) == it.estimator.n_features_in_
