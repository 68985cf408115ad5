"""Rows of predictions: what was written is what is read, and what nobody wrote for a request never answers it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.keys import KeySpace
from lockstep.prediction_key import hashed
from lockstep.predictions import JOIN_KEYS, Pointer, PredictionsRead, PredictionView, view_name
from lockstep.status import Rung, Status
from tests.bundles import NOON

VIEW = PredictionView("tiny", view_name("tiny"))
ASKED = [b"one", b"another", b"a third"]
SCORES = np.array([0.25, 1e-300, 0.1 + 0.2])


def packed(requests: list[bytes] = ASKED) -> list[bytes]:
    rungs = np.array([0, 1, 2], np.int8)
    rows: list[bytes] = VIEW.pack(requests, SCORES, rungs, NOON + np.arange(3)).to_pylist()
    return rows


def statuses(read: PredictionsRead) -> list[str]:
    return [Status(one).name for one in read.found]


@pytest.mark.parametrize("times", [1, 20], ids=["few, read one by one", "many, read together"])
def test_what_was_written_is_what_is_read(times: int) -> None:
    read = VIEW.read(ASKED * times, packed() * times)
    assert statuses(read) == ["PRESENT"] * 3 * times
    assert read.scores.tolist() == SCORES.tolist() * times
    assert read.rungs.tolist() == [0, 1, 2] * times
    assert read.event_us.tolist() == [NOON, NOON + 1, NOON + 2] * times


@pytest.mark.parametrize("times", [1, 20])
def test_a_row_of_another_request_is_no_answer_to_this_one(times: int) -> None:
    read = VIEW.read(ASKED * times, [packed()[1], packed()[1], None] * times)
    assert statuses(read) == ["UNREADABLE", "PRESENT", "NOT_FOUND"] * times


@pytest.mark.parametrize("neighbours", [0, 20])
@given(place=st.integers(0, 46), bit=st.integers(0, 7))
@settings(max_examples=200)
def test_no_bit_of_a_row_changes_unseen(neighbours: int, place: int, bit: int) -> None:
    row = bytearray(packed()[0])
    row[place % len(row)] ^= 1 << bit
    read = VIEW.read([ASKED[0]] + [ASKED[1]] * neighbours, [bytes(row)] + [packed()[1]] * neighbours)
    assert statuses(read) == ["UNREADABLE"] + ["PRESENT"] * neighbours


@given(st.lists(st.one_of(st.none(), st.binary(max_size=80)), min_size=1, max_size=20))
def test_bytes_that_nobody_wrote_never_crash_and_never_answer(rows: list[bytes | None]) -> None:
    read = VIEW.read([b"one"] * len(rows), rows)
    assert statuses(read) == ["NOT_FOUND" if row is None else "UNREADABLE" for row in rows]


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_none(score: float) -> None:
    row = VIEW.pack([b"one"], np.array([score]), np.zeros(1, np.int8), np.array([NOON])).to_pylist()
    assert statuses(VIEW.read([b"one"], row)) == ["UNREADABLE"]


@pytest.mark.parametrize("rung", [-1, len(Rung), 127])
@pytest.mark.parametrize("neighbours", [0, 20])
def test_a_rung_that_is_none_makes_no_answer(rung: int, neighbours: int) -> None:
    row = VIEW.pack([b"one"], SCORES[:1], np.array([rung], np.int8), np.array([NOON])).to_pylist()
    read = VIEW.read([b"one"] + [ASKED[1]] * neighbours, row + [packed()[1]] * neighbours)
    assert statuses(read) == ["UNREADABLE"] + ["PRESENT"] * neighbours


def test_rows_of_another_project_are_not_taken_for_ones_own() -> None:
    other = PredictionView("other", VIEW.name)
    row = other.pack([b"one"], SCORES[:1], np.zeros(1, np.int8), np.array([NOON])).to_pylist()
    assert statuses(VIEW.read([b"one"], row)) == ["UNREADABLE"]


def test_keys_are_those_of_the_feature_view() -> None:
    space = KeySpace("tiny", VIEW.name, JOIN_KEYS)
    wanted = [space.encode_one({"model_version": "12", "prediction_key": hashed(one)}) for one in ASKED]
    assert VIEW.keys("12", ASKED) == wanted
    assert not set(VIEW.keys("1", ASKED)) & set(wanted)


def test_a_pointer_is_read_as_it_was_written_and_anything_else_is_none() -> None:
    pointer = Pointer("12", "abc")
    assert Pointer.read(pointer.to_bytes()) == pointer
    assert [Pointer.read(other) for other in (b"", b"12", b"[]", b'{"version": 12, "keys": ""}', b'{"a": 1}')] == [
        None
    ] * 5
