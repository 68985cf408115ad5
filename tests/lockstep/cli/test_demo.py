"""`lockstep demo` as a person runs it: the whole loop on a small log, and what it refuses before it starts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockstep.cli.demo import demo
from lockstep.cli.loop import MARK
from lockstep.errors import BadFile, BadRequest, LockstepError
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.redis_server import run_redis

FIELDS = {
    "auc_fresh",
    "auc_as_served",
    "auc_online",
    "rows_compared",
    "rows_differing",
    "replay_rows",
    "replay_differing",
    "max_abs_diff",
    "by_status",
    "distinct_scores",
    "predict_p50_ms",
    "predict_p99_ms",
    "seconds",
}
SMALL = ("--clicks", "20000", "--days", "3", "--seed", "2", "--rows", "400", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds nothing."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def ran(folder: Path) -> "subprocess.CompletedProcess[str]":
    """One whole run there, with a home of its own."""
    command = [str(Path(sys.executable).with_name("lockstep")), "demo", *SMALL]
    environment = os.environ | {"LOCKSTEP_HOME": str(folder / "home"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def facts(ran: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """The JSON object of its last line."""
    assert ran.returncode == 0, ran.stdout + ran.stderr
    plain: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return plain


def test_the_last_line_is_one_json_object_with_every_field(facts: dict[str, Any]) -> None:
    assert set(facts) >= FIELDS


def test_no_score_differs_between_the_scorer_and_the_offline_side(facts: dict[str, Any]) -> None:
    assert (facts["rows_differing"], facts["replay_differing"]) == (0, 0)
    assert facts["max_abs_diff"] <= 1e-6


def test_every_row_was_compared(facts: dict[str, Any]) -> None:
    assert facts["rows_compared"] == 400
    assert facts["replay_rows"] > 3_000
    assert facts["distinct_scores"] > 200


def test_the_online_auc_is_the_one_as_served_and_stale_features_cost(facts: dict[str, Any]) -> None:
    assert facts["auc_online"] == facts["auc_as_served"]
    assert 0.5 < facts["auc_as_served"] < facts["auc_fresh"]


def test_statuses_of_all_kinds_were_met(facts: dict[str, Any]) -> None:
    assert facts["by_status"].keys() >= {"PRESENT", "NOT_FOUND", "NULL"}
    assert all(count > 0 for count in facts["by_status"].values())


def test_the_report_that_it_names_is_there(folder: Path, ran: "subprocess.CompletedProcess[str]") -> None:
    (named,) = [line for line in ran.stdout.splitlines() if line.startswith("The model's report")]
    assert "<title>" in (folder / named.split(": ")[1]).read_text()


def test_times_are_plausible(facts: dict[str, Any]) -> None:
    assert 0 < facts["predict_p50_ms"] <= facts["predict_p99_ms"]
    assert facts["seconds"] > 1


def test_a_person_reads_the_measures_and_how_to_go_on(ran: "subprocess.CompletedProcess[str]") -> None:
    for words in ("request data alone", "log loss", "auc as served", "lockstep serve", "lockstep predict --ip "):
        assert words in ran.stdout
    for step in ("feature tables", "feast apply", "train install", "proof: ask the scorer", "replay: ask the scorer"):
        assert step in ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


def test_what_it_made_stays_in_the_home(ran: "subprocess.CompletedProcess[str]", facts: dict[str, Any]) -> None:
    assert facts, "it ran to its end"
    home = Home(_home_of(ran))
    assert ModelStore(home.models).aliases("install") == {"champion": "1"}
    assert (home.models / "install" / "1" / "report.html").exists()
    assert home.events.is_dir()
    assert home.registry.exists()
    assert (home.redis / "dump.rdb").exists(), "`lockstep redis` goes on with the same data"


def _home_of(ran: "subprocess.CompletedProcess[str]") -> Path:
    """The home that the commands at the end name."""
    words = ran.stdout.split()
    return Path(next(word for word in words if word.startswith("LOCKSTEP_HOME=")).removeprefix("LOCKSTEP_HOME="))


# Refusals, before anything is made or removed.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKSTEP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(demo, arguments, catch_exceptions=False)


def test_a_home_with_foreign_content_is_refused_and_left_alone(home: Path) -> None:
    home.mkdir()
    (home / "thesis.txt").write_text("the only copy")
    with pytest.raises(BadRequest, match="holds data that no demo made"):
        run(*SMALL)
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]


def test_a_redis_that_holds_keys_is_refused_and_left_alone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    with run_redis(tmp_path / "redis") as url, redis.Redis.from_url(url) as client:
        client.set("mine", "1")
        monkeypatch.setenv("REDIS_URL", url)
        with pytest.raises(BadRequest, match="holds 1 keys; the demo needs an empty database"):
            run(*SMALL)
        assert client.get("mine") == b"1"


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        pytest.param(("--clicks", "0"), BadRequest, "at least one click", id="no clicks"),
        pytest.param(("--days", "0"), BadRequest, "one day", id="no days"),
        pytest.param(("--events", "nowhere.csv"), BadFile, "nowhere.csv", id="no such file"),
    ],
)
def test_without_a_log_nothing_is_made_and_what_an_earlier_demo_left_stays(
    arguments: tuple[str, str], error: type[LockstepError], said: str, home: Path
) -> None:
    home.mkdir()
    (home / MARK).touch()
    (home / "models").mkdir()
    with pytest.raises(error, match=said):
        run(*arguments)
    assert sorted(path.name for path in home.iterdir()) == [MARK, "models"]
