"""A histogram to which values are added many at once: some 50 ns a value, where a locked counter costs 1 µs."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.compiled import core

__all__ = ["Distribution", "Histogram", "Histograms"]


class Distribution(NamedTuple):
    """The state of a histogram."""

    counts: tuple[int, ...]
    """Values by bucket, each counted in one; the last bucket holds what is beyond all bounds."""
    total: float
    """The sum of the values."""

    @property
    def size(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def plus(self, other: "Distribution") -> "Distribution":
        """Of the values of both. They have the same bounds."""
        counts = tuple(mine + its for mine, its in zip(self.counts, other.counts, strict=True))
        return Distribution(counts, self.total + other.total)


class Histograms:
    """Counts of values by upper bound, of several quantities with the same bounds."""

    def __init__(self, bounds: Iterable[float], quantities: int = 1) -> None:
        """`bounds` ascend; a value that equals one is within it."""
        self._bounds = np.array(list(bounds), np.float64)
        self._counts = np.zeros((quantities, len(self._bounds) + 1), np.int64)
        self._totals = np.zeros(quantities)

    def add(self, values: NDArray[np.float64], where: NDArray[np.bool_] | None = None) -> None:
        """Some more values, those `where` it is true. Shape (quantities, values). The more at once, the cheaper."""
        if core is None:
            self._add(values, where)
        else:
            values = np.ascontiguousarray(values, np.float64)
            core.spread(self._bounds, self._counts, self._totals, values, where)

    def _add(self, values: NDArray[np.float64], where: NDArray[np.bool_] | None) -> None:
        quantities, buckets = self._counts.shape
        places = np.searchsorted(self._bounds, values) + np.arange(0, quantities * buckets, buckets)[:, None]
        chosen = places.ravel() if where is None else places[where]
        self._counts += np.bincount(chosen, minlength=self._counts.size).reshape(self._counts.shape)
        self._totals += (values if where is None else np.where(where, values, 0.0)).sum(axis=1)

    def distributions(self) -> list[Distribution]:
        """Of all values so far, by quantity."""
        counted = zip(self._counts.tolist(), self._totals.tolist(), strict=True)
        return [Distribution(tuple(counts), total) for counts, total in counted]


class Histogram:
    """The same of one quantity."""

    def __init__(self, bounds: Iterable[float]) -> None:
        self._one = Histograms(bounds)

    def add(self, values: NDArray[np.float64]) -> None:
        """Some more values. Shape (values,)."""
        self._one.add(values.reshape(1, -1))

    def distribution(self) -> Distribution:
        """Of all values so far."""
        return self._one.distributions()[0]
