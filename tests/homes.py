"""Small homes: a made-up log, and Feast on it, in this process or as its users run it."""

import os
import shutil
import subprocess
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lockstep.home import Home
from lockstep.stores.repo import repo_folder, write_yaml
from training.events import generate, write_log

if TYPE_CHECKING:
    from training.train import Trained

__all__ = ["FIRST_DAY", "Elsewhere", "apply", "copied", "feast", "make_log"]

FIRST_DAY = date(2017, 11, 6)


@dataclass(frozen=True)
class Elsewhere(Home):
    """The same events and tables as another home, and models of its own."""

    folder: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"


def copied(home: Home, trained: "Trained", folder: Path) -> Home:
    """A home of one's own with the same model, and with scikit-learn's beside it, as benchmarks want it."""
    from benchmarks.predict.data import keep_scikit_learn

    copy = Home(folder / "home")
    shutil.copytree(home.root, copy.root)
    keep_scikit_learn(copy, trained)
    return copy


def make_log(folder: Path, clicks: int = 20_000, days: int = 3, seed: int = 7) -> Home:
    """A home that holds a click log and nothing else."""
    home = Home(folder)
    write_log(generate(clicks, days, seed, FIRST_DAY), home.events)
    return home


def apply(home: Home) -> None:
    """What `feast apply` does, in this process: another one would import Feast again, which takes seconds."""
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    repo = repo_folder()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"), redirect_stdout(StringIO()):
        patch.setenv("LOCKSTEP_HOME", str(home.root))
        patch.syspath_prepend(str(repo))
        patch.chdir(repo)  # as Feast does for good
        apply_total(load_repo_config(repo, write_yaml(home)), repo, skip_source_validation=False)
    for name in [path.stem for path in repo.glob("*.py")]:
        sys.modules.pop(name, None)  # they know this home


def feast(*arguments: str, cwd: Path) -> None:
    """Feast's own command line, run in some directory."""
    command = [str(Path(sys.executable).with_name("feast")), *arguments]
    done = subprocess.run(command, cwd=cwd, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
