"""The load generator's own sums: arrivals, percentiles, and when it was itself the limit."""

from collections import Counter

import numpy as np
import pytest

from lockstep.cli.load import Report, Spacing, Step, arrivals


def step(
    latency_ms: list[float],
    *,
    rate: float = 100,
    late_ms: float = 0,
    lasted_s: float = 1,
    cpu: float = 0.1,
    failed: int = 0,
) -> Step:
    """What one generator saw; failed requests have no latency."""
    latency = np.array([*latency_ms, *[float("nan")] * failed]) / 1e3
    late = np.full(latency.size, late_ms / 1e3)
    failures = Counter({"UNAVAILABLE": failed} if failed else {})
    return Step(rate, [Report(latency, late, failures, Counter(FRESH=len(latency_ms)), lasted_s, cpu)])


@pytest.mark.parametrize("spacing", list(Spacing))
def test_arrivals_come_at_the_rate_in_order_and_in_time(spacing: Spacing) -> None:
    times = arrivals(1000, 20, spacing, np.random.default_rng(7))
    assert times.size == pytest.approx(20_000, rel=0.03)
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 20


def test_poisson_gaps_vary_as_exponential_ones_do_and_fixed_ones_do_not() -> None:
    gaps = {each: np.diff(arrivals(1000, 20, each, np.random.default_rng(7))) for each in Spacing}
    assert gaps[Spacing.POISSON].std() == pytest.approx(1e-3, rel=0.05)  # as large as their mean
    assert gaps[Spacing.FIXED].std() < 1e-9


def test_there_is_always_one_arrival() -> None:
    assert arrivals(0.01, 1, Spacing.POISSON, np.random.default_rng(7)).size == 1
    assert arrivals(0.01, 1, Spacing.FIXED, np.random.default_rng(7)).tolist() == [0.0]


def test_percentiles_are_of_all_generators_and_only_where_an_answer_lies_beyond() -> None:
    two = Step(200, [*step(list(range(1, 51))).reports, *step(list(range(51, 101))).reports])
    assert two.percentile_ms(50) == pytest.approx(50.5)
    assert two.percentile_ms(99) == pytest.approx(99.01)
    assert np.isnan(two.percentile_ms(99.9))
    assert two.max_ms == pytest.approx(100)
    assert (two.requests, two.answered_per_s) == (100, 100)


def test_failures_are_counted_and_have_no_latency() -> None:
    some = step([1.0] * 98, failed=2)
    assert (some.requests, some.failed, some.answered_per_s) == (100, Counter(UNAVAILABLE=2), 98)
    assert step([], failed=3).requests == 3
    assert np.isnan(step([], failed=3).max_ms)


@pytest.mark.parametrize(
    ("seen", "limit"),
    [
        (step([2.0] * 100), False),
        (step([2.0] * 100, cpu=0.95), True),
        (step([2.0] * 100, late_ms=1.5), True),  # most of the latency was the generator's
        (step([20.0] * 100, late_ms=1.5), False),
        (step([0.5] * 100, late_ms=0.4), False),  # below a millisecond nobody is on time
        (step([2.0] * 10, late_ms=1.5), True),
    ],
)
def test_a_generator_that_was_busy_or_late_is_the_limit(seen: Step, limit: bool) -> None:
    assert seen.generator_was_the_limit == limit
