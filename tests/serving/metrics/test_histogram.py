import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.compiled import core
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


@pytest.mark.skipif(core is None, reason="no C compiler was there when Lockstep was installed: make clean install")
class TestInC:
    """`lockstep._core.spread` against numpy."""

    @given(st.integers(1, 3), st.lists(st.tuples(st.floats(), st.booleans()), max_size=12), st.booleans())
    def test_the_counts_are_those_of_python(self, quantities: int, cells: list[tuple[float, bool]], some: bool) -> None:
        count = len(cells) // quantities
        shape = quantities, count
        values = np.array([value for value, _ in cells[: quantities * count]], np.float64).reshape(shape)
        where = np.array([chosen for _, chosen in cells[: quantities * count]], np.bool_).reshape(shape)
        fast, slow = Histograms(BOUNDS, quantities), Histograms(BOUNDS, quantities)
        fast.add(values, where if some else None)
        with np.errstate(invalid="ignore", over="ignore"):
            slow._add(values, where if some else None)
        for one, other in zip(fast.distributions(), slow.distributions(), strict=True):
            assert one.counts == other.counts
            if np.abs(values).max(initial=0.0) < 1e300:  # nor NaN
                assert one.total == pytest.approx(other.total, rel=1e-9, abs=1e-9 * np.abs(values).sum())

    def test_arguments_that_do_not_fit_each_other_are_refused(self) -> None:
        bounds, counts, totals, values = np.arange(3.0), np.zeros((2, 4), np.int64), np.zeros(2), np.zeros((2, 5))
        core.spread(bounds, counts, totals, values, None)
        assert counts.tolist() == [[5, 0, 0, 0]] * 2
        for wrong in (
            (bounds[:2].copy(), counts, totals, values, None),
            (bounds, counts[:1].copy(), totals, values, None),
            (bounds, counts, totals[:1].copy(), values, None),
            (bounds, counts, totals, values[:1].copy(), None),
            (bounds, counts, totals, values, np.zeros((2, 4), np.bool_)),
        ):
            with pytest.raises(ValueError, match="do not fit"):
                core.spread(*wrong)
        with pytest.raises(TypeError, match="values"):
            core.spread(bounds, counts, totals, values.astype(np.float32), None)
