"""Rows that requests are drawn from."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lockstep.cli.pool import Pool
from lockstep.errors import BadColumn, BadFile
from lockstep_client import Need
from tests.bundles import NOON

NEEDS = (
    Need("ip", "int64", "join_key", False),
    Need("bid", "float32", "request", False),
    Need("site", "string", "request", True),
)
AT_NOON = datetime(2017, 11, 9, 12, tzinfo=UTC)


def spine(path: Path, **columns: object) -> Path:
    """A Parquet file."""
    parquet.write_table(pa.table(columns), path)
    return path


def test_values_at_one_place_belong_together() -> None:
    pool = Pool.of_columns({"ip": [1, 2, 3], "site": ["a", "b", "c"], "bid": [0.5]}, [NOON + 1, NOON + 2, NOON + 3])
    columns, t = pool.draw(50, frozenset(), np.random.default_rng(7))
    assert t is not None
    drawn = zip(columns["ip"].tolist(), columns["site"].tolist(), (t - NOON).tolist(), strict=True)
    assert set(drawn) == {(1, "a", 1), (2, "b", 2), (3, "c", 3)}
    assert columns["bid"].tolist() == [0.5]  # one for all rows


def test_a_shared_column_has_one_value_for_all_rows() -> None:
    pool = Pool.of_columns({"ip": [1, 2, 3], "bid": [1.0, 2.0, 3.0]}, [])
    columns, t = pool.draw(20, frozenset({"ip"}), np.random.default_rng(7))
    assert (columns["ip"].size, columns["bid"].size, t) == (1, 20, None)
    assert columns["bid"][0] == columns["ip"][0]


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(BadColumn, match="column 'ip': has 2 values, but 'bid' has 3"):
        Pool.of_columns({"ip": [1, 2], "bid": [1.0, 2.0, 3.0]}, [])


def test_a_spine_without_times_has_the_one_that_is_named(tmp_path: Path) -> None:
    path = spine(tmp_path / "s.parquet", ip=[1, 2], bid=[0.5, 1.5])
    assert Pool.of_spine(path, NEEDS).t_us is None
    _, t = Pool.of_spine(path, NEEDS, [NOON]).draw(20, frozenset(), np.random.default_rng(7))
    assert t is not None
    assert t.tolist() == [NOON]


def test_a_time_that_a_spine_cannot_have_is_refused(tmp_path: Path) -> None:
    timed = spine(tmp_path / "t.parquet", ip=[1], bid=[0.5], event_timestamp=[AT_NOON])
    plain = spine(tmp_path / "p.parquet", ip=[1], bid=[0.5])
    for path, at_us in ((timed, [NOON]), (plain, [NOON, NOON])):
        with pytest.raises(BadColumn, match=r"'at'.*one t for all rows"):
            Pool.of_spine(path, NEEDS, at_us)


def test_a_spine_brings_what_the_model_needs_and_its_times(tmp_path: Path) -> None:
    path = spine(
        tmp_path / "s.parquet",
        ip=[1, 2],
        bid=[0.5, None],
        site=["a", None],
        event_timestamp=[AT_NOON] * 2,
        label=[0, 1],
    )
    pool = Pool.of_spine(path, NEEDS)
    assert set(pool.columns) == {"ip", "bid", "site"}
    assert np.array_equal(pool.columns["bid"], [0.5, np.nan], equal_nan=True)
    assert pool.columns["site"].tolist() == ["a", ""]
    assert pool.t_us is not None
    assert pool.t_us.tolist() == [NOON, NOON]


def test_a_csv_without_times_or_optional_columns_will_do(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("ip,bid\n1,2\n")
    pool = Pool.of_spine(tmp_path / "s.csv", NEEDS)
    assert (pool.columns["bid"].tolist(), pool.t_us) == ([2.0], None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ip,other\n1,2\n", "column 'bid': the model needs it; the file has ip, other"),
        ("ip,bid\n", "has no rows to draw from"),
        ("ip,bid\n1,2\n,3\n", "row 2, column 'ip': is NULL, and int64 has none"),
        ("ip,bid\nx,2\n", "column 'ip': is string, the model takes int64"),
        ("ip,bid,event_timestamp\n1,2,3\n", "column 'event_timestamp': is int64 with 0 NULLs; expected a timestamp"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_spine_that_cannot_be_drawn_from_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(BadFile, match=problem):
        Pool.of_spine(tmp_path / "s.csv", NEEDS)


def test_a_spine_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read as Parquet"):
        Pool.of_spine(tmp_path / "none.parquet", NEEDS)
