"""When a batch passed from stage to stage: readings of one clock in a list.

Nothing here is a method or an enum's member: a batch passes six marks, and each is to cost it a tenth of a microsecond.
"""

import time
from contextvars import ContextVar

import numpy as np
from numpy.typing import NDArray

from serving.metrics.families import Stage

__all__ = [
    "ANSWER",
    "BEGAN",
    "CHECK",
    "DECODE",
    "MODEL",
    "READ",
    "TRANSFORM",
    "Marks",
    "begun",
    "current",
    "decoding",
    "seconds_of",
]

Marks = list[float]
"""By number of a stage when it ended, by `time.perf_counter`; 0 where it never did. At BEGAN when the first one began;
at that of DECODE the seconds of the READ that went into keys and rows."""

BEGAN, CHECK, READ, DECODE, TRANSFORM, MODEL, ANSWER = map(int, tuple(Stage)[: Stage.ENCODE])
_UNMARKED = [0.0] * ANSWER


def begun() -> Marks:
    """The marks of a batch that begins now."""
    return [time.perf_counter(), *_UNMARKED]


current: ContextVar[Marks | None] = ContextVar("current", default=None)
"""Those of the batch that this task works for; None where nobody measures."""


def decoding(since_s: float) -> None:
    """The time since that moment of `time.perf_counter` went into keys and rows, not into the store."""
    marks = current.get()
    if marks is not None:
        marks[DECODE] += time.perf_counter() - since_s


def seconds_of(many: list[Marks]) -> NDArray[np.float64]:
    """How long the batches were in the stages from CHECK to ANSWER. Shape (stages, batches)."""
    marks = np.array(many).T
    decoded = marks[DECODE].copy()
    marks[DECODE] = 0.0
    spent = np.diff(np.maximum.accumulate(marks, axis=0), axis=0)
    read = spent[READ - 1]
    spent[DECODE - 1] = np.minimum(decoded, read)  # a read that was given up may decode when nobody looks any more
    read -= spent[DECODE - 1]
    return spent
