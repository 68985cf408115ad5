"""`lockstep serve` as a process: one line when ready, then scores, until it is told to stop."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from lockstep.cli.serve import serve
from lockstep.model_store import ModelStore
from tests.bundles import publish

ROOT = Path(__file__).parents[3]
LOCKSTEP = [sys.executable, "-c", "from lockstep.cli import main; main()"]


def start(*arguments: str) -> "subprocess.Popen[str]":
    """The command with a reader in memory."""
    line = [*LOCKSTEP, "serve", "--port", "0", "--reader", "tests.bundles:MemoryReader", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    publish(ModelStore(tmp_path))
    with start("--models", str(tmp_path)) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"lockstep serves on 127\.0\.0\.1:(\d+): tiny 1 \(champion\)\n", line)
        assert match, line
        asked = [
            *LOCKSTEP,
            "predict",
            "--address",
            f"localhost:{match[1]}",
            "--model",
            "tiny",
            "--ip",
            "1",
            "--bid",
            "1",
        ]
        answer = subprocess.run([*asked, "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert '"scores": [0.5]' in answer.stdout  # 1 bid − 1, the default of clicks


def test_a_server_without_models_says_where_it_looks(tmp_path: Path) -> None:
    with start("--models", str(tmp_path / "none")) as process:
        assert process.stdout is not None
        assert f"no model yet; the first one under {tmp_path / 'none'} will be picked up" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_wrong_option_is_one_sentence(tmp_path: Path) -> None:
    with start("--models", str(tmp_path), "--max-rows", "0") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert err == "lockstep: setting 'max_rows' is 0: expected a number from 1 to 2,147,483,647.\n"


def test_help_names_the_environment() -> None:
    assert "LOCKSTEP_SERVE_<NAME>" in CliRunner().invoke(serve, ["--help"]).output
