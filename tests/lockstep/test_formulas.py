"""Each formula computes what its page says, on numbers that one can do in one's head."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.coefficients import formula
from lockstep.errors import BundleRefused
from lockstep.formulas import FORMULAS, weighed

NAN = float("nan")
CASES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "impute": ({"fill": [1, 2]}, [[NAN, 5.0], [4.0, NAN]], [[1, 5], [4, 2]]),
    "standardize": ({"minus": [1, 0], "divide": [2, 4]}, [[3.0, 8.0]], [[1, 2]]),
    "stretch": ({"times": [2, 3], "plus": [1, 0]}, [[3.0, 8.0]], [[7, 24]]),
    "clip": ({"low": 0, "high": 1}, [[-3.0, 0.5, 8.0]], [[0, 0.5, 1]]),
    "function": ({"name": "sqrt"}, [[4, 9]], [[2, 3]]),
    "one_hot": ({"values": [[7, 3], [1]]}, [[3, 1], [9, 2]], [[0, 1, 1], [0, 0, 0]]),
    "lookup": (
        {"values": [[7, 3], []], "gives": [[0.5, 0.25], []], "otherwise": [-1, -2]},
        [[3, 1], [9, 2]],
        [[0.25, -2], [-1, -2]],
    ),
    "bins": ({"edges": [[1, 2], []]}, [[0.5, 9.0], [1.0, 9.0], [7.0, 9.0]], [[0, 0], [1, 0], [2, 0]]),
    "project": ({"minus": [1, 0], "onto": [[1, 1], [0, 2]]}, [[3.0, 8.0]], [[10, 16]]),
    "products": ({"powers": [[0, 0], [2, 1]]}, [[3, 2]], [[1, 18]]),
    "unit_length": ({}, [[3.0, 4.0], [0.0, 0.0]], [[0.6, 0.8], [0, 0]]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_formula_computes_what_its_page_says(name: str) -> None:
    fields, x, wanted = CASES[name]
    np.testing.assert_array_equal(formula({"do": name, **fields})(np.array(x)), np.array(wanted, float))


def test_words_are_counted_between_spaces_alone_and_in_runs() -> None:
    count = formula({"do": "count_words", "words": ["a", "a b", "ü"]})
    texts = np.array([["a b  a"], [""], ["ab ü"]], object)
    assert count(texts).tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_texts_are_looked_up_and_told_apart() -> None:
    texts = np.array([["de"], ["xx"]], object)
    assert formula({"do": "one_hot", "values": [["at", "de"]]})(texts).tolist() == [[0, 1], [0, 0]]
    looked_up = formula({"do": "lookup", "values": [["at", "de"]], "gives": [[1, 2]], "otherwise": [0]})(texts)
    assert looked_up.tolist() == [[2], [0]]


def test_every_formula_is_tried_here() -> None:
    assert set(FORMULAS) == {*CASES, "count_words"}


def test_ids_of_63_bits_are_told_apart() -> None:
    ids = np.array([[2**62], [2**62 + 1]])
    assert formula({"do": "one_hot", "values": [[2**62 + 1]]})(ids).tolist() == [[0], [1]]


@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 5))
def test_a_weighted_sum_has_the_same_bits_alone_and_among_others(width: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(rows, width)), rng.normal(size=width)
    whole = weighed(x, weights)
    assert [weighed(x[[row]], weights)[0] for row in range(rows)] == whole.tolist()
    assert weighed(np.asfortranarray(x), weights).tolist() == whole.tolist()


@pytest.mark.parametrize("plain", [{"do": "imput", "fill": []}, {"do": "__class__"}])
def test_an_unknown_formula_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(BundleRefused, match="knows no formula"):
        formula(plain)
