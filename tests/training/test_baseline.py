import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lockstep.errors import EvaluationRefused
from lockstep.plan import Array
from training.baseline import QUANTILES, distributions


def one(column: Array) -> dict[str, Any]:
    """What is said of a column."""
    described: dict[str, Any] = distributions({"it": column}, np.full(column.size, 0.5))["columns"]["it"]
    return described


def text(*values: str) -> Array:
    return np.array(values, dtype=object)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_column_of_numbers_is_told_by_moments_and_quantiles(dtype: type) -> None:
    seen = one(np.array([1, 2, 3, 4, np.nan], dtype=dtype))
    assert (seen["dtype"], seen["count"], seen["null_share"]) == (np.dtype(dtype).name, 5, 0.2)
    assert (seen["mean"], seen["std"]) == (2.5, pytest.approx(np.sqrt(1.25)))
    assert list(map(float, seen["quantiles"])) == list(QUANTILES)
    assert [seen["quantiles"][q] for q in ("0.0", "0.25", "0.5", "1.0")] == [1.0, 1.75, 2.5, 4.0]


def test_a_column_that_is_all_null_has_no_moments() -> None:
    seen = one(np.full(3, np.nan, dtype=np.float32))
    assert (seen["null_share"], seen["mean"], seen["std"]) == (1.0, None, None)
    assert set(seen["quantiles"].values()) == {None}


def test_infinite_values_are_counted_and_kept_out_of_the_moments() -> None:
    seen = one(np.array([np.inf, -np.inf, 1.0, 3.0]))
    assert (seen["infinite_share"], seen["null_share"], seen["mean"]) == (0.5, 0.0, 2.0)


def test_a_large_column_of_float32_is_summed_in_float64() -> None:
    assert one(np.full(2_000_000, 16_777_217, dtype=np.float32))["mean"] == 16_777_216.0


def test_ids_are_told_by_their_commonest_values() -> None:
    seen = one(np.array([7] * 5 + [3] * 3 + list(range(100, 130)), dtype=np.int64))
    assert (seen["distinct"], len(seen["top"])) == (32, 20)
    assert seen["top"][:2] == [{"value": 7, "share": 5 / 38}, {"value": 3, "share": 3 / 38}]
    assert seen["quantiles"]["1.0"] == 129.0


def test_the_largest_id_keeps_its_last_digit() -> None:
    assert one(np.array([2**63 - 1], dtype=np.int64))["top"] == [{"value": 2**63 - 1, "share": 1.0}]


def test_text_is_told_by_the_share_of_rows_that_hold_each_token() -> None:
    seen = one(text("a1 a2 a1", "a2", "", "a3 a2"))
    assert (seen["null_share"], seen["distinct"], seen["distinct_tokens"]) == (0.25, 4, 3)
    assert seen["top"] == [
        {"value": "a2", "share": 0.75},
        {"value": "a1", "share": 0.25},
        {"value": "a3", "share": 0.25},
    ]


def test_at_most_twenty_tokens_are_named() -> None:
    assert len(one(text(" ".join(f"t{number}" for number in range(50))))["top"]) == 20


def test_scores_are_told_by_quantiles_and_twenty_bins_of_log_odds() -> None:
    scores = 1 / (1 + np.exp(-np.linspace(-10, 2, 1_000)))
    seen = distributions({}, scores)["scores"]
    assert seen["mean"] == pytest.approx(scores.mean())
    assert seen["quantiles"]["0.5"] == pytest.approx(np.median(scores))
    assert seen["histogram"]["log_odds_edges"] == pytest.approx(np.linspace(-10, 2, 21))
    assert seen["histogram"]["counts"] == pytest.approx([50] * 20, abs=1)


@pytest.mark.parametrize("scores", [[0.0, 1.0], [0.3, 0.3], [0.3]])
def test_every_score_is_in_a_bin(scores: list[float]) -> None:
    histogram = distributions({}, np.array(scores))["scores"]["histogram"]
    assert (sum(histogram["counts"]), len(histogram["counts"])) == (len(scores), 20)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, 6),
    arrays(np.float64, 6),
    arrays(np.int64, 6),
    st.lists(st.text(), min_size=6, max_size=6),
    arrays(np.float64, 6, elements=st.floats(0, 1)),
)
def test_whatever_the_frame_the_file_is_strict_json(a: Array, b: Array, c: Array, d: list[str], p: Array) -> None:
    content = distributions({"a": a, "b": b, "c": c, "d": text(*d)}, p)
    assert json.loads(json.dumps(content, allow_nan=False)) == content


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (np.zeros(3), r"column 'it': shape \(3,\), but there are 2 scores"),
        (np.zeros((2, 2)), r"column 'it': shape \(2, 2\)"),
        (np.array([True, False]), "column 'it': bool is no dtype of a plan"),
        (np.array(["a", None], dtype=object), "column 'it': None is no string"),
        (np.array(["a", 1.5], dtype=object), "column 'it': 1.5 is no string"),
    ],
)
def test_a_column_that_no_plan_has_is_refused_by_name(column: Array, sentence: str) -> None:
    with pytest.raises(EvaluationRefused, match=sentence):
        distributions({"it": column}, np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [([], "no rows to describe"), ([0.5, np.nan], "some are no probabilities"), ([1.5], "some are no probabilities")],
)
def test_scores_that_are_none_are_refused(scores: list[float], sentence: str) -> None:
    with pytest.raises(EvaluationRefused, match=sentence):
        distributions({}, np.array(scores))
