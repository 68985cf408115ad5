import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lockstep.errors import BadRequest, GateFailed
from training.evaluate import SCORE_BOUNDS, Estimate, assess
from training.gates import GateFacts, GateResult, Gates, check, check_champion, require


@pytest.fixture
def facts() -> GateFacts:
    """A model that ranks 20 positives of 100 rows well, with a mean score equal to the positive rate."""
    y = np.array([1] * 20 + [0] * 80)
    p = np.array([0.6] * 20 + [0.1] * 80)
    baseline = np.array([0.3] * 20 + [0.175] * 80)
    assessment = assess(y, p, prior=0.2, baseline=baseline)
    return GateFacts(assessment, 0.1, 0.6, True, "stopped after 84 of at most 300 iterations")


def with_losses(facts: GateFacts, *, model: float, prior: float, baseline: float) -> GateFacts:
    seen = facts.assessment
    losses = {"model": model, "prior": prior, "baseline": baseline}
    parts: dict[str, Any] = {
        name: replace(getattr(seen, name), log_loss=Estimate(loss, loss, loss)) for name, loss in losses.items()
    }
    return replace(facts, assessment=replace(seen, **parts))


def with_ratio(facts: GateFacts, ratio: float) -> GateFacts:
    model = replace(facts.assessment.model, calibration=Estimate(ratio, ratio - 0.3, ratio + 0.3))
    return replace(facts, assessment=replace(facts.assessment, model=model))


def result(name: str, facts: GateFacts, gates: Gates | None = None) -> GateResult:
    return next(each for each in check(gates or Gates(), facts) if each.name == name)


def test_a_good_model_passes_every_gate(facts: GateFacts) -> None:
    results = check(Gates(), facts)
    assert [each.name for each in results] == [
        "beat_prior",
        "beat_baseline",
        "mean_score",
        "lowest_score",
        "highest_score",
        "converged",
    ]
    assert all(each.passed for each in results)
    require(results)


@pytest.mark.parametrize("other", ["prior", "baseline"])
def test_a_model_must_lose_less_than_what_it_replaces(facts: GateFacts, other: str) -> None:
    losses = {"prior": 0.9, "baseline": 0.9, other: 0.5}
    assert result(f"beat_{other}", with_losses(facts, model=0.4, **losses)).passed
    worse = result(f"beat_{other}", with_losses(facts, model=0.75, **losses))
    assert not worse.passed
    assert f"0.750000 is not below the {other}'s 0.500000, but 0.250000 above it" in worse.sentence
    assert (worse.value, worse.bound) == (0.75, 0.5)


def test_a_model_as_good_as_the_prior_has_not_beaten_it(facts: GateFacts) -> None:
    assert not result("beat_prior", with_losses(facts, model=0.5, prior=0.5, baseline=0.9)).passed


@pytest.mark.parametrize(
    ("ratio", "passed"), [(1.0, True), (1.19, True), (0.81, True), (1.21, False), (0.79, False), (57.0, False)]
)
def test_the_mean_score_stays_near_the_positive_rate(facts: GateFacts, ratio: float, passed: bool) -> None:
    seen = result("mean_score", with_ratio(facts, ratio))
    assert seen.passed is passed
    assert seen.value == pytest.approx(abs(ratio - 1))


def test_the_mean_score_gate_tells_its_interval(facts: GateFacts) -> None:
    sentence = result("mean_score", with_ratio(facts, 1.5)).sentence
    assert "1.500 times the positive rate 0.200000 (95% interval 1.200 to 1.800)" in sentence
    assert "50.0% away, outside the 20% allowed" in sentence


@pytest.mark.parametrize(
    ("lowest", "highest", "failed"),
    [
        pytest.param(*SCORE_BOUNDS, [], id="on the bounds"),
        pytest.param(0.0, 0.5, ["lowest_score"], id="zero"),
        pytest.param(0.1, 1.0, ["highest_score"], id="one"),
        pytest.param(9.9e-8, 1 - 1e-9, ["lowest_score", "highest_score"], id="both beyond"),
        pytest.param(float("nan"), float("nan"), ["lowest_score", "highest_score"], id="NaN"),
    ],
)
def test_scores_outside_the_bounds_fail(facts: GateFacts, lowest: float, highest: float, failed: list[str]) -> None:
    results = check(Gates(), replace(facts, lowest_score=lowest, highest_score=highest))
    assert [each.name for each in results if not each.passed] == failed


def test_a_fit_that_ran_out_of_iterations_fails_and_says_so(facts: GateFacts) -> None:
    seen = result("converged", replace(facts, converged=False, fit="used all 300 iterations"))
    assert not seen.passed
    assert seen.sentence == "The fit did not converge: it used all 300 iterations."


def test_gates_that_are_off_are_not_judged(facts: GateFacts) -> None:
    gates = Gates(beat_prior=False, beat_baseline=False, must_converge=False)
    assert [each.name for each in check(gates, facts)] == ["mean_score", "lowest_score", "highest_score"]


def test_a_spec_may_move_the_bounds(facts: GateFacts) -> None:
    gates = Gates(mean_score_within=0.01, score_bounds=(0.2, 0.5))
    failed = [each.name for each in check(gates, with_ratio(facts, 1.05)) if not each.passed]
    assert failed == ["mean_score", "lowest_score", "highest_score"]


def test_the_failure_names_every_gate_that_failed_and_no_other(facts: GateFacts) -> None:
    results = check(Gates(), replace(with_ratio(facts, 2.0), converged=False))
    with pytest.raises(GateFailed, match="2 of 6 gates failed") as raised:
        require(results)
    told = str(raised.value)
    assert [each.sentence in told for each in results] == [not each.passed for each in results]


def test_results_are_plain_data_even_where_the_facts_come_from_numpy(facts: GateFacts) -> None:
    low, high = np.float64(0.1), np.float64(0.6)
    results = check(Gates(), replace(facts, lowest_score=low, highest_score=high, converged=bool(np.True_)))
    plain = json.loads(json.dumps([each.to_json() for each in results], allow_nan=False))
    assert [GateResult(**each) for each in plain] == results


@pytest.mark.parametrize(
    "bounds",
    [
        {"mean_score_within": 0.0},
        {"mean_score_within": float("nan")},
        {"score_bounds": (0.5, 0.5)},
        {"score_bounds": (-0.1, 0.5)},
        {"score_bounds": (0.9, 1.1)},
        {"champion_within": -0.01},
    ],
)
def test_bounds_without_sense_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=f"gate {next(iter(bounds))} is"):
        Gates(**bounds)


@pytest.mark.parametrize(("loss", "passed"), [(0.0399, True), (0.0408, True), (0.0409, False)])
def test_a_model_may_be_worse_than_the_champion_by_the_share_allowed(loss: float, passed: bool) -> None:
    seen = check_champion(loss, 0.04, Estimate(loss - 0.04, -0.01, 0.01), 0.02)
    assert (seen.name, seen.passed, seen.value) == ("champion", passed, loss)
    assert f"{'within' if passed else 'outside'} the +2.0% allowed" in seen.sentence
