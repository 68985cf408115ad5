"""For strict callers: the error in place of an answer that does not stand on fresh features alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import LockstepError, RowRefused, RowUnreachable
from lockstep.resolve import Resolved
from lockstep.status import NULL, Rung, Status
from serving.answers import Origin, ViewSummary

__all__ = ["refusal", "refusal_of_cached"]


def refusal(resolved: Resolved, rungs: NDArray[np.int8], part: slice) -> LockstepError | None:
    """What a strict caller is told of its rows, those of `part`; None where all stand on the first rung.

    `rungs` of all rows, shape (rows,). The row is counted from 0 in the caller's own request.
    """
    below = np.flatnonzero(rungs[part])
    if not len(below):
        return None
    row = int(below[0])
    found = resolved.found[:, part.start + row]
    unusable = np.flatnonzero(found > NULL)
    if rungs[part][row] == np.int8(Rung.PRIOR) or not len(unusable):
        return RowRefused(row, "the model gave no number")
    stored = resolved.plan.stored_columns
    column, status = int(unusable[0]), Status(int(found[unusable[0]]))
    view = stored.views[stored.view_of[column]].name
    if status is Status.UNREACHABLE:
        return RowUnreachable(row, view)
    return RowRefused(row, f"feature {stored.names[column]!r} of view {view!r} is {status.name}")


def refusal_of_cached(
    rungs: NDArray[np.int8], origins: NDArray[np.int8], views: Sequence[ViewSummary]
) -> LockstepError:
    """The same of a cached model, of which some row is below the first rung; arrays of shape (rows of the caller,)."""
    row = int(np.flatnonzero(rungs)[0])
    (view,) = views
    if origins[row] != np.int8(Origin.DEFAULT):
        return RowRefused(row, f"its prediction was made on the rung {Rung(int(rungs[row])).name}")
    if view.tally[Status.UNREACHABLE]:
        return RowUnreachable(row, view.view)
    return RowRefused(row, f"view {view.view!r} holds no usable prediction")
