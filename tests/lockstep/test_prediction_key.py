"""The canonical bytes of a request: the same where the model is given the same, and never else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.plan import Array, Column, DType, Given, Plan
from lockstep.prediction_key import HASH_BYTES, PredictionKeys, hashed
from tests.bundles import PLAN

KEYS = PredictionKeys(PLAN)
ROWS = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(width=32), st.text(max_size=20)), min_size=1, max_size=8
)


def columns(rows: list[tuple[int, float, str]]) -> dict[str, Array]:
    """As a checked request has them."""
    ips, bids, sites = zip(*rows, strict=True)
    return {
        "ip": np.array(ips, np.int64),
        "bid": np.array(bids, np.float32),
        "site": np.array([*sites, None], object)[:-1],
    }


def one(ip: int = 1, bid: float = 0.5, site: str = "") -> bytes:
    (found,) = KEYS.of(columns([(ip, bid, site)]), 1)
    return found


def same(a: tuple[int, float, str], b: tuple[int, float, str]) -> bool:
    """Whether the model is given the same: bit for bit, but every NaN is NULL."""
    bits = [np.float32(row[1]).tobytes() for row in (a, b)]
    return a[0] == b[0] and a[2] == b[2] and (bits[0] == bits[1] or (np.isnan(a[1]) and np.isnan(b[1])))


@given(ROWS)
@settings(max_examples=300)
def test_bytes_are_equal_exactly_where_the_values_are(rows: list[tuple[int, float, str]]) -> None:
    found = KEYS.of(columns(rows), len(rows))
    assert found == [one(*row) for row in rows], "a row's bytes do not depend on its neighbours"
    for a, first in zip(rows, found, strict=True):
        for b, second in zip(rows, found, strict=True):
            assert (first == second) == same(a, b)


def test_every_nan_is_the_one_null() -> None:
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(bits).all()
    given_: dict[str, Array] = {"ip": np.ones(4, np.int64), "bid": bits, "site": np.array([""] * 4, object)}
    assert set(KEYS.of(given_, 4)) == {one(bid=np.nan)}


NUMBERS = PredictionKeys(
    Plan(
        "tiny",
        "tiny_v1",
        (),
        (
            Column("id", DType.INT64, Given("request")),
            Column("price", DType.FLOAT32, Given("request")),
            Column("share", DType.FLOAT64, Given("request"), default=0.25),
            Column("since", DType.TIMESTAMP, Given("request")),
        ),
        ("id",),
    )
)


@given(st.integers(-(2**63), 2**63 - 1), st.binary(min_size=20, max_size=20), st.booleans())
@settings(max_examples=300)
def test_a_row_alone_has_the_bytes_that_it_has_among_others(number: int, bits: bytes, left_out: bool) -> None:
    price, wide = np.frombuffer(bits, np.float32, 1), np.frombuffer(bits, np.float64, 2, 4)
    alone: dict[str, Array] = {"id": np.array([number]), "price": price, "share": wide[:1], "since": wide[1:]}
    if left_out:
        del alone["share"]
    both = {name: np.repeat(values, 2) for name, values in alone.items()}
    assert NUMBERS.of(alone, 1) * 2 == NUMBERS.of(both, 2)


@pytest.mark.parametrize("nan_bits", [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF])
def test_every_nan_of_a_row_alone_is_the_one_null(nan_bits: int) -> None:
    price = np.array([nan_bits], np.uint32).view(np.float32)
    row: dict[str, Array] = {"id": np.ones(1, np.int64), "price": price, "since": np.array([np.nan])}
    assert NUMBERS.of(row, 1) == NUMBERS.of({**row, "price": np.array([np.nan], np.float32)}, 1)


def test_a_column_left_out_is_its_default() -> None:
    left_out = {"ip": np.array([1, 2]), "bid": np.full(2, 0.5, np.float32)}
    assert KEYS.of(left_out, 2) == [one(1), one(2)]


def test_zeros_of_both_signs_stay_apart() -> None:
    assert one(bid=0.0) != one(bid=-0.0)


def test_where_one_text_ends_and_the_next_begins_is_never_in_doubt() -> None:
    texts = tuple(Column(name, DType.STRING, Given("request")) for name in ("a", "b"))
    keys = PredictionKeys(Plan("tiny", "tiny_v1", (), texts, ("a",)))
    pairs = {"a": np.array(["ab", "a", "", "abc"], object), "b": np.array(["c", "bc", "abc", ""], object)}
    assert len(set(keys.of(pairs, 4))) == 4


def test_the_order_in_which_a_plan_names_its_columns_changes_nothing() -> None:
    turned = PredictionKeys(replace(PLAN, columns=(*PLAN.columns[:3][::-1], *PLAN.columns[3:])))
    assert turned.of(columns([(7, 0.25, "news")]), 1) == [one(7, 0.25, "news")]
    assert turned.sha256 == KEYS.sha256


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(Column("bid", DType.FLOAT64, Given("request")), id="type"),
        pytest.param(Column("bid", DType.FLOAT32, Given("request"), default=0.0), id="default"),
        pytest.param(Column("price", DType.FLOAT32, Given("request")), id="name"),
    ],
)
def test_a_request_of_another_form_is_never_taken_for_one_of_this(changed: Column) -> None:
    given_columns = (PLAN.by_name["ip"], changed, PLAN.by_name["site"])
    keys = PredictionKeys(Plan("tiny", "tiny_v1", (), given_columns, ("ip",)))
    row = {"ip": np.array([1]), changed.name: np.array([0.5], changed.dtype.numpy), "site": np.array([""], object)}
    assert keys.sha256 != KEYS.sha256
    assert keys.of(row, 1) != [one()]


def test_a_hash_is_short_and_its_own() -> None:
    assert len(hashed(one())) == HASH_BYTES
    assert len({hashed(one(ip)) for ip in range(1000)}) == 1000
