"""What a spine holds is what a request would say; what no request can say is refused."""

import numpy as np
import pyarrow as pa
import pytest

from lockstep.errors import BadColumn
from lockstep.plan import Array
from tests.bundles import NOON, PLAN
from training.given import given_and_times, given_columns

TIME = pa.timestamp("us", tz="UTC")
ROWS = pa.table(
    {
        "event_timestamp": pa.array([NOON, NOON + 1], TIME),
        "ip": pa.array([7, 8], pa.int32()),
        "bid": pa.array([0.5, None], pa.float64()),
        "site": pa.array(["a", None]),
        "other": [1, 2],
    }
)


def plain(columns: dict[str, Array]) -> dict[str, list[object]]:
    return {name: values.tolist() for name, values in columns.items()}


def test_null_is_nan_or_an_empty_text_as_in_a_request() -> None:
    found = given_columns(PLAN, ROWS)
    assert np.isnan(found["bid"][1])
    assert plain({**found, "bid": found["bid"][:1]}) == {"ip": [7, 8], "bid": [0.5], "site": ["a", ""]}
    assert [found[name].dtype for name in ("ip", "bid", "site")] == [np.int64, np.float32, object]


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("ip", pa.array([7, None], pa.int64()), r"'ip', row 1: is NULL; whole numbers have no NULL"),
        ("ip", pa.array([2**63, 1], pa.uint64()), r"'ip': holds numbers that are no int64"),
        ("bid", pa.array([0.5, np.inf]), r"'bid', row 1: inf is no float32"),
    ],
)
def test_what_no_request_can_say_is_an_error_of_the_spine(name: str, values: pa.Array, text: str) -> None:
    rows = ROWS.set_column(ROWS.column_names.index(name), name, values)
    with pytest.raises(BadColumn, match=text):
        given_columns(PLAN, rows)


def test_t_is_the_time_of_each_row_or_one_moment_for_all() -> None:
    assert given_and_times(PLAN, ROWS, None)[1].tolist() == [NOON, NOON + 1]
    assert given_and_times(PLAN, ROWS, NOON + 5)[1].tolist() == [NOON + 5, NOON + 5]
    missing = ROWS.set_column(0, "event_timestamp", pa.array([NOON, None], TIME))
    with pytest.raises(BadColumn, match="'event_timestamp', row 1: is NULL"):
        given_and_times(PLAN, missing, None)


def test_a_spine_without_rows_has_columns_without_rows() -> None:
    found, t = given_and_times(PLAN, ROWS.slice(0, 0), None)
    assert plain(found) == {"ip": [], "bid": [], "site": []}
    assert len(t) == 0
    assert found["bid"].dtype == np.float32
