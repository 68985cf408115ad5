"""`lockstep feast` is Feast's own command line, on the home's registry."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("lockstep")), "feast"]


def run(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "LOCKSTEP_HOME": str(home), "REDIS_URL": "redis://localhost:1"}
    return subprocess.run([*COMMAND, *arguments], env=env, capture_output=True, text=True, check=False, timeout=300)


def test_what_is_applied_stands_in_the_registry_of_the_home(tmp_path: Path) -> None:
    applied = run(tmp_path, "apply")
    assert applied.returncode == 0, applied.stderr
    listed = run(tmp_path, "feature-services", "list")
    assert "install_v1" in listed.stdout
    assert (tmp_path / "registry.db").exists()


def test_its_errors_are_feasts_own(tmp_path: Path) -> None:
    wrong = run(tmp_path, "aply")
    assert wrong.returncode == 2
    assert "No such command 'aply'" in wrong.stderr
