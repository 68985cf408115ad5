import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from lockstep.errors import EvaluationRefused
from training.evaluate import SCORE_BOUNDS, Estimate, Floats, assess, compare, evaluate


@dataclass(frozen=True)
class Rows:
    y: NDArray[np.int64]
    p: Floats
    worse: Floats
    """Scores of a model that knows less."""


def draw(seed: int, rows: int, mean: float = -1.5) -> Rows:
    """Rows whose scores are their true probabilities, so that the truth of every measure can be computed."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(mean, 1.5, rows)
    p = 1 / (1 + np.exp(-odds))
    worse = 1 / (1 + np.exp(-(odds + rng.normal(0, 1.0, rows))))
    return Rows((rng.random(rows) < p).astype(np.int64), p, worse)


@st.composite
def judged(draw_one: st.DrawFn) -> tuple[NDArray[np.int64], Floats]:
    """Labels of both classes, and scores of which many are tied."""
    rows = draw_one(st.integers(2, 40))
    y = draw_one(st.lists(st.integers(0, 1), min_size=rows, max_size=rows).filter(lambda each: 0 < sum(each) < rows))
    tenths = draw_one(st.lists(st.integers(1, 9), min_size=rows, max_size=rows))
    return np.array(y), np.array(tenths) / 10


@settings(max_examples=50, deadline=None)
@given(judged())
def test_the_measures_are_those_of_scikit_learn(rows: tuple[NDArray[np.int64], Floats]) -> None:
    y, p = rows
    seen = evaluate(y, p, resamples=2)
    assert seen.auc.value == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert seen.average_precision.value == pytest.approx(average_precision_score(y, p), abs=1e-12)
    assert seen.log_loss.value == pytest.approx(log_loss(y, p), abs=1e-12)
    assert seen.calibration.value == pytest.approx(p.mean() / y.mean(), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(judged(), st.integers(0, 2**32 - 1))
def test_whatever_the_rows_every_number_is_finite_and_the_bins_hold_each_row_once(
    rows: tuple[NDArray[np.int64], Floats], seed: int
) -> None:
    y, p = rows
    seen = evaluate(y, p, seed=seed, resamples=5)
    assert json.loads(json.dumps(seen.to_json(), allow_nan=False))["rows"] == y.size
    assert sum(each.rows for each in seen.reliability) == y.size
    assert sum(each.positives for each in seen.reliability) == y.sum()
    assert sum(each.rows * each.mean_score for each in seen.reliability) == pytest.approx(p.sum())


def test_a_tie_counts_half() -> None:
    seen = evaluate(np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.2, 0.1]))
    assert seen.auc.value == (0.5 + 1 + 0 + 1) / 4


def test_a_constant_is_a_coin() -> None:
    seen = evaluate(np.array([1, 0, 0, 0]), np.full(4, 0.25))
    assert seen.auc == Estimate(0.5, 0.5, 0.5)
    assert seen.average_precision.value == 0.25
    assert seen.calibration.value == 1.0
    assert len(seen.reliability) == 1


@pytest.fixture(scope="module")
def covered() -> dict[str, int]:
    """In how many of 40 samples each interval holds the truth."""
    whole = draw(0, 200_000)
    entropy = -(whole.p * np.log(whole.p) + (1 - whole.p) * np.log1p(-whole.p)).mean()
    other = -(whole.p * np.log(whole.worse) + (1 - whole.p) * np.log1p(-whole.worse)).mean()
    truth = {
        "auc": roc_auc_score(whole.y, whole.p),
        "average_precision": average_precision_score(whole.y, whole.p),
        "log_loss": entropy,
        "calibration": 1.0,
        "difference": entropy - other,
    }
    hits = dict.fromkeys(truth, 0)
    for seed in range(1, 41):
        rows = draw(seed, 400)
        seen = vars(evaluate(rows.y, rows.p, resamples=120))
        seen = {**seen, "difference": compare(rows.y, rows.p, rows.worse, resamples=120).log_loss}
        for name, value in truth.items():
            hits[name] += seen[name].low <= value <= seen[name].high
    return hits


@pytest.mark.parametrize("measure", ["auc", "average_precision", "log_loss", "calibration", "difference"])
def test_an_interval_holds_the_truth_about_as_often_as_it_says(covered: dict[str, int], measure: str) -> None:
    assert covered[measure] >= 33  # 38 are expected; fewer than 33 have a chance below 1 %


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    rows = draw(3, 200)
    assert evaluate(rows.y, rows.p, seed=1) == evaluate(rows.y, rows.p, seed=1)
    assert evaluate(rows.y, rows.p, seed=1).auc != evaluate(rows.y, rows.p, seed=2).auc


def test_more_rows_make_the_interval_narrower() -> None:
    few, many = draw(1, 200), draw(1, 20_000)
    narrow, broad = evaluate(many.y, many.p).auc, evaluate(few.y, few.p).auc
    assert narrow.high - narrow.low < (broad.high - broad.low) / 4


def test_a_model_does_not_differ_from_itself() -> None:
    rows = draw(5, 300)
    assert compare(rows.y, rows.p, rows.p).log_loss == Estimate(0, 0, 0)


def test_the_better_model_has_the_higher_auc_and_the_lower_loss() -> None:
    rows = draw(5, 3_000)
    seen = compare(rows.y, rows.p, rows.worse)
    assert seen.auc.low > 0
    assert seen.average_precision.low > 0
    assert seen.log_loss.high < 0


def test_a_paired_difference_is_known_better_than_either_loss() -> None:
    rows = draw(5, 3_000)
    near = np.clip(rows.p * 1.01, 0, 1)
    loss, difference = evaluate(rows.y, rows.p).log_loss, compare(rows.y, rows.p, near).log_loss
    assert difference.high - difference.low < (loss.high - loss.low) / 10


def test_an_assessment_is_its_parts() -> None:
    rows = draw(8, 400)
    seen = assess(rows.y, rows.p, prior=0.3, baseline=rows.worse)
    constant = np.full(400, 0.3)
    assert seen.model == evaluate(rows.y, rows.p)
    assert seen.baseline == evaluate(rows.y, rows.worse)
    assert seen.prior == evaluate(rows.y, constant)
    assert seen.against_baseline == compare(rows.y, rows.p, rows.worse)
    assert seen.against_prior == compare(rows.y, rows.p, constant)
    assert set(json.loads(json.dumps(seen.to_json(), allow_nan=False))) == set(vars(seen))


def test_the_prior_costs_its_entropy() -> None:
    y = np.array([1] * 2 + [0] * 8)
    seen = assess(y, np.linspace(0.9, 0.1, 10), prior=0.2, baseline=np.linspace(0.5, 0.4, 10))
    assert seen.prior.log_loss.value == pytest.approx(-0.2 * np.log(0.2) - 0.8 * np.log(0.8))


def test_a_score_of_zero_for_a_positive_costs_what_the_bound_costs() -> None:
    seen = evaluate(np.array([1, 0]), np.array([0.0, 0.5]))
    assert seen.log_loss.value == pytest.approx((-np.log(SCORE_BOUNDS[0]) + np.log(2)) / 2)


def test_scores_that_are_all_zero_can_be_judged() -> None:
    seen = evaluate(np.array([1, 0, 0]), np.zeros(3))
    assert seen.calibration.value == 0.0
    assert [each.rows for each in seen.reliability] == [3]


def test_a_single_positive_can_be_judged() -> None:
    y = np.zeros(50)
    y[7] = 1
    seen = evaluate(y, np.linspace(0.01, 0.9, 50))
    assert seen.positives == 1
    assert seen.auc.value == pytest.approx(7 / 49)
    assert seen.auc.low <= seen.auc.value <= seen.auc.high


def test_bins_expect_about_the_same_positives_each() -> None:
    rows = draw(2, 20_000, mean=-6)
    bins = evaluate(rows.y, rows.p, resamples=1).reliability
    expected = [each.rows * each.mean_score for each in bins]
    assert len(bins) == 10
    assert expected == pytest.approx([rows.p.sum() / 10] * 10, rel=0.05)
    assert [each.mean_score for each in bins] == sorted(each.mean_score for each in bins)


def test_a_bin_without_positives_still_has_an_interval() -> None:
    y, p = np.array([0] * 10 + [1]), np.array([0.01] * 10 + [0.9])
    lowest = evaluate(y, p).reliability[0].positive_rate
    z2 = 1.959964**2
    assert (lowest.value, lowest.low) == (0.0, 0.0)
    assert lowest.high == pytest.approx(z2 / (10 + z2), rel=1e-5)


TWO = np.array([0, 1])
HALVES = np.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("y", "p", "sentence"),
    [
        pytest.param([0, 0], HALVES, "0 positives in 2 rows", id="no positive"),
        pytest.param([1, 1], HALVES, "2 positives in 2 rows", id="no negative"),
        pytest.param([], [], "0 positives in 0 rows", id="no rows"),
        pytest.param([0, 2], HALVES, "row 1: .*2.* is neither 0 nor 1", id="label of 2"),
        pytest.param([np.nan, 1.0], HALVES, "row 0: .*nan.* is neither 0 nor 1", id="label of NaN"),
        pytest.param([[0, 1]], HALVES, r"shape \(1, 2\) instead of \(rows,\)", id="labels in two dimensions"),
        pytest.param(TWO, [0.5], r"shape \(1,\) instead of \(2,\)", id="too few scores"),
        pytest.param(TWO, [0.5, np.nan], "row 1: nan is no probability", id="score of NaN"),
        pytest.param(TWO, [-0.1, 1.1], r"row 0: -0.1 is no probability \(2 of 2 are none\)", id="score outside"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused_with_what_and_where(y: Any, p: Any, sentence: str) -> None:
    with pytest.raises(EvaluationRefused, match=sentence):
        evaluate(np.asarray(y), np.asarray(p))


def test_no_resamples_are_refused() -> None:
    with pytest.raises(EvaluationRefused, match="resamples: 0 give no interval"):
        evaluate(TWO, HALVES, resamples=0)
