"""What one version of a model did.

A batch is kept as it was and counted later, with some others or when somebody looks. Not with a thousand others: that
held up all who came meanwhile for 4 ms, three times a second.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.status import Rung
from serving.metrics.families import FAMILIES, MILLISECONDS, Dropped, Stage
from serving.metrics.features import FeatureMeter, FoundRows
from serving.metrics.histogram import Histogram, Histograms
from serving.metrics.marks import BEGAN, Marks, seconds_of
from serving.metrics.samples import Key, Value

__all__ = ["Batch", "LaneMeter"]

MOST_ROWS, MOST_BATCHES = 1024, 32
"""That are kept. To count a batch costs 10 µs, and 40 µs once."""
_OF_BATCH = tuple(Stage)[Stage.CHECK : Stage.ENCODE]
"""The stages that a batch goes through as one."""


class Batch(NamedTuple):
    """Requests that were answered together."""

    lengths: Sequence[int]
    """Of each request its rows."""
    rungs: NDArray[np.int8]
    """Shape (rows,)."""
    rows: FoundRows
    since_s: Sequence[float] = ()
    """Of each request the moment when it came, by `time.perf_counter`."""
    marks: Marks | None = None
    """None for a request that was not in the lane: one that asked what its scores were made of."""


class LaneMeter:
    """The counts of one version."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._waits = Histogram(MILLISECONDS)
        self._stages = Histograms(MILLISECONDS, len(_OF_BATCH))
        self._request_rows = Histogram(FAMILIES["lockstep_request_rows"].buckets)
        self._batch_rows = Histogram(FAMILIES["lockstep_batch_rows"].buckets)
        self._batch_requests = Histogram(FAMILIES["lockstep_batch_requests"].buckets)
        self._rungs = np.zeros(len(Rung), np.int64)
        self._features = FeatureMeter(bundle.plan)
        self._kept: list[Batch] = []
        self._rows = 0
        self._dropped = Counter[Dropped]()

    def answered(self, batch: Batch) -> None:
        """One more batch. Nothing of it may change any more."""
        self._kept.append(batch)
        self._rows += len(batch.rungs)
        if self._rows >= MOST_ROWS or len(self._kept) >= MOST_BATCHES:
            self.settle()

    def dropped(self, why: Dropped) -> None:
        """A request was not scored."""
        self._dropped[why] += 1

    def settle(self) -> None:
        """Count what was kept."""
        kept, self._kept, self._rows = self._kept, [], 0
        if not kept:
            return
        self._request_rows.add(_numbers(batch.lengths for batch in kept))
        self._rungs += np.bincount(np.concatenate([batch.rungs for batch in kept]), minlength=len(Rung))
        self._features.add([batch.rows for batch in kept])
        timed = [(batch, batch.marks) for batch in kept if batch.marks is not None]
        if timed:
            self._time(timed)

    def _time(self, timed: Sequence[tuple[Batch, Marks]]) -> None:
        requests = np.array([len(batch.lengths) for batch, _ in timed])
        began_s = np.array([marks[BEGAN] for _, marks in timed])
        self._waits.add(np.repeat(began_s, requests) - _numbers(batch.since_s for batch, _ in timed))
        self._stages.add(seconds_of([marks for _, marks in timed]))
        self._batch_rows.add(np.array([len(batch.rungs) for batch, _ in timed]))
        self._batch_requests.add(requests)

    def samples(self) -> Iterator[tuple[str, Key, Value]]:
        """Name, labels and value of all its metrics."""
        self.settle()
        version = self.bundle.manifest.name, self.bundle.manifest.version
        stages = zip(_OF_BATCH, self._stages.distributions(), strict=True)
        for stage, spent in ((Stage.QUEUE, self._waits.distribution()), *stages):
            yield "lockstep_stage_duration_seconds", (stage.label, *version), spent
        for rung in Rung:
            yield "lockstep_rows_total", (*version, rung.name.lower()), float(self._rungs[rung])
        for why in Dropped:
            yield "lockstep_requests_dropped_total", (*version, why.value), float(self._dropped[why])
        yield "lockstep_request_rows", version, self._request_rows.distribution()
        yield "lockstep_batch_rows", version, self._batch_rows.distribution()
        yield "lockstep_batch_requests", version, self._batch_requests.distribution()
        for view, status, count in self._features.statuses():
            yield "lockstep_feature_values_total", (*version, view, status.name.lower()), float(count)
        for view, defaults in self._features.defaults().items():
            yield "lockstep_feature_defaults_total", (*version, view), float(defaults)
        for view, ages in self._features.ages().items():
            yield "lockstep_feature_age_seconds", (*version, view), ages


def _numbers(parts: Iterable[Sequence[float]]) -> NDArray[np.float64]:
    """The numbers of all parts, end to end."""
    return np.fromiter(chain.from_iterable(parts), np.float64)
