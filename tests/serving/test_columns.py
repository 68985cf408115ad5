"""Columns from what a caller has: typed by the values alone, and an error that names the row."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.errors import BadColumn
from lockstep_client import requests
from serving.columns import arrays, times_us
from tests.bundles import NOON

MOMENT = datetime(2017, 11, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        (1, "i", [1]),
        (True, "i", [1]),
        ([1, True], "i", [1, 1]),
        (np.int32(7), "i", [7]),
        (np.array([1, 2], np.uint64), "i", [1, 2]),
        (1.5, "f", [1.5]),
        ([1, 2.5], "f", [1.0, 2.5]),
        (np.array([1.5], np.float32), "f", [1.5]),
        ("a", "O", ["a"]),
        (("a", ""), "O", ["a", ""]),
        (np.array(["a", "bc"]), "O", ["a", "bc"]),
        (pd.Series(["a", "b"], dtype=object), "O", ["a", "b"]),
        (pd.Series([1, 2]), "i", [1, 2]),
        (pa.array([1, 2]), "i", [1, 2]),
        (range(3), "i", [0, 1, 2]),
        (MOMENT, "f", [float(NOON)]),
        ([MOMENT.replace(tzinfo=None), MOMENT.astimezone(timezone(timedelta(hours=3)))], "f", [float(NOON)] * 2),
        (np.datetime64("2017-11-09T12", "h"), "f", [float(NOON)]),
    ],
)
def test_a_column_is_what_its_values_are(values: object, kind: str, wanted: list[Any]) -> None:
    (column,) = arrays({"x": values}).values()
    assert (column.dtype.kind, column.tolist()) == (kind, wanted)
    assert column.dtype.itemsize == 8


def test_a_missing_time_is_nan() -> None:
    (column,) = arrays({"x": np.array(["2017-11-09T12", "NaT"], "datetime64[ns]")}).values()
    np.testing.assert_array_equal(column, [NOON, np.nan])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1, "a"], "'x', row 1: is a str among others"),
        (["a", None], "'x', row 1: is a NoneType among others"),
        (None, "'x', row 0: is a NoneType"),
        (b"a", "row 0: is a bytes"),
        ([[1, 2], [3, 4]], "row 0: is a list"),
        ([1, 2**63], "'x', row 1: 9223372036854775808 is no 64-bit whole number"),
        (np.array([2**63], np.uint64), "row 0: 9223372036854775808 is no 64-bit"),
        (np.zeros((2, 2)), "'x': has 2 dimensions; expected one"),
        (np.zeros(2, complex), "'x': holds complex128"),
    ],
)
def test_what_is_no_column_is_refused(values: object, says: str) -> None:
    with pytest.raises(BadColumn, match=says):
        arrays({"x": values})


@pytest.mark.parametrize(
    "at",
    [NOON, MOMENT, [MOMENT], np.array([NOON]), np.datetime64("2017-11-09T12:00:00.000000"), pd.Series([MOMENT])],
    ids=lambda at: type(at).__name__,
)
def test_t_is_said_as_a_time_or_in_microseconds(at: object) -> None:
    t = times_us(at)
    assert t is not None
    assert (t.dtype.str, t.tolist()) == ("<i8", [NOON])


def test_no_t_is_none() -> None:
    assert times_us(None) is None


@pytest.mark.parametrize("at", [1.5, [1.5], "noon", np.array([1.5]), np.datetime64("NaT")], ids=str)
def test_seconds_and_texts_are_no_t(at: object) -> None:
    with pytest.raises(BadColumn, match="'at': expected datetimes or whole microseconds"):
        times_us(at)


@given(
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
        st.lists(st.floats(), min_size=1),
        st.lists(st.text(st.characters(codec="utf-8")), min_size=1),
    )
)
def test_the_client_takes_a_list_for_the_same_column(values: list[Any]) -> None:
    message = requests.predict("m", {"x": values}, "", None, explain=False)
    (sent,) = message.columns
    (column,) = arrays({"x": values}).values()
    kinds = {"int64s": "i", "doubles": "f", "strings": "O"}
    which = sent.WhichOneof("values")
    assert column.dtype.kind == kinds[which]
    assert str(list(getattr(sent, which).values)) == str(column.tolist())
