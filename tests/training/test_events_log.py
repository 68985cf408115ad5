"""The click log on disk: written whole or not at all, read back as it was."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockstep.errors import BadFile
from lockstep.times import DAY, parse_time
from training.events import SCHEMA, day_files, generate, log_span, read_log, write_log

START = date(2017, 11, 6)
ORIGIN = parse_time("2017-11-06T00:00:00Z")


@pytest.fixture
def log() -> pa.Table:
    """Three days of clicks, in order."""
    return generate(300, 3, 7, START)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_what_is_read(log: pa.Table, tmp_path: Path) -> None:
    days = write_log(log, tmp_path / "events")
    assert days == [date(2017, 11, day) for day in (6, 7, 8)]
    assert read_log(tmp_path / "events").equals(log)


def test_rows_are_written_in_the_order_of_the_log(log: pa.Table, tmp_path: Path) -> None:
    write_log(log.take(list(reversed(range(log.num_rows)))), tmp_path / "events")
    assert read_log(tmp_path / "events").equals(log)


def test_each_file_holds_the_clicks_of_its_utc_day(log: pa.Table, tmp_path: Path) -> None:
    write_log(log, tmp_path / "events")
    for number, path in enumerate(day_files(tmp_path / "events").values()):
        part = pq.read_table(path, partitioning=None)
        assert {us // DAY - ORIGIN // DAY for us in part["click_time"].cast(pa.int64()).to_numpy()} == {number}
        assert path.parent.name == f"day=2017-11-{6 + number:02}"


def test_a_range_of_days_and_some_columns_can_be_read(log: pa.Table, tmp_path: Path) -> None:
    write_log(log, tmp_path / "events")
    second = read_log(
        tmp_path / "events", columns=["ip", "click_time"], first_day=date(2017, 11, 7), last_day=date(2017, 11, 7)
    )
    assert second.column_names == ["ip", "click_time"]
    assert 0 < second.num_rows < log.num_rows
    assert read_log(tmp_path / "events", first_day=date(2018, 1, 1)).equals(SCHEMA.empty_table())


def test_the_span_is_that_of_the_clicks(log: pa.Table, tmp_path: Path) -> None:
    write_log(log, tmp_path / "events")
    times = log["click_time"].cast(pa.int64()).to_pylist()
    assert log_span(tmp_path / "events") == (times[0], times[-1])


def test_writing_takes_the_place_of_the_whole_log(log: pa.Table, tmp_path: Path) -> None:
    write_log(log, tmp_path / "events")
    write_log(log.slice(0, 5), tmp_path / "events")
    assert read_log(tmp_path / "events").equals(log.slice(0, 5))


def test_adding_leaves_the_other_days_alone(log: pa.Table, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    first = read_of_day(log, 0)
    write_log(first, folder)
    before = contents(folder)
    assert write_log(log, folder, add=True) == [date(2017, 11, 7), date(2017, 11, 8)]
    assert read_log(folder).equals(log)
    assert before.items() <= contents(folder).items()


def read_of_day(log: pa.Table, number: int) -> pa.Table:
    days = [us // DAY - ORIGIN // DAY for us in log["click_time"].cast(pa.int64()).to_numpy()]
    return log.filter(pa.array([day == number for day in days]))


def test_adding_other_clicks_of_a_day_is_refused_and_changes_nothing(log: pa.Table, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    write_log(read_of_day(log, 0), folder)
    before = contents(folder)
    with pytest.raises(BadFile, match="other clicks of 2017-11-06"):
        write_log(log.slice(1), folder, add=True)
    assert contents(folder) == before


def test_a_write_that_fails_leaves_the_log_as_it_was(
    log: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "events"
    write_log(log, folder)
    before, write = contents(folder), pq.write_table

    def full_disk(table: pa.Table, path: Path, **options: Any) -> None:
        if "day=2017-11-08" in str(path):
            raise OSError("no space left on device")
        write(table, path, **options)

    monkeypatch.setattr("training.events.log.pq.write_table", full_disk)
    for add, place in ((False, folder), (True, tmp_path / "other")):
        with pytest.raises(OSError, match="no space"):
            write_log(log, place, add=add)
    assert contents(tmp_path) == {f"events/{name}": content for name, content in before.items()}


@pytest.mark.parametrize("read", [read_log, log_span])
def test_no_log_is_an_error_that_says_what_to_run(read: "object", tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="lockstep events generate"):
        read(tmp_path)  # type: ignore[operator]


def test_a_file_that_is_no_day_of_a_log_is_named(log: pa.Table, tmp_path: Path) -> None:
    write_log(log, tmp_path)
    path = day_files(tmp_path)[START]
    pq.write_table(pa.table({"ip": [1]}), path)
    with pytest.raises(BadFile, match=r"not a day of a click log"):
        read_log(tmp_path)
    path.write_bytes(b"torn")
    with pytest.raises(BadFile, match=r"not a readable Parquet file"):
        read_log(tmp_path)


def test_a_folder_that_is_named_after_no_day_is_named(log: pa.Table, tmp_path: Path) -> None:
    write_log(log, tmp_path)
    (tmp_path / "day=2017-11-08").rename(tmp_path / "day=tomorrow")
    with pytest.raises(BadFile, match="must be named after a day"):
        read_log(tmp_path)
