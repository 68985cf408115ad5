"""Requests laid end to end are what each of them is, and say of each what is wrong with it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lockstep.errors import BadColumn, LockstepError, TooManyRows, UnknownColumn
from lockstep.request import LAST_TIME, Floats, Ints, Query, Texts, check
from serving.together import Joined, Unchecked, one_by_one, together
from tests.bundles import NOON, PLAN

MAX_ROWS = 4
INTS, FLOATS = st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=True)


@st.composite
def column(draw: st.DrawFn, kind: str, rows: int) -> Any:
    """Values or an array, one for all rows or one a row, now and then of another length."""
    length = draw(st.sampled_from([1, rows, rows, rows, rows, rows + 1]))
    values = draw(st.lists({"i": INTS, "f": FLOATS, "O": st.text(max_size=3)}[kind], min_size=length, max_size=length))
    if draw(st.booleans()):
        return {"i": Ints, "f": Floats, "O": Texts}[kind](values)
    return np.array(values, {"i": np.int64, "f": np.float64, "O": object}[kind])


@st.composite
def requests(draw: st.DrawFn) -> Unchecked:
    """Columns of the same names, most of them right."""
    rows = draw(st.integers(1, MAX_ROWS + 1))
    kinds = {
        "ip": draw(st.sampled_from("iiiO")),
        "bid": draw(st.sampled_from("ffi")),
        "site": draw(st.sampled_from("OOf")),
    }
    times = draw(st.sampled_from([[NOON], [NOON] * rows, [LAST_TIME + 1]]))
    t = Ints(times) if draw(st.booleans()) else np.array(times)
    return Unchecked({name: draw(column(kind, rows)) for name, kind in kinds.items()}, t)


def outcome(one: Unchecked) -> Query | str:
    try:
        return check(PLAN, one.columns, one.t, max_rows=MAX_ROWS)
    except LockstepError as error:
        return str(error)


def parts(joined: Joined) -> list[Query]:
    """The requests again."""
    ends = np.cumsum(joined.lengths)
    cut = [slice(end - length, end) for end, length in zip(ends, joined.lengths, strict=True)]
    return [({name: values[one] for name, values in joined.given.items()}, joined.t[one]) for one in cut]


def assert_same(found: list[Query], expected: list[Query]) -> None:
    for (columns, t), (wanted, times) in zip(found, expected, strict=True):
        assert t.tolist() == times.tolist()
        assert columns.keys() == wanted.keys()
        for name in wanted:
            assert columns[name].dtype == wanted[name].dtype
            np.testing.assert_array_equal(columns[name], wanted[name])


T = Ints([NOON])
GOOD = Unchecked({"ip": Ints([1, 2]), "bid": Floats([0.5]), "site": Texts(["a"])}, T)


@example([GOOD, GOOD])
@example([GOOD, Unchecked(GOOD.columns, Ints([LAST_TIME + 1]))])
@given(st.lists(requests(), min_size=1, max_size=5))
def test_each_request_is_what_it_is_alone_whoever_shares_the_batch(asked: list[Unchecked]) -> None:
    alone = [outcome(one) for one in asked]
    good = [one for one in alone if not isinstance(one, str)]
    joined = together(PLAN, asked, max_rows=MAX_ROWS)
    if joined is not None:
        assert_same(parts(joined), good)
        assert len(good) == len(asked)
    left, errors = one_by_one(PLAN, asked, max_rows=MAX_ROWS)
    assert_same([] if left is None else parts(left), good)
    assert [str(error) if error else None for error in errors] == [
        one if isinstance(one, str) else None for one in alone
    ]


@pytest.mark.parametrize("array", [False, True])
def test_requests_of_one_shape_are_laid_together_whatever_their_number_of_rows(array: bool) -> None:
    def ints(*values: int) -> Any:
        return np.array(values) if array else Ints(values)

    short = Unchecked({"ip": ints(7), "bid": ints(3)}, ints(NOON))
    long = Unchecked({"ip": ints(8), "bid": ints(1, 2)}, ints(NOON + 1))
    joined = together(PLAN, [short, long, short], max_rows=MAX_ROWS)
    assert joined is not None
    assert joined.given["ip"].tolist() == [7, 8, 8, 7]
    assert joined.given["bid"].tolist() == [3.0, 1.0, 2.0, 3.0]
    assert joined.t.tolist() == [NOON, NOON + 1, NOON + 1, NOON]
    assert joined.lengths == [1, 2, 1]


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (
            Unchecked({"ip": Ints([1] * 5), "bid": Floats([0.5])}, Ints([NOON])),
            TooManyRows,
            "5 rows",
        ),
        (Unchecked({"ip": Texts(["x"]), "bid": Floats([0.5])}, T), BadColumn, "'ip'"),
        (Unchecked({"ip": Ints([]), "bid": Floats([0.5])}, T), BadColumn, "no rows"),
        (Unchecked({"ip": Ints([1]), "bid": Floats([0.5])}, Ints([])), BadColumn, "no rows"),
        (Unchecked({"ip": Ints([1]), "bod": Floats([0.5])}, T), UnknownColumn, "'bod'"),
        (Unchecked({}, T), BadColumn, "missing"),
    ],
)
def test_what_is_wrong_is_said_of_the_request_with_which_it_is(
    bad: Unchecked, error: type[LockstepError], text: str
) -> None:
    assert together(PLAN, [bad], max_rows=MAX_ROWS) is None
    left, (found,) = one_by_one(PLAN, [bad], max_rows=MAX_ROWS)
    assert left is None
    assert isinstance(found, error)
    assert text in str(found)
