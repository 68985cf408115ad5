"""Rows of a file become the model's inputs as a scorer would make them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockstep.bundle import Bundle, build
from lockstep.errors import BadFile
from tests.bundles import bundle_files
from training.exports.rows import file_rows, golden_rows


@pytest.fixture(scope="module")
def tiny() -> Bundle:
    return build(bundle_files())


def write(folder: Path, table: pa.Table) -> Path:
    pq.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


def test_golden_rows_have_every_column_of_the_plan(tiny: Bundle) -> None:
    rows = golden_rows(tiny)
    assert (rows.source, rows.rows) == ("golden.parquet", 2)
    assert set(rows.columns) == {column.name for column in tiny.plan.columns}
    np.testing.assert_array_equal(rows.columns["seconds_since"], [0, 1])


def test_a_file_may_hold_the_inputs_alone(tiny: Bundle, tmp_path: Path) -> None:
    table = pa.table({"bid": [1.0], "clicks": pa.array([None], pa.int64()), "seconds_since": [2], "site_length": [3]})
    rows = file_rows(tiny, write(tmp_path, table))
    assert {name: float(values[0]) for name, values in rows.columns.items()} == {
        "bid": 1,
        "clicks": -1,  # the plan's default
        "seconds_since": 2,
        "site_length": 3,
    }
    assert rows.columns["clicks"].dtype == np.float32


def test_a_file_may_hold_what_the_inputs_are_made_from(tiny: Bundle, tmp_path: Path) -> None:
    stamp = pa.array([2_000_000, 5_000_000], pa.timestamp("us", "UTC"))
    last = pa.array([None, 1_000_000], pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "ip": [1, 2],
            "bid": [1.0, 2.0],
            "site": ["abc", None],
            "event_timestamp": stamp,
            "clicks": [4, 5],
            "last_click": last,
        }
    )
    rows = file_rows(tiny, write(tmp_path, table))
    np.testing.assert_array_equal(rows.columns["seconds_since"], [0, 4])
    np.testing.assert_array_equal(rows.columns["site_length"], [3, 0])


def test_columns_that_are_missing_are_named(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"lacks clicks, site_length.*lockstep models show"):
        file_rows(tiny, write(tmp_path, pa.table({"bid": [1.0], "seconds_since": [2.0]})))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array(["one"]), "column 'bid': it is string, not float32"),
        (pa.array([], pa.float64()), "it holds no rows"),
    ],
    ids=["a text for a number", "no rows"],
)
def test_values_of_another_type_are_refused(tiny: Bundle, tmp_path: Path, values: pa.Array, said: str) -> None:
    others = dict.fromkeys(("clicks", "seconds_since", "site_length"), pa.array([1.0] * len(values), pa.float64()))
    with pytest.raises(BadFile, match=said):
        file_rows(tiny, write(tmp_path, pa.table({"bid": values, **others})))


def test_a_file_that_is_not_there_or_no_parquet_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="there is no such file"):
        file_rows(tiny, tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("bid\n1\n")
    with pytest.raises(BadFile, match="no Parquet file"):
        file_rows(tiny, tmp_path / "text.parquet")
