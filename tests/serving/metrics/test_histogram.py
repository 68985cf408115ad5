import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.metrics.histogram import Distribution, Histogram, Histograms

BOUNDS = (0.001, 0.01, 0.1)
VALUES = st.lists(st.floats(0, 1), max_size=50)


def of(*values: float) -> Distribution:
    histogram = Histogram(BOUNDS)
    histogram.add(np.array(values, np.float64))
    return histogram.distribution()


@given(VALUES)
def test_every_value_is_counted_in_the_first_bucket_that_holds_it(values: list[float]) -> None:
    expected = [0] * 4
    for value in values:
        expected[next((i for i, bound in enumerate(BOUNDS) if value <= bound), 3)] += 1
    found = of(*values)
    assert list(found.counts) == expected
    assert found.total == pytest.approx(sum(values))


def test_a_value_on_a_bound_is_within_it() -> None:
    assert of(*BOUNDS).counts == (1, 1, 1, 0)


@given(VALUES, VALUES)
def test_two_distributions_add_up_to_that_of_all_values(one: list[float], other: list[float]) -> None:
    both = of(*one).plus(of(*other))
    assert both.counts == of(*one, *other).counts
    assert both.total == pytest.approx(of(*one, *other).total)


def test_quantities_are_counted_apart_and_only_where_they_are_wanted() -> None:
    both = Histograms(BOUNDS, 2)
    wanted = np.array([[True, True, False], [False, True, True]])
    both.add(np.array([[0.0, 0.75, 0.05], [0.5, 0.5, 0.5]]), wanted)
    assert both.distributions() == [Distribution((1, 0, 0, 1), 0.75), Distribution((0, 0, 0, 2), 1.0)]
