"""From resolved columns to scores, and what is said of them: no wait, no clock but the marks."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.compiled import core
from lockstep.plan import Array, StoredColumns
from lockstep.resolve import Resolved
from lockstep.status import Rung, Status
from serving.answers import ViewSummary
from serving.metrics import MODEL, TRANSFORM, current

__all__ = ["parts", "scored", "summaries", "worst_rungs"]

log = logging.getLogger(__name__)


def parts(lengths: Sequence[int]) -> Iterator[slice]:
    """Where the rows of each request lie."""
    first = 0
    for length in lengths:
        yield slice(first, first + length)
        first += length


def scored(bundle: Bundle, resolved: Resolved, lengths: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Probabilities and rungs of all rows. Where the model fails for the whole, each request is tried by itself."""
    rows = sum(lengths)
    scores, rungs = _run(bundle, resolved.columns, rows, alone=len(lengths) == 1), resolved.rungs()
    if scores is None and len(lengths) == 1:
        scores = np.full(rows, np.nan)
    if scores is None:
        each = []
        for length, part in zip(lengths, parts(lengths), strict=True):
            columns = {name: values[part] for name, values in resolved.columns.items()}
            found = _run(bundle, columns, length, alone=True)
            each.append(np.full(length, np.nan) if found is None else found)
        scores = np.concatenate(each)
    broken = ~np.isfinite(scores)
    if broken.any():
        log.error("the model gave no number, its prior is answered", extra={"reason": "no number", **_facts(bundle)})
        scores, rungs = np.where(broken, bundle.manifest.prior, scores), np.where(broken, np.int8(Rung.PRIOR), rungs)
    return scores, rungs


def _run(bundle: Bundle, columns: Mapping[str, Array], rows: int, *, alone: bool) -> NDArray[np.float64] | None:
    """None where the model fails. On the event loop: a run takes about as long as the way to a thread and back."""
    try:
        inputs = bundle.inputs(columns, rows)
        transformed_s = time.perf_counter()
        scores = bundle.score_inputs(inputs)
        marks = current.get()
        if marks is not None:
            marks[TRANSFORM], marks[MODEL] = transformed_s, time.perf_counter()
    except Exception:  # functions and graphs are the user's: anything can come out of them
        if alone:
            log.exception("the model failed, its prior is answered", extra={"reason": "model failed", **_facts(bundle)})
        return None
    return scores


def _facts(bundle: Bundle) -> dict[str, str]:
    return {"model": bundle.manifest.name, "version": bundle.manifest.version}


def worst_rungs(rungs: NDArray[np.int8], lengths: Sequence[int]) -> list[Rung]:
    """Of each request; `rungs` of all rows, `lengths` are the requests' rows, in order."""
    worst = rungs
    if len(rungs) > len(lengths):
        worst = np.maximum.reduceat(rungs, [0, *accumulate(lengths[:-1])])
    return [_RUNGS[rung] for rung in worst.tolist()]


_RUNGS = tuple(Rung)
"""By their numbers."""


def summaries(resolved: Resolved, lengths: Sequence[int]) -> list[tuple[ViewSummary, ...]]:
    """For each request what was found, counted per view over its rows; `lengths` are the requests' rows, in order."""
    stored, count = resolved.plan.stored_columns, len(lengths)
    if not stored.views:
        return [()] * count
    if resolved.rows > count:
        return _counted(stored, resolved.found, resolved.replaced, lengths)
    width = len(stored.columns)
    found, replaced = resolved.found.T.tobytes(), resolved.replaced.T.tobytes()
    places = range(0, count * width, width)
    return [_of_row(stored, found[at : at + width], replaced[at : at + width]) for at in places]


@lru_cache(maxsize=1024)
def _of_row(stored: StoredColumns, found: bytes, replaced: bytes) -> tuple[ViewSummary, ...]:
    """For a request of one row: few outcomes are most of the traffic."""
    one = np.frombuffer(found, np.int8).reshape(-1, 1), np.frombuffer(replaced, np.bool_).reshape(-1, 1)
    (counted,) = _counted(stored, *one, [1])
    return counted


def _counted(
    stored: StoredColumns, found: NDArray[np.int8], replaced: NDArray[np.bool_], lengths: Sequence[int]
) -> list[tuple[ViewSummary, ...]]:
    names = tuple(view.name for view in stored.views)
    tallies = _added_up if core is None else _added_up_in_c
    return [_summaries(names, one.tobytes()) for one in tallies(stored, found, replaced, lengths)]


def _added_up_in_c(
    stored: StoredColumns, found: NDArray[np.int8], replaced: NDArray[np.bool_], lengths: Sequence[int]
) -> NDArray[np.int64]:
    counts = np.zeros((len(lengths), len(stored.views), len(Status) + 1), np.int64)
    found, replaced = np.ascontiguousarray(found), np.ascontiguousarray(replaced)
    core.tally(found, replaced, stored.view_of, np.array(lengths), counts)
    return counts


def _added_up(
    stored: StoredColumns, found: NDArray[np.int8], replaced: NDArray[np.bool_], lengths: Sequence[int]
) -> NDArray[np.int64]:
    """For each request and view how often every status was found, and in the last place how many were replaced."""
    shape = len(lengths), len(stored.views)
    owner = np.repeat(np.arange(len(lengths)), lengths) * shape[1] + stored.view_of[:, None]
    tally = np.bincount((owner * len(Status) + found).ravel(), minlength=shape[0] * shape[1] * len(Status))
    if replaced.any():
        defaulted = np.bincount(owner[replaced], minlength=shape[0] * shape[1])
    else:
        defaulted = np.zeros(shape[0] * shape[1], np.int64)
    return np.concatenate([tally.reshape(*shape, len(Status)), defaulted.reshape(*shape, 1)], axis=2)


@lru_cache(maxsize=4096)
def _summaries(names: tuple[str, ...], counts: bytes) -> tuple[ViewSummary, ...]:
    """Most requests have one of a few outcomes; the same outcome is the same object."""
    rows = np.frombuffer(counts, np.int64).reshape(len(names), len(Status) + 1).tolist()
    return tuple(ViewSummary(name, tuple(row[:-1]), row[-1]) for name, row in zip(names, rows, strict=True))
