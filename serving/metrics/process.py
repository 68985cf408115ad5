"""What a process costs: CPU time and memory, under the names that Prometheus' own clients use."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from serving.metrics.samples import Key, Value

__all__ = ["process_samples"]

_STATM = Path("/proc/self/statm")
_STARTED_S = time.time()


def process_samples(worker: str) -> Iterator[tuple[str, Key, Value]]:
    """Those of this process."""
    used = os.times()
    yield "process_cpu_seconds_total", (worker,), used.user + used.system
    yield "process_resident_memory_bytes", (worker,), float(_resident_bytes())
    yield "process_start_time_seconds", (worker,), _STARTED_S


def _resident_bytes() -> int:
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # not made for Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
