"""`lockstep events` as a person uses it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockstep.cli.events import events
from lockstep.errors import BadFile
from training.events import read_log

HEADER = "ip,app,device,os,channel,click_time,attributed_time,is_attributed\n"
ROW = "7,3,1,13,379,2017-11-07 09:30:38,,0\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that the command works in."""
    monkeypatch.setenv("LOCKSTEP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(events, [str(each) for each in arguments], catch_exceptions=False)


def test_generate_writes_a_log_and_says_what_is_in_it(home: Path) -> None:
    result = run("generate", "--clicks", 400, "--days", 2, "--seed", 3, "--start", "2018-02-27")
    assert result.exit_code == 0
    assert read_log(home / "events").num_rows == 400
    assert sorted(path.name for path in (home / "events").iterdir()) == ["day=2018-02-27", "day=2018-02-28"]
    assert "400" in result.output
    assert "2018-02-28T" in result.output


def test_load_replaces_the_log_and_counts_what_it_put_right(home: Path, tmp_path: Path) -> None:
    run("generate", "--clicks", 50)
    (tmp_path / "mine.csv").write_text(HEADER + ROW + ROW + ROW.replace("09:30", "08:30"))
    result = run("load", tmp_path / "mine.csv")
    assert read_log(home / "events").num_rows == 2
    shown = [line.replace("│", " ").split() for line in result.output.splitlines()]
    assert ["rows", "read", "3"] in shown
    assert ["duplicates", "dropped", "1"] in shown
    assert ["out", "of", "order,", "sorted", "1"] in shown


def test_a_file_that_cannot_be_read_leaves_no_log_behind(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(HEADER + ROW.replace("379", "three"))
    with pytest.raises(BadFile, match=r"mine\.csv, row 1, column 'channel'"):
        run("load", tmp_path / "mine.csv")
    assert not home.exists()


def test_add_keeps_what_is_there(home: Path, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(HEADER + ROW)
    (tmp_path / "two.csv").write_text(HEADER + ROW.replace("11-07", "11-08"))
    run("load", tmp_path / "one.csv")
    result = run("load", "--add", tmp_path / "two.csv", tmp_path / "one.csv")
    assert read_log(home / "events").num_rows == 2
    assert ["days", "written", "1"] in [line.replace("│", " ").split() for line in result.output.splitlines()]


@pytest.mark.parametrize("option", [["--clicks", "0"], ["--days", "-1"], ["--start", "tomorrow"], ["--seed", "x"]])
def test_a_wrong_option_is_refused_by_name(option: list[str], home: Path) -> None:
    result = run("generate", *option)
    assert result.exit_code == 2
    assert option[0] in result.output
    assert not home.exists()
