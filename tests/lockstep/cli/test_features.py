"""`lockstep features` as a person uses it."""

from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockstep.cli.features import features
from lockstep.errors import BadFile
from training.events import generate, write_log
from training.tables import TABLES


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that the command works in."""
    monkeypatch.setenv("LOCKSTEP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> dict[str, list[str]]:
    """The printed table, by feature table: days built, rows written, days kept, days removed."""
    result = CliRunner().invoke(features, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    cells = [line.replace("│", " ").split() for line in result.stdout.splitlines()]
    return {row[0]: row[1:] for row in cells if row and row[0] in TABLES}


def test_build_says_what_was_built_and_what_was_kept(home: Path) -> None:
    write_log(generate(60, 2, 7, date(2017, 11, 6)), home / "events")
    first, second, full = run("build"), run("build"), run("build", "--full")
    assert set(first) == set(TABLES)
    assert all((row[0], row[2]) == ("2", "0") and row[1] != "0" for row in first.values())
    assert all(row == ["0", "0", "2", "0"] for row in second.values())
    assert full == first


def test_build_without_a_log_says_what_to_run(home: Path) -> None:
    with pytest.raises(BadFile, match="lockstep events generate"):
        run("build")
    assert not home.exists()
