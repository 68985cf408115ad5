"""What was found for the stored features of a model, and how old it was."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Plan
from lockstep.status import NULL, Status
from serving.answers import ViewSummary
from serving.metrics.families import FAMILIES
from serving.metrics.histogram import Distribution, Histograms

__all__ = ["FeatureMeter", "FoundRows"]

_STALE = np.int8(Status.STALE)
_AGES = FAMILIES["lockstep_feature_age_seconds"].buckets


class FoundRows(NamedTuple):
    """What was found for a batch. Nothing of it may change any more."""

    found: NDArray[np.int8]
    """Statuses, shape (stored columns, rows)."""
    event_us: NDArray[np.int64]
    """Shape (views, rows); any number where there is no row."""
    t: NDArray[np.int64]
    """µs. Shape (rows,)."""
    outcomes: Sequence[tuple[ViewSummary, ...]]
    """Of each request. The same outcome is mostly the same object."""


class FeatureMeter:
    """The counts of one version's plan."""

    def __init__(self, plan: Plan) -> None:
        stored = plan.stored_columns
        self._views = tuple(view.name for view in stored.views)
        bounds = np.searchsorted(stored.view_of, np.arange(len(self._views) + 1)).tolist()
        self._columns_of = [slice(*pair) for pair in pairwise(bounds)]
        """Of each view; its columns lie side by side."""
        self._statuses = np.zeros((len(self._views), len(Status)), np.int64)
        self._defaults = np.zeros(len(self._views), np.int64)
        self._ages = Histograms(_AGES, len(self._views))

    def add(self, batches: Sequence[FoundRows]) -> None:
        """Count some batches; the more at once, the cheaper."""
        if self._views and batches:
            self._count(list(chain.from_iterable(batch.outcomes for batch in batches)))
            self._age(batches)

    def _count(self, outcomes: Sequence[tuple[ViewSummary, ...]]) -> None:
        by_number = dict(zip(map(id, outcomes), outcomes, strict=True))
        times = Counter(map(id, outcomes))
        counts = np.array([times[number] for number in by_number])
        tallies = [[(*view.tally, view.defaulted) for view in views] for views in by_number.values()]
        found = (counts[:, None, None] * np.array(tallies)).sum(axis=0)
        self._statuses += found[:, :-1]
        self._defaults += found[:, -1]

    def _age(self, batches: Sequence[FoundRows]) -> None:
        found = np.concatenate([one.found for one in batches], axis=1)
        ages_us = np.concatenate([one.t for one in batches]) - np.concatenate([one.event_us for one in batches], axis=1)
        # A row that was found lacks the fields that are newer than it: NOT_FOUND. Any better status says it is there.
        best = np.array([found[columns].min(axis=0) for columns in self._columns_of])
        self._ages.add(ages_us / 1e6, (best <= NULL) | (best == _STALE))

    def statuses(self) -> Iterator[tuple[str, Status, int]]:
        """View, status and the number of values; every status that a stored value can have."""
        for view, counts in zip(self._views, self._statuses.tolist(), strict=True):
            yield from ((view, status, counts[status]) for status in Status if status is not Status.REQUEST)

    def defaults(self) -> Mapping[str, int]:
        """Values by view in whose place a default was used."""
        return dict(zip(self._views, self._defaults.tolist(), strict=True))

    def ages(self) -> Mapping[str, Distribution]:
        """Ages in seconds by view."""
        return dict(zip(self._views, self._ages.distributions(), strict=True))
