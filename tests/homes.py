"""Small homes: a made-up log, and Feast's own command line on it, as a user runs it."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

from lockstep.home import Home
from lockstep.stores.repo import feast_command
from training.events import generate, write_log

__all__ = ["FIRST_DAY", "apply", "feast", "make_log"]

FIRST_DAY = date(2017, 11, 6)


def make_log(folder: Path, clicks: int = 20_000, days: int = 3, seed: int = 7) -> Home:
    """A home that holds a click log and nothing else."""
    home = Home(folder)
    write_log(generate(clicks, days, seed, FIRST_DAY), home.events)
    return home


def apply(home: Home, cwd: Path) -> None:
    """`feast apply` on the repository and this home, run in some directory."""
    run(feast_command(home, "apply"), cwd, home)


def feast(*arguments: str, cwd: Path, home: Home | None = None) -> str:
    """Feast's own command line; returns what it printed. Without a home it takes the one of feature_store.yaml."""
    return run([str(Path(sys.executable).with_name("feast")), *arguments], cwd, home)


def run(command: list[str], cwd: Path, home: Home | None) -> str:
    environment = os.environ | ({"LOCKSTEP_HOME": str(home.root)} if home else {})
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
