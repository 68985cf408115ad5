"""A row has the same bytes in numpy and in C."""

import ctypes

import numpy as np
import pytest

from lockstep.plan import DType
from training.exports.c.layout import Layout

MIXED = Layout("it", {"clicks-1h": DType.FLOAT32, "app": DType.INT64, "words": DType.STRING, "rate": DType.FLOAT64})


class Row(ctypes.Structure):
    """What a compiler makes of MIXED."""

    _fields_ = (
        ("clicks_1h", ctypes.c_float),
        ("app", ctypes.c_int64),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("rate", ctypes.c_double),
    )


def test_members_are_declared_in_the_order_of_the_columns() -> None:
    assert [line.strip() for line in MIXED.members()] == [
        "float clicks_1h;",
        "int64_t app;",
        "struct it_text words;",
        "double rate;",
    ]


def test_rows_are_read_as_a_compiler_lays_them_out() -> None:
    texts = np.array(["a1", "", "\u00fc z"], object)
    columns = {
        "clicks-1h": np.array([1.5, np.nan, 3], np.float32),
        "app": np.array([-(2**62), 0, 7]),
        "words": texts,
        "rate": np.array([0.1, 0.2, 0.3]),
    }
    rows, kept = MIXED.rows(columns)
    assert (len(rows), MIXED.numpy.itemsize, len(kept)) == (3, ctypes.sizeof(Row), 1)
    read = (Row * 3).from_buffer_copy(rows.tobytes())
    assert [one.app for one in read] == [-(2**62), 0, 7]
    assert [one.rate for one in read] == [0.1, 0.2, 0.3]
    assert [one.clicks_1h for one in read] == pytest.approx([1.5, np.nan, 3], nan_ok=True)
    assert [ctypes.string_at(one.data, one.size).decode() for one in read] == texts.tolist()


def test_no_rows_are_no_bytes() -> None:
    rows, _ = MIXED.rows({name: values[:0] for name, values in MIXED.empty_row().items()})
    assert len(rows) == 0
