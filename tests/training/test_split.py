"""Which rows are learnt from and tested on, and the label of each, to the microsecond."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lockstep.errors import TablesRefused
from lockstep.times import DAY, HOUR, parse_time
from training.spec import Label, Split
from training.specs.install import SPEC
from training.split import Rows, split

CUT = parse_time("2017-11-09T00:00:00Z")
END = CUT + 20 * HOUR
MATURITY = 6 * HOUR
START = CUT - 3 * DAY

ANCHORS = [(START, START + HOUR), (START + 1, None), (CUT, CUT + 1), (CUT + 1, None), (END, None)]
"""Rows that make every split possible: both classes on both sides, a first and a last time."""


def spec(cut_us: int | None = CUT) -> Any:
    return replace(SPEC, label=Label("attributed_time", MATURITY), split=Split(cut_us))


def split_of(rows: list[tuple[int, int | None]], cut_us: int | None = CUT) -> Rows:
    t = np.array([row[0] for row in rows])
    known = np.array([row[1] is not None for row in rows])
    return split(spec(cut_us), t, np.array([row[1] or 0 for row in rows]), known)


def first(t: int, positive_us: int | None = None) -> Any:
    """What becomes of one row: training, test, y, immature."""
    rows = split_of([(t, positive_us), *ANCHORS])
    return tuple(bool(column[0]) for column in (rows.train, rows.test, rows.y, rows.immature))


TRAIN, TEST, LEFT_OUT = (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("t", "side"),
    [
        pytest.param(CUT - MATURITY - 1, TRAIN, id="as old as the maturity and 1 µs: learnt from"),
        pytest.param(CUT - MATURITY, LEFT_OUT, id="as old as the maturity: left out"),
        pytest.param(CUT - 1, LEFT_OUT, id="1 µs before the cut: left out"),
        pytest.param(CUT, TEST, id="at the cut: tested on"),
        pytest.param(CUT + 1, TEST, id="after the cut: tested on"),
    ],
)
def test_a_row_is_learnt_from_left_out_or_tested_on_by_its_age_at_the_cut(t: int, side: tuple[bool, bool]) -> None:
    assert first(t)[:2] == side
    assert first(t, t + 1)[:2] == side, "a label that is known early does not let a young row in"


@pytest.mark.parametrize(
    ("positive_us", "label"),
    [
        pytest.param(CUT - 1, True, id="before the cut"),
        pytest.param(CUT, True, id="at the cut"),
        pytest.param(CUT + 1, False, id="1 µs after the cut"),
        pytest.param(None, False, id="never"),
    ],
)
def test_a_training_label_is_the_one_known_at_the_cut(positive_us: int | None, label: bool) -> None:
    assert first(START + HOUR, positive_us)[2] is label


@pytest.mark.parametrize("positive_us", [CUT + 2, END - 1, END])
def test_a_test_label_is_the_one_known_at_the_end(positive_us: int) -> None:
    assert first(CUT + 1, positive_us)[2] is True
    assert first(CUT + 1, None)[2] is False


@pytest.mark.parametrize(("t", "immature"), [(END - MATURITY, False), (END - MATURITY + 1, True), (END, True)])
def test_a_test_row_younger_than_the_maturity_at_the_end_is_immature(t: int, immature: bool) -> None:
    assert first(t)[3] is immature


def test_training_rows_are_never_immature() -> None:
    rows = split_of(ANCHORS)
    assert not (rows.immature & ~rows.test).any()


def test_the_window_says_the_times() -> None:
    window = split_of(ANCHORS).window
    assert (window.train_from_us, window.train_to_us) == (START, CUT - MATURITY)
    assert (window.cut_us, window.mature_to_us, window.test_to_us) == (CUT, END - MATURITY, END)


@pytest.mark.parametrize(
    ("end", "cut"),
    [
        pytest.param(CUT + 6 * HOUR, CUT, id="six hours of the last day"),
        pytest.param(CUT + 6 * HOUR - 1, CUT - DAY, id="1 µs less"),
        pytest.param(CUT + DAY - 1, CUT, id="a whole last day"),
        pytest.param(CUT, CUT - DAY, id="a last click at midnight"),
    ],
)
def test_the_default_cut_starts_the_last_day_that_has_six_hours(end: int, cut: int) -> None:
    rows = [(cut - DAY, cut - DAY + 1), (cut - DAY, None), (cut, cut + 1), (cut, None), (end, None)]
    assert split_of(rows, cut_us=None).window.cut_us == cut


ONE_CLASS: dict[str, tuple[list[tuple[int, int | None]], str]] = {
    "no training row": (ANCHORS[2:], r"training rows \(0\) hold 0 positives"),
    "no positive known at the cut": ([(START, CUT + 1), *ANCHORS[1:]], r"training rows \(2\) hold 0 positives"),
    "training positives alone": ([ANCHORS[0], *ANCHORS[2:]], r"training rows \(1\) hold 1 positives"),
    "no test positive": ([*ANCHORS[:2], *ANCHORS[3:]], r"test rows \(1\) hold 0 positives"),
    "a test positive that is immature": (
        [*ANCHORS[:2], (CUT, None), (END, END)],
        r"test rows \(1\) hold 0 positives",
    ),
}


@pytest.mark.parametrize("case", ONE_CLASS)
def test_rows_of_one_class_are_refused_and_the_cut_is_told(case: str) -> None:
    rows, said = ONE_CLASS[case]
    with pytest.raises(TablesRefused, match=said + ".*The cut is 2017-11-09T00:00:00Z"):
        split_of(rows)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    t = rng.integers(START, END, 500)
    positive = t + rng.integers(0, 12 * HOUR, 500)
    known = rng.random(500) < 0.3
    order: NDArray[np.int64] = rng.permutation(500)
    one = split(spec(), t, positive, known)
    other = split(spec(), t[order], positive[order], known[order])
    assert one.window == other.window
    for name in ("train", "test", "y", "immature"):
        np.testing.assert_array_equal(getattr(one, name)[order], getattr(other, name))
