"""Compiles lockstep/_core.c and its neighbours when Lockstep is built or installed, where there is a C compiler.

Hatchling runs it. Without a compiler nothing fails: the same is done in Python and by ONNX Runtime, slower.
`lockstep doctor` says which it is.
"""

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "lockstep"
SOURCES = [FOLDER / name for name in ("_core.c", "_requests.c", "_front.c", "_trees.c")]

FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-Wall", "-Wextra", "-Wno-unused-parameter"]
"""Without the contraction of a product and a sum into one rounding: what the code says is what is computed."""


class CoreBuildHook(BuildHookInterface):
    """Puts the compiled module beside its source, and into the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version`: "editable" or "standard"."""
        made = FOLDER / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
        try:
            compile_core(made)
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            made.unlink(missing_ok=True)  # one of an older source would be worse than none
            self.app.display_warning(f"lockstep/_core.c was not compiled, the scorer will be slower: {error}")
            return
        if version != "editable":
            build_data["force_include"][str(made)] = f"lockstep/{made.name}"
            build_data["pure_python"], build_data["infer_tag"] = False, True


def compile_core(made: Path) -> None:
    """Raises ImportError without numpy, OSError without a compiler, CalledProcessError where it fails."""
    import numpy

    linker = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    headers = [f"-I{folder}" for folder in (sysconfig.get_path("include"), numpy.get_include())]
    beside = made.with_name(f"{made.name}.{os.getpid()}")
    try:
        subprocess.run(
            [*linker, *FLAGS, *headers, *map(str, SOURCES), "-o", str(beside)],
            check=True,
        )
        beside.replace(made)
    finally:
        beside.unlink(missing_ok=True)
