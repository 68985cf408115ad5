"""The system's C compiler: find it, build an exported model with it, run it on rows, time it."""

import ctypes
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import LockstepError, MissingTool
from lockstep.plan import Array
from training.exports.c.header import Api
from training.exports.c.layout import Layout

__all__ = [
    "FLAGS",
    "Compiled",
    "CompilerFailed",
    "build_library",
    "compiled",
    "find_compiler",
    "load",
    "run_compiler",
]

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
"""With which an export is compiled and compared."""
_MIN_SECONDS = 0.2
_REPEATS = 5


class CompilerFailed(LockstepError):
    """The system's compiler refused an exported file."""

    def __init__(self, command: Sequence[str], said: str) -> None:
        lines = [line for line in said.splitlines() if "error" in line or "warning" in line] or said.splitlines()
        super().__init__(
            f"{shlex.join(command)} failed: {(lines or ['it said nothing'])[0]}. "
            "Name another compiler in CC, or report this with the model."
        )


def find_compiler() -> list[str]:
    """The command of the C compiler: CC of the environment, else `cc`. Raises MissingTool."""
    command = shlex.split(os.environ.get("CC") or "cc")
    if shutil.which(command[0]) is None:
        raise MissingTool(
            f"there is no C compiler {command[0]!r} on the PATH, and C code is compiled and compared before it is "
            "written. Install one (Debian: apt install gcc libc6-dev), or name it in CC."
        )
    return command


def run_compiler(folder: Path, *arguments: str) -> None:
    """Run the compiler in a folder. Raises MissingTool, CompilerFailed."""
    command = [*find_compiler(), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompilerFailed(command, done.stderr)


_ROWS = """#include "$model.h"

size_t size_of_row(void);
void score_rows(const struct $model_row *rows, size_t count, double *scores);

size_t size_of_row(void)
{
    return sizeof(struct $model_row);
}

void score_rows(const struct $model_row *rows, size_t count, double *scores)
{
    for (size_t i = 0; i < count; ++i)
        scores[i] = $model_score(&rows[i]);
}
"""
"""Stands beside the model while it is compared: a call of C for many rows."""


class Compiled:
    """An exported model, compiled and loaded into this process."""

    def __init__(self, layout: Layout, library: Path) -> None:
        self._layout = layout
        self._library = load(library, layout.numpy.itemsize)
        self._library.score_rows.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)

    def score(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Probabilities of rows, columns by input of shape (rows,)."""
        rows, kept = self._layout.rows(columns)
        scores = np.empty(len(rows), np.float64)
        self._library.score_rows(rows.ctypes.data, len(rows), scores.ctypes.data)
        assert kept is not None  # the texts' bytes live until here
        return scores

    def ns_per_row(self, columns: Mapping[str, Array]) -> float:
        """Nanoseconds a row takes on one core, rows one after the other: the median of some runs over all of them."""
        rows, kept = self._layout.rows(columns)
        scores, seen = np.empty(len(rows), np.float64), 0.0
        times: list[float] = []
        while len(times) < _REPEATS or seen < _MIN_SECONDS:
            start = time.thread_time_ns()  # not the wall's: whatever else runs here must not count
            self._library.score_rows(rows.ctypes.data, len(rows), scores.ctypes.data)
            times.append((time.thread_time_ns() - start) / len(rows))
            seen += times[-1] * len(rows) / 1e9
        assert kept is not None
        return float(np.median(times))


def load(library: Path, row: int) -> ctypes.CDLL:
    """Load a compiled library whose `size_of_row` must tell that its rows have as many bytes as numpy's."""
    loaded = ctypes.CDLL(str(library))
    loaded.size_of_row.restype = ctypes.c_size_t
    assert loaded.size_of_row() == row, "the struct is laid out otherwise than numpy thinks"
    return loaded


def build_library(folder: Path, name: str, *sources: str) -> Path:
    """Compile files of a folder into a library there, all warnings errors. Raises MissingTool, CompilerFailed."""
    run_compiler(folder, *FLAGS, "-shared", "-fPIC", "-o", name, *sources, "-lm")
    return folder / name


def compiled(api: Api, folder: Path) -> Compiled:
    """Compile the model that lies in a folder and load it. Raises MissingTool, CompilerFailed."""
    (folder / f"{api.name}_rows.c").write_text(_ROWS.replace("$model", api.name))
    library = build_library(folder, f"{api.name}_rows.so", f"{api.name}.c", f"{api.name}_rows.c")
    return Compiled(api.layout, library)
