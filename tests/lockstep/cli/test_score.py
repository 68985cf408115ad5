"""`lockstep score` as a person uses it."""

from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from lockstep.cli.score import score
from lockstep.errors import BadRequest, UnknownModel
from lockstep.home import Home
from lockstep.times import parse_time
from training.plans import EVENT_TIMESTAMP
from training.train import Trained

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")


@pytest.fixture
def spine(trained: Trained, tmp_path: Path) -> Path:
    path = tmp_path / "clicks.parquet"
    pq.write_table(trained.test_spine.slice(0, 50).drop_columns(["attributed_time"]), path)
    return path


def run(home: Home, *arguments: object) -> Result:
    words = ["install", "--version", "1", *map(str, arguments)]
    return CliRunner(env={"LOCKSTEP_HOME": str(home.root)}).invoke(score, words)


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_it_tells_what_it_did_and_that_nothing_is_left_to_do(home: Home, spine: Path, tmp_path: Path) -> None:
    first = done(run(home, "--spine", spine, "--out", tmp_path / "scores", "--part-rows", 30))
    assert "│ rows │ 50 │" in first
    assert "│ parts that were there │ 0 │" in first
    assert "rows a second" in first
    again = done(run(home, "--spine", spine, "--out", tmp_path / "scores", "--part-rows", 30))
    assert "│ parts that were there │ 2 │" in again
    assert "rows a second" not in again


def test_a_query_and_one_time_for_all_rows(home: Home, spine: Path, tmp_path: Path) -> None:
    query = f"SELECT * EXCLUDE ({EVENT_TIMESTAMP}) FROM '{spine}'"
    moment = "2017-11-08T12:00:00Z"
    done(run(home, "--spine", query, "--out", tmp_path / "scores", "--latest", "--at", moment, "--workers", 1))
    rows = pyarrow.dataset.dataset(tmp_path / "scores", format="parquet").to_table()
    assert len(rows) == 50
    assert {round(when.timestamp() * 1e6) for when in rows[EVENT_TIMESTAMP].to_pylist()} == {parse_time(moment)}


def test_what_is_wrong_is_said(home: Home, spine: Path, tmp_path: Path) -> None:
    wrong = run(home, "--spine", spine, "--out", tmp_path / "scores", "--latest", "--at", "noon")
    assert isinstance(wrong.exception, BadRequest)
    nobody = CliRunner(env={"LOCKSTEP_HOME": str(home.root)}).invoke(
        score, ["instal", "--spine", str(spine), "--out", str(tmp_path / "scores")]
    )
    assert isinstance(nobody.exception, UnknownModel)
    assert "no such option" in run(home, "--spine", spine, "--oot", tmp_path).output.lower()
    assert not (tmp_path / "scores").exists()
