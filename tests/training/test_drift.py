import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lockstep.plan import Array
from training.baseline import counts_between, distributions, edges_of
from training.drift import MOVED, MUCH, Drift, drifts, range_text, stability_index

ROWS = 20_000


def baseline(columns: Mapping[str, Array]) -> dict[str, Any]:
    """What a bundle keeps of a frame, through its file."""
    rows = len(next(iter(columns.values())))
    kept: dict[str, Any] = json.loads(json.dumps(distributions(columns, np.full(rows, 0.5))))
    return kept


def drift(before: Array, now: Array) -> Drift:
    (found,) = drifts(baseline({"it": before}), {"it": now})
    return found


@pytest.fixture(scope="module")
def draw() -> np.random.Generator:
    return np.random.default_rng(7)


def floats(values: Array) -> Array:
    return values.astype(np.float32)


def test_a_column_that_stayed_has_not_moved(draw: np.random.Generator) -> None:
    seen = drift(floats(draw.normal(size=ROWS)), floats(draw.normal(size=ROWS)))
    assert (seen.verdict, seen.moved) == ("no", False)
    assert seen.index is not None
    assert 0 <= seen.index < 0.01


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.1, "no"), (0.4, "some"), (1.0, "much")], ids=["a little", "some", "much"]
)
def test_a_column_that_moved_is_told_by_how_much(draw: np.random.Generator, shift: float, verdict: str) -> None:
    seen = drift(floats(draw.normal(size=ROWS)), floats(draw.normal(shift, size=ROWS)))
    assert seen.verdict == verdict


def test_values_that_went_missing_have_moved_and_say_so(draw: np.random.Generator) -> None:
    before = floats(draw.normal(size=ROWS))
    now = np.where(draw.random(ROWS) < 0.3, np.float32("nan"), before)
    seen = drift(before, now)
    assert (seen.verdict, seen.emptied, seen.null_before) == ("much", False, 0.0)
    assert seen.null_now == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("gone", [np.full(50, np.nan, np.float32), np.full(50, "", object)], ids=["numbers", "text"])
def test_a_column_without_a_value_is_told_as_emptied(gone: Array) -> None:
    before = np.full(50, "word", object) if gone.dtype == object else np.arange(50, dtype=np.float32)
    assert drift(before, gone).verdict == "holds no value any more"
    assert not drift(gone, gone).moved, "it was empty before"


def test_a_value_that_is_most_of_a_column_has_a_bin_of_its_own() -> None:
    before = floats(np.repeat([0.0, 1.0, 2.0], [9_000, 500, 500]))
    assert drift(before, floats(np.repeat([0.0, 1.0, 2.0], [6_000, 2_000, 2_000]))).verdict == "much"
    assert drift(floats(np.full(100, 5.0)), floats(np.full(100, 4.0))).verdict == "much"


def test_ids_are_compared_by_their_commonest_values(draw: np.random.Generator) -> None:
    before = draw.choice([1, 2, 3], ROWS, p=[0.6, 0.3, 0.1])
    assert drift(before, draw.choice([1, 2, 3], ROWS, p=[0.6, 0.3, 0.1])).verdict == "no"
    assert drift(before, draw.choice([1, 2, 9], ROWS, p=[0.6, 0.3, 0.1])).verdict == "much", "9 was never seen"


def test_many_ids_are_compared_by_their_deciles(draw: np.random.Generator) -> None:
    before = draw.integers(0, 10_000, ROWS)
    assert drift(before, draw.integers(0, 10_000, ROWS)).verdict == "no"
    assert drift(before, draw.integers(5_000, 15_000, ROWS)).verdict == "much"


def test_text_is_compared_by_its_commonest_words() -> None:
    before = np.array(["a1 a2", "a1", "a3", ""] * 100, object)
    assert drift(before, before).verdict == "no"
    assert drift(before, np.array(["a2", "a2", "a3", ""] * 100, object)).verdict == "much"


def test_ranges_are_those_of_finite_values() -> None:
    seen = drift(np.array([1.0, 3.0, np.nan]), np.array([-np.inf, 2.0, 9.0]))
    assert (seen.range_before, seen.range_now) == ((1.0, 3.0), (2.0, 9.0))
    assert (range_text(seen.range_now), range_text(None)) == ("2 to 9", "")


def test_a_column_that_only_one_frame_has_or_that_changed_its_type_is_left_to_the_schema() -> None:
    kept = baseline({"gone": np.arange(9.0), "other": np.arange(9.0)})
    assert drifts(kept, {"other": np.arange(9), "new": np.arange(9.0)}) == []


def test_a_baseline_that_tells_too_little_compares_nothing_and_says_so() -> None:
    kept = baseline({"it": np.arange(9.0)})
    del kept["columns"]["it"]["histogram"]  # as bundles had it before there were histograms
    (seen,) = drifts(kept, {"it": np.arange(9.0)})
    assert (seen.verdict, seen.moved) == ("not compared", False)


def test_the_index_is_that_of_credit_scoring() -> None:
    before, now = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])
    assert stability_index(before, now) == pytest.approx(-0.1 * np.log(0.8) + 0.1 * np.log(1.5))
    assert stability_index(before, before) == 0.0
    assert MOVED < MUCH < stability_index(np.array([1.0, 0.0]), np.array([0.0, 1.0])) < np.inf


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(0, 30)))
def test_every_value_lies_in_one_bin(values: Array) -> None:
    edges = edges_of(values)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert counts_between(edges, values).sum() == (~np.isnan(values)).sum()


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, 20), arrays(np.float64, 20))
def test_the_index_of_any_two_columns_is_finite_and_never_negative(before: Array, now: Array) -> None:
    index = drift(before, now).index
    assert index is not None
    assert 0 <= index < np.inf
