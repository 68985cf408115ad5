"""Click files that people bring: what is read, what is put right, and what is refused with file, row and column."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockstep.errors import BadFile
from lockstep.times import format_time, parse_time
from training.events import SCHEMA, load

HEADER = "ip,app,device,os,channel,click_time,attributed_time,is_attributed"
FIRST = "7,3,1,13,379,2017-11-07 09:30:38,,0"
SECOND = "8,9,1,19,134,2017-11-07 10:00:00,2017-11-07 10:05:01,1"
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "talkingdata" / "train_sample.csv.gz"

Writer = Callable[[Path, str], Path]


def plain(folder: Path, text: str) -> Path:
    (folder / "clicks.csv").write_text(text)
    return folder / "clicks.csv"


def gzipped(folder: Path, text: str) -> Path:
    (folder / "clicks.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder / "clicks.csv.gz"


def zipped(folder: Path, text: str) -> Path:
    with ZipFile(folder / "clicks.zip", "w") as archive:
        archive.writestr("inner.csv", text)
    return folder / "clicks.zip"


def lines(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.mark.parametrize("write", [plain, gzipped, zipped])
def test_every_kind_of_csv_is_read(write: Writer, tmp_path: Path) -> None:
    loaded = load([write(tmp_path, lines(FIRST, SECOND))])
    assert loaded.table.schema.equals(SCHEMA)
    assert loaded.table.select(["ip", "app", "device", "os", "channel", "is_attributed"]).to_pylist() == [
        {"ip": 7, "app": 3, "device": 1, "os": 13, "channel": 379, "is_attributed": 0},
        {"ip": 8, "app": 9, "device": 1, "os": 19, "channel": 134, "is_attributed": 1},
    ]
    assert times(loaded.table) == [("2017-11-07T09:30:38Z", None), ("2017-11-07T10:00:00Z", "2017-11-07T10:05:01Z")]


def times(table: pa.Table) -> list[tuple[str | None, str | None]]:
    columns = [table[name].cast(pa.int64()).to_pylist() for name in ("click_time", "attributed_time")]
    return [tuple(None if us is None else format_time(us) for us in row) for row in zip(*columns, strict=True)]  # type: ignore[misc]


def test_columns_may_stand_in_any_order_and_others_are_ignored(tmp_path: Path) -> None:
    header = "click_id,is_attributed,attributed_time,click_time,channel,os,device,app,ip"
    path = plain(tmp_path, f"{header}\n0,0,,2017-11-07 09:30:38,379,13,1,3,7\n")
    other = tmp_path / "other"
    other.mkdir()
    assert load([path]).table.equals(load([plain(other, lines(FIRST))]).table)


@pytest.mark.parametrize(
    "text",
    ["2017-11-07 09:30:38", "2017-11-07T09:30:38Z", "2017-11-07 09:30:38.000", "2017-11-07 09:30:38+00:00"],
)
def test_a_time_may_be_written_in_several_ways(text: str, tmp_path: Path) -> None:
    table = load([plain(tmp_path, lines(f"7,3,1,13,379,{text},,0"))]).table
    assert times(table) == [("2017-11-07T09:30:38Z", None)]


def test_unsorted_rows_are_sorted_and_counted(tmp_path: Path) -> None:
    late = "9,3,1,13,379,2017-11-08 00:00:00,,0"
    loaded = load([plain(tmp_path, lines(SECOND, FIRST, late, FIRST.replace("7,3", "6,3")))])
    assert loaded.table["ip"].to_pylist() == [6, 7, 8, 9]
    assert (loaded.rows, loaded.duplicates, loaded.out_of_order) == (4, 0, 2)


def test_exact_duplicates_are_dropped_and_counted_over_all_files(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    installed = FIRST.replace(",,0", ",2017-11-07 11:00:00,1")
    paths = [plain(folders[0], lines(FIRST, FIRST, installed)), plain(folders[1], lines(FIRST, SECOND))]
    loaded = load(paths)
    assert (loaded.rows, loaded.duplicates, loaded.out_of_order) == (5, 2, 0)
    assert loaded.table.num_rows == 3  # the same click with an install is another row


AT = parse_time("2017-11-07T09:30:38.123456Z")


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
@pytest.mark.parametrize(
    ("unit", "ticks", "kept"), [("ms", 10**3, 123_000), ("us", 10**6, 123_456), ("ns", 10**9, 123_456)]
)
def test_parquet_times_of_every_unit_and_zone_are_read(
    unit: str, ticks: int, kept: int, zone: str | None, tmp_path: Path
) -> None:
    stamp = AT // 10**6 * ticks + 123_456_789 * ticks // 10**9
    path = parquet(tmp_path, click_time=pa.array([stamp], pa.int64()).cast(pa.timestamp(unit, zone)))
    assert load([path]).table["click_time"].cast(pa.int64()).to_pylist() == [AT // 10**6 * 10**6 + kept]


def parquet(folder: Path, **columns: "pa.Array[Any]") -> Path:
    """A Parquet file with one click, columns replaced as given."""
    values: dict[str, Any] = {name: pa.array([1]) for name in ("ip", "app", "device", "os", "channel")}
    values["click_time"] = pa.array([AT], pa.timestamp("us"))
    values["attributed_time"] = pa.array([None], pa.timestamp("us"))
    values["is_attributed"] = pa.array([0], pa.int64())
    pq.write_table(pa.table(values | columns), folder / "clicks.parquet")
    return folder / "clicks.parquet"


@pytest.mark.parametrize("flag", [pa.array([False]), pa.array([0], pa.int8()), pa.array(["0"])], ids=str)
def test_parquet_columns_may_be_of_other_types_that_say_the_same(flag: Any, tmp_path: Path) -> None:
    text = pa.array(["2017-11-07 09:30:38"])
    path = parquet(tmp_path, click_time=text, ip=pa.array([1], pa.uint32()), app=pa.array(["5"]), is_attributed=flag)
    assert load([path]).table.select(["ip", "app"]).to_pylist() == [{"ip": 1, "app": 5}]


BAD_ROWS = {
    "id is a fraction": ("7,3.0,1,13,379,2017-11-07 09:30:38,,0", "app", "'3.0' is not a whole number"),
    "id is negative": ("-7,3,1,13,379,2017-11-07 09:30:38,,0", "ip", "'-7' is not a whole number"),
    "id is a word": ("7,3,1,x,379,2017-11-07 09:30:38,,0", "os", "'x' is not a whole number"),
    "id is missing": ("7,3,1,13,,2017-11-07 09:30:38,,0", "channel", "nothing is not a whole number"),
    "id is too large": ("7,3,9999999999999999999,13,1,2017-11-07 09:30:38,,0", "device", "not a whole number"),
    "no click time": ("7,3,1,13,379,,,0", "click_time", "nothing is not a time"),
    "a date without a time": ("7,3,1,13,379,2017-11-07,,0", "click_time", "'2017-11-07' is not a time"),
    "a day that never was": ("7,3,1,13,379,2017-02-30 09:30:38,,0", "click_time", "is not a time"),
    "another time zone": ("7,3,1,13,379,2017-11-07 09:30:38+08:00,,0", "click_time", "is not a time"),
    "install time is a word": ("7,3,1,13,379,2017-11-07 09:30:38,soon,1", "attributed_time", "'soon' is not a time"),
    "install before click": (
        "7,3,1,13,379,2017-11-07 09:30:38,2017-11-07 09:30:37,1",
        "attributed_time",
        "the install at '2017-11-07 09:30:37' lies before its click at '2017-11-07 09:30:38'",
    ),
    "flag is a word": ("7,3,1,13,379,2017-11-07 09:30:38,,yes", "is_attributed", "'yes' is neither 0 nor 1"),
    "flag without install": ("7,3,1,13,379,2017-11-07 09:30:38,,1", "is_attributed", "there is no attributed_time"),
    "install without flag": (
        "7,3,1,13,379,2017-11-07 09:30:38,2017-11-07 09:30:39,0",
        "is_attributed",
        "'0', but attributed_time is '2017-11-07 09:30:39'",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_with_file_row_and_column(case: str, tmp_path: Path) -> None:
    row, column, problem = BAD_ROWS[case]
    path = plain(tmp_path, lines(FIRST, SECOND, row, "x,x,x,x,x,x,x,x"))
    with pytest.raises(BadFile) as caught:
        load([path])
    assert (caught.value.path, caught.value.row, caught.value.column) == (path, 3, column)
    assert problem in str(caught.value)


def test_an_install_at_the_very_time_of_its_click_is_read(tmp_path: Path) -> None:
    same = "7,3,1,13,379,2017-11-07 09:30:38,2017-11-07 09:30:38,1"
    assert load([plain(tmp_path, lines(same))]).table.num_rows == 1


def test_a_missing_column_is_named_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    path = plain(tmp_path, lines(FIRST).replace("click_time", "clicktime"))
    with pytest.raises(BadFile, match=r"column 'click_time': the column is missing. Did you mean 'clicktime'\?"):
        load([path])


@pytest.mark.parametrize("text", ["", HEADER, HEADER + "\n"], ids=["no bytes", "a header", "a header line"])
@pytest.mark.parametrize("write", [plain, gzipped, zipped])
def test_a_file_without_rows_is_refused(write: Writer, text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadFile, match=r"no rows") as caught:
        load([path])
    assert caught.value.path == path


def test_a_ragged_row_is_refused_and_named(tmp_path: Path) -> None:
    path = plain(tmp_path, lines(FIRST, "1,2,3"))
    with pytest.raises(BadFile, match=str(path)):
        load([path])


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("clicks.txt", b"1", r"its name must end in one of \.csv"),
        ("clicks.zip", b"no zip", "not a readable zip"),
        ("clicks.parquet", b"no parquet", "cannot be read"),
        ("clicks.csv.gz", b"no gzip", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=problem):
        load([tmp_path / name])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        load([tmp_path / "clicks.csv"])


def test_a_zip_of_several_files_is_refused_and_they_are_named(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "clicks.zip", "w") as archive:
        archive.writestr("a.csv", lines(FIRST))
        archive.writestr("b.csv", lines(FIRST))
    with pytest.raises(BadFile, match=r"one \.csv file; it holds: a\.csv, b\.csv"):
        load([tmp_path / "clicks.zip"])


@pytest.mark.skipif(not SAMPLE.exists(), reason="the TalkingData sample does not lie beside this repository")
def test_the_real_sample_is_read() -> None:
    loaded = load([SAMPLE])
    assert (loaded.rows, loaded.duplicates, loaded.table.num_rows) == (100_000, 1, 99_999)
    assert loaded.table["is_attributed"].to_pylist().count(1) == 227
