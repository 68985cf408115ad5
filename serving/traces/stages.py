"""When a call was in which stage, from the marks of its batch and its own beginning and end."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from serving.metrics.families import Stage
from serving.metrics.marks import BEGAN, Marks, seconds_of
from serving.traces.call import Call, End

__all__ = ["Lap", "laps"]

_OF_BATCH = tuple(Stage)[Stage.CHECK : Stage.ENCODE]


class Lap(NamedTuple):
    """A call was in a stage from one moment to another, by `time.perf_counter`."""

    stage: Stage
    from_s: float
    to_s: float


def laps(call: Call, end: End) -> list[Lap]:
    """The stages that a call went through, in order, without gaps in a batch; those that took no time are left out."""
    batch_s = end.scored_s or end.at_s
    found = [*_of_lane(call, batch_s), *_of_reply(end)]
    return [lap for lap in found if lap.to_s > lap.from_s]


def _of_lane(call: Call, until_s: float) -> Iterator[Lap]:
    """From the queue to the answer, none later than `until_s`: a batch of a cached model goes on without those of its
    requests that need no live score.
    """
    marks = None if call.batch is None else call.batch.marks
    if marks is None or call.since_s is None:
        return
    yield Lap(Stage.QUEUE, call.since_s, marks[BEGAN])
    for stage, (from_s, to_s) in zip(_OF_BATCH, pairwise(_moments(marks)), strict=True):
        yield Lap(stage, min(from_s, until_s), min(to_s, until_s))


def _moments(marks: Marks) -> list[float]:
    """When the batch began, and when each of its stages ended. What a read spent on keys and rows stands after it,
    though the keys were made before: the marks know how long that took, not when.
    """
    moments: list[float] = (marks[BEGAN] + np.cumsum(seconds_of([marks])[:, 0])).tolist()
    return [marks[BEGAN], *moments]


def _of_reply(end: End) -> Iterator[Lap]:
    if end.scored_s:
        yield Lap(Stage.ENCODE, end.scored_s, end.at_s)
