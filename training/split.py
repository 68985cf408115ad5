"""Split a spine by time: learnt from before the cut with what was known at the cut, tested after it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import TablesRefused
from lockstep.times import DAY, HOUR, format_time
from training.spec import Spec

__all__ = ["Rows", "Window", "split"]


@dataclass(frozen=True)
class Window:
    """The times of one training, µs UTC.

    A training row lies in [train_from, train_to), a test row in [cut, test_to].
    """

    train_from_us: int
    train_to_us: int
    """The cut minus the maturity. Later rows are left out, also those that are positive at the cut already: keeping
    only these would price the last hours too high."""
    cut_us: int
    mature_to_us: int
    """Test rows after this time may still become positive: the end minus the maturity."""
    test_to_us: int
    """Time of the last row of the spine."""


@dataclass(frozen=True)
class Rows:
    """The rows of one training, each array of shape (rows of the spine,)."""

    window: Window
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]
    y: NDArray[np.int8]
    """As known at the cut for training rows, as known at the end for test rows."""
    immature: NDArray[np.bool_]
    """Test rows younger than the maturity at the end."""


def split(spec: Spec, t: NDArray[np.int64], positive_us: NDArray[np.int64], known: NDArray[np.bool_]) -> Rows:
    """Which rows are learnt from, which are tested on, and the label of each.

    `t` and `positive_us`, the time of the label, in µs; `known` where there is one; each of shape (rows,). Raises
    TablesRefused where one side knows one class only.
    """
    end = int(t.max())
    cut = spec.split.cut_us if spec.split.cut_us is not None else _last_midnight(end)
    window = Window(int(t.min()), cut - spec.label.maturity_us, cut, end - spec.label.maturity_us, end)
    positive_at_cut = known & (positive_us <= cut)
    test = t >= cut
    train = t < window.train_to_us
    rows = Rows(
        window, train, test, np.where(test, known, positive_at_cut).astype(np.int8), test & (t > window.mature_to_us)
    )
    for name, mask in (("training", train), ("test", test & ~rows.immature)):
        _check_both_classes(name, rows.y[mask], cut)
    return rows


def _last_midnight(end: int) -> int:
    """The midnight that starts the last day on which the log has at least six hours."""
    midnight = end - end % DAY
    return midnight if end - midnight >= 6 * HOUR else midnight - DAY


def _check_both_classes(name: str, y: NDArray[np.int8], cut: int) -> None:
    positives = int(y.sum())
    if positives in (0, len(y)):
        raise TablesRefused(
            f"the {name} rows ({len(y)}) hold {positives} positives; both classes are needed. "
            f"The cut is {format_time(cut)}; choose another in the spec, or bring more days."
        )
