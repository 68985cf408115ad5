"""TopN: which values it keeps, and that its graph says the same."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lockstep.errors import PlanRefused
from lockstep.plan import DType
from training.export import FittedStep, step_alone
from training.spec import Step
from training.transformers import TopN


def ids(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def test_the_most_frequent_values_come_first_and_ties_go_to_the_smaller_id() -> None:
    fitted = TopN(3).fit(ids(9, 9, 9, 4, 4, 2, 2, 7)[:, None])
    assert fitted.values_[0].tolist() == [9, 2, 4]


def test_ties_at_the_last_place_keep_the_smaller_id() -> None:
    assert TopN(1).fit(ids(8, 5, 5, 8)[:, None]).values_[0].tolist() == [5]


def test_a_column_with_fewer_values_keeps_them_all() -> None:
    fitted = TopN(5).fit(np.column_stack([ids(1, 1, 2), ids(3, 3, 3)]))
    assert [values.tolist() for values in fitted.values_] == [[1, 2], [3]]


def test_each_kept_value_has_a_column_and_the_rest_is_all_zeros() -> None:
    fitted = TopN(2).fit(np.column_stack([ids(1, 1, 2, 2, 3), ids(5, 5, 5, 6, 6)]))
    made = fitted.transform(np.column_stack([ids(1, 2, 3, -9), ids(6, 5, 2**62, 0)]))
    assert made.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_names_tell_the_column_and_the_value() -> None:
    fitted = TopN(2).fit(np.column_stack([ids(1, 1, 2), ids(7, 7, 7)]))
    assert fitted.get_feature_names_out(["app", "os"]).tolist() == ["app=1", "app=2", "os=7"]
    assert fitted.get_feature_names_out().tolist() == ["x0=1", "x0=2", "x1=7"]


@pytest.mark.parametrize("values", [np.array([[1.0]]), np.array([["a"]], object)], ids=["floats", "texts"])
def test_anything_but_whole_numbers_is_refused(values: NDArray[Any]) -> None:
    with pytest.raises(PlanRefused, match="int64 ids"):
        TopN().fit(values)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0, 1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1]))),
    n=st.integers(1, 4),
    unseen=st.integers(-(2**63), 2**63 - 1),
)
def test_its_graph_equals_it_on_every_row(rows: list[tuple[int, int]], n: int, unseen: int) -> None:
    table = np.array([*rows, (0, 0)], np.int64)
    step = FittedStep(Step("ids", lambda: TopN(n), ("a", "b")), TopN(n).fit(table), (DType.INT64, DType.INT64))
    asked = np.vstack([table, [[unseen, unseen]]])
    served = step_alone(step).run({"a": asked[:, 0], "b": asked[:, 1]})
    np.testing.assert_array_equal(served, step.transformer.transform(asked))
