"""The job that keeps the features fresh: once for real, and around its commands with one that only notes them."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from lockstep.redis_server import run_redis
from tests.homes import make_log

ROOT = Path(__file__).parents[2]
JOB = ROOT / "deploy" / "job.sh"
PATIENCE_S = 20.0


def champion(home: Path) -> Path:
    """The file that says which version of the example's model is the champion, made."""
    alias = home / "models" / "install" / "aliases" / "champion.json"
    alias.parent.mkdir(parents=True)
    alias.touch()
    return alias


def test_a_run_builds_the_tables_and_fills_an_empty_redis(tmp_path: Path) -> None:
    home = make_log(tmp_path / "home", clicks=2_000, days=1)
    champion(home.root)  # a model is there: training has tests of its own
    with run_redis(tmp_path / "redis", 0) as url:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "LOCKSTEP_HOME": str(home.root),
            "LOCKSTEP_REPO": str(ROOT / "feature_repo"),
            "REDIS_URL": url,
            "REFRESH_SECONDS": "0",
        }
        ran = subprocess.run([JOB], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        with redis.Redis.from_url(url) as client:
            assert client.dbsize() > 500
    assert home.registry.exists()
    assert {folder.name for folder in home.features.iterdir()} >= {"ip_activity", "app_activity"}


class Noted:
    """A folder with a `lockstep` that notes its arguments, and fails where it is told to."""

    def __init__(self, folder: Path) -> None:
        self.home, self._notes = folder / "home", folder / "notes"
        self._command = folder / "bin" / "lockstep"
        for each in (self.home, self._command.parent):
            each.mkdir()
        self.fails_at("nothing")

    def fails_at(self, words: str) -> None:
        self._command.write_text(f'#!/bin/sh\necho "$*" >> {self._notes}\ncase "$*" in *"{words}"*) exit 3 ;; esac\n')
        self._command.chmod(0o755)

    @property
    def lines(self) -> list[str]:
        """What was run so far."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def start(self, **environment: str) -> subprocess.Popen[str]:
        known = {"PATH": f"{self._command.parent}:/usr/bin:/bin", "LOCKSTEP_HOME": str(self.home), **environment}
        return subprocess.Popen([JOB], env=known, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, **environment: str) -> tuple[int, str]:
        """Exit status and what was said on standard error."""
        with self.start(**environment) as job:
            said = job.communicate(timeout=PATIENCE_S)[1]
        return job.returncode, said

    def until(self, words: str, times: int) -> None:
        """Wait until a command was run so often."""
        waiting_s = time.monotonic()
        while sum(words in line for line in self.lines) < times:
            assert time.monotonic() - waiting_s < PATIENCE_S, self.lines
            time.sleep(0.05)


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    return Noted(tmp_path)


def test_the_first_run_makes_what_is_not_there(noted: Noted) -> None:
    assert noted.run(REFRESH_SECONDS="0") == (0, "")
    *before, materialize, train = noted.lines
    assert (before, train) == (["events generate", "features build", "feast apply"], "train install")
    found = re.fullmatch(r"feast materialize 2017-11-01T00:00:00 (\S+)", materialize)
    assert found is not None
    until = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - until < timedelta(minutes=1)


def test_what_is_there_stays(noted: Noted) -> None:
    (noted.home / "events").mkdir()
    champion(noted.home)
    assert noted.run(REFRESH_SECONDS="0", MATERIALIZE_FROM="") == (0, "")
    assert [line.split()[:2] for line in noted.lines] == [
        ["features", "build"],
        ["feast", "apply"],
        ["feast", "materialize-incremental"],
    ]


@pytest.mark.parametrize("step", ["events generate", "features build", "feast apply", "feast mat", "train install"])
def test_a_run_that_fails_stops_where_it_failed_and_says_so_by_its_status(noted: Noted, step: str) -> None:
    noted.fails_at(step)
    assert noted.run(REFRESH_SECONDS="0")[0] == 1
    assert step in noted.lines[-1]


def test_a_failed_run_is_told_and_tried_again_and_a_stop_is_heard_at_once(noted: Noted) -> None:
    noted.fails_at("features build")
    job = noted.start(REFRESH_SECONDS="1")
    noted.until("features build", 2)
    noted.fails_at("nothing")
    noted.until("feast materialize", 2)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=PATIENCE_S)[1]
    assert job.returncode == 0
    assert said.count("job: this run failed; the next one follows in 1 s") == 2
    assert noted.lines.count("feast apply") == 1


@pytest.mark.parametrize("wrong", ["-1", "ten", "1.5"])
def test_a_period_that_is_no_number_is_refused(noted: Noted, wrong: str) -> None:
    status, said = noted.run(REFRESH_SECONDS=wrong)
    assert (status, noted.lines) == (2, [])
    assert f"REFRESH_SECONDS is '{wrong}'" in said
