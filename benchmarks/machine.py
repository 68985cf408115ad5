"""On what machine a figure was measured."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

__all__ = ["facts"]


def facts(*packages: str) -> dict[str, object]:
    """The processor, its cores that this process may use, memory in GiB, Python, and the versions of some packages."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in packages},
    }


def _processor() -> str:
    """The model that Linux names, elsewhere the architecture."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
