"""A server as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["serving_process"]

ROOT = Path(__file__).parents[2]


def serving_process(models_url: str, **changes: str) -> "subprocess.Popen[str]":
    """On a port that the system chooses, with a reader of no rows; `changes` are more of its environment."""
    environment = {
        "LOCKSTEP_SERVE_PORT": "0",
        "LOCKSTEP_SERVE_MODELS_URL": models_url,
        "LOCKSTEP_SERVE_READER": "tests.bundles:MemoryReader",
        **changes,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "serving"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
