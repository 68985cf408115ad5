"""What people have becomes columns by its type; what cannot is refused before it is sent, naming column and row."""

import collections
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep_client import InvalidArgument
from lockstep_client.columns import fill, times_us
from lockstep_client.requests import features, predict
from protos.lockstep.v1 import scorer_pb2 as pb
from tests.bundles import NOON

AWARE = datetime(2017, 11, 9, 12, tzinfo=UTC)
NAIVE = datetime(2017, 11, 9, 12)
ABROAD = datetime(2017, 11, 9, 13, tzinfo=timezone(timedelta(hours=1)))
NAN = float("nan")
AT_NOON = [float(NOON)]


def filled(values: object) -> tuple[str, list[Any]]:
    """Kind and values of the column that is sent."""
    column = pb.Column(name="x")
    count = fill(column, values)
    kind = column.WhichOneof("values")
    assert kind is not None
    sent = list(getattr(column, kind).values)
    assert len(sent) == count
    return kind, sent


@pytest.mark.parametrize(
    ("values", "kind", "sent"),
    [
        (7, "int64s", [7]),
        (0.5, "doubles", [0.5]),
        ("ab", "strings", ["ab"]),
        (np.int32(7), "int64s", [7]),
        ([1, 2], "int64s", [1, 2]),
        ((1, 2), "int64s", [1, 2]),
        (range(3), "int64s", [0, 1, 2]),
        (collections.deque([1, 2]), "int64s", [1, 2]),
        ([True, False], "int64s", [1, 0]),
        ([1, 2.5], "doubles", [1.0, 2.5]),
        ([np.float32(0.5), 1.0], "doubles", [0.5, 1.0]),
        (["a", "ß"], "strings", ["a", "ß"]),
        ([-(2**63), 2**63 - 1], "int64s", [-(2**63), 2**63 - 1]),
        (np.array([1, 2], np.int16), "int64s", [1, 2]),
        (np.array([2**63 - 1], np.uint64), "int64s", [2**63 - 1]),
        (np.array([True]), "int64s", [1]),
        (np.array([0.5, 1], np.float32), "doubles", [0.5, 1.0]),
        (np.array([0.5, 1], ">f8"), "doubles", [0.5, 1.0]),
        (np.arange(6.0)[::2], "doubles", [0.0, 2.0, 4.0]),
        (np.arange(6)[::-2], "int64s", [5, 3, 1]),
        (np.array(5), "int64s", [5]),
        (np.array(["a", "bc"]), "strings", ["a", "bc"]),
        (np.array(["a", "bc"], object), "strings", ["a", "bc"]),
        (pd.Series([1, 2]), "int64s", [1, 2]),
        (pd.Series([1, 2], dtype="Int64"), "int64s", [1, 2]),
        (pd.Series([0.5, 2]), "doubles", [0.5, 2.0]),
        (pd.Series(["a", "b"]), "strings", ["a", "b"]),
        (pd.Series(["a", "b"], dtype="string"), "strings", ["a", "b"]),
        (pd.Series(["a", "b"], dtype="category"), "strings", ["a", "b"]),
        (pa.chunked_array([[1], [2]]), "int64s", [1, 2]),
        (AWARE, "doubles", AT_NOON),
        ([NAIVE], "doubles", AT_NOON),
        ([ABROAD], "doubles", AT_NOON),
        (np.array(["2017-11-09T12"], "datetime64[ns]"), "doubles", AT_NOON),
        (pd.Series([NAIVE]), "doubles", AT_NOON),
        (pd.Series([ABROAD]), "doubles", AT_NOON),
    ],
)
def test_a_column_is_sent_in_the_type_of_its_values(values: object, kind: str, sent: list[Any]) -> None:
    assert filled(values) == (kind, sent)


@pytest.mark.parametrize(
    "values",
    [
        [NAN, 1.0],
        np.array([NAN, 1.0]),
        pd.Series([None, 1.0]),
        pd.Series([None, 1], dtype="Int64"),
        pd.Series([pd.NaT, datetime(1970, 1, 1, microsecond=1)]),
        pd.Series([pd.NaT, datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)]),
        [np.datetime64("NaT"), np.datetime64(1, "us")],
    ],
)
def test_null_among_floats_and_times_is_nan(values: object) -> None:
    kind, (missing, one) = filled(values)
    assert (kind, one) == ("doubles", 1.0)
    assert math.isnan(missing)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([1, "a"], r"row 1: is one of strings, but row 0 is one of whole numbers"),
        (["a", "b", 2.0], r"row 2: is one of floats, but row 0 is one of strings"),
        ([1, 2.5, "a"], r"row 2: is one of strings, but row 0 is one of whole numbers"),
        (np.array([1, "a"], object), r"row 1: is one of strings"),
        ([1, 2, NAN], r"row 2: is NaN among whole numbers, which have no NULL"),
        ([1, None], r"row 1: is a NoneType. NULL is nan among floats and '' among strings"),
        ([None], r"row 0: is a NoneType"),
        (pd.Series(["a", None], dtype="string"), r"row 1: is a NAType. NULL is"),
        (["a", NAN], r"row 1: is one of floats, but row 0 is one of strings"),
        ([2**63], r"row 0: 9223372036854775808 is no 64-bit whole number"),
        (np.array([1, 2**63], np.uint64), r"row 1: 9223372036854775808 is no 64-bit"),
        ([Decimal(1)], r"row 0: is a Decimal. Expected a whole number, a float, a string or a time"),
        ([b"a"], r"row 0: is a bytes"),
        ([[1, 2]], r"row 0: is a list"),
        (["\ud800"], r"row 0: '\\ud800' cannot be written as UTF-8"),
        (np.ones((2, 2)), r"has 2 dimensions \(2, 2\); expected one"),
        (np.array([1j]), r"holds complex128"),
        (np.array([b"a"]), r"holds \|S1"),
        (np.ma.masked_array([1, 2], [False, True]), r"has masked values"),
        ([], r"has no rows; send at least one value"),
        (np.array([]), r"has no rows"),
        (b"abc", r"is a bytes; expected an array"),
        ({"a": 1}, r"is a dict; expected an array"),
        ((each for each in (1, 2)), r"is a generator; expected an array"),
        (None, r"is a NoneType; expected an array"),
        ([NAIVE, AWARE], r"has times with and without a time zone"),
    ],
)
def test_what_is_no_column_is_refused_before_it_is_sent(values: object, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^INVALID_ARGUMENT: column 'x'(, |: ){problem}"):
        filled(values)


@given(st.lists(st.floats(width=64), min_size=1))
def test_every_float_arrives_as_it_was(values: list[float]) -> None:
    _, sent = filled(values)
    assert np.array(sent).tobytes() == np.array(values).tobytes()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_lists_and_arrays_of_whole_numbers_are_sent_alike(values: list[int]) -> None:
    assert filled(values) == filled(np.array(values)) == ("int64s", values)


@pytest.mark.parametrize(
    "at",
    [
        NOON,
        [NOON],
        np.int64(NOON),
        np.array([NOON]),
        np.array([NOON], np.uint64),
        AWARE,
        NAIVE,
        [ABROAD],
        np.datetime64("2017-11-09T12:00"),
        np.array(["2017-11-09T12"], "datetime64[s]"),
        pd.Timestamp(AWARE),
        pd.Series([ABROAD]),
        pd.DatetimeIndex([NAIVE]),
    ],
)
def test_a_time_is_microseconds_utc(at: object) -> None:
    assert times_us(at).tolist() == [NOON]


@pytest.mark.parametrize(
    ("at", "problem"),
    [
        (NOON / 1e6, r"row 0: is a float; expected a datetime, or a whole number of microseconds UTC"),
        ([NOON, 1.0], r"row 1: is a float; expected a datetime"),
        ("2017-11-09", r"row 0: is a str"),
        ([], r"has no rows; leave it out for the server's clock"),
        ([AWARE, pd.NaT], r"row 1: is missing; every row has a time"),
        (np.array(["2017-11-09", "NaT"], "datetime64[s]"), r"row 1: is missing"),
        ([NAIVE, AWARE], r"has times with and without a time zone"),
        (2**63, r"row 0: 9223372036854775808 is no time in microseconds"),
        (np.zeros((1, 1), np.int64), r"has 2 dimensions"),
    ],
)
def test_what_is_no_time_is_refused(at: object, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"column 'at'(, |: ){problem}"):
        times_us(at)


def test_a_request_holds_what_was_said() -> None:
    request = predict("tiny", {"ip": [1, 2], "bid": 0.5}, "3", [NOON, NOON + 1], explain=True)
    assert request == pb.PredictRequest(
        model="tiny",
        version="3",
        columns=[
            pb.Column(name="ip", int64s=pb.Int64s(values=[1, 2])),
            pb.Column(name="bid", doubles=pb.Doubles(values=[0.5])),
        ],
        event_timestamp_us=[NOON, NOON + 1],
        explain=True,
    )
    asked = features("tiny", {"ip": [1, 2], "bid": 0.5}, "3", [NOON, NOON + 1], ["clicks"])
    assert (asked.columns, asked.event_timestamp_us) == (request.columns, request.event_timestamp_us)
    assert list(asked.features) == ["clicks"]


@pytest.mark.parametrize(
    ("columns", "at", "problem"),
    [
        ({"ip": [1, 2], "bid": [0.5, 0.5, 0.5]}, None, "'bid': has 3 values, but 'ip' has 2"),
        ({"ip": [1, 2], "bid": 1}, [NOON] * 3, "'at': has 3 values, but 'ip' has 2"),
    ],
)
def test_lengths_that_do_not_broadcast_are_refused(columns: dict[str, object], at: object, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        predict("tiny", columns, "", at, explain=False)
