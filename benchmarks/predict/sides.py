"""The sides as processes: how each is started, and what CPU and memory it takes."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.predict.asked import ask
from benchmarks.predict.data import STOCK, Data, environment
from benchmarks.predict.load import PREDICT
from benchmarks.predict.peers.wire import READY

__all__ = ["Side", "cold_start_s", "lockstep", "peer", "started", "waited_for"]

START_S: Final = 60.0
LOCKSTEP_READY: Final = "lockstep serves on "


@dataclass(frozen=True)
class Side:
    """A server in a process of its own."""

    address: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """User and system time of the process and its children until now."""
        times = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))

    def memory_mb(self) -> float:
        """Resident memory of the process, MB."""
        return float(self.process.memory_info().rss) / 1e6


@contextmanager
def started(command: Sequence[str], env: Mapping[str, str], log: Path, ready: str) -> Iterator[Side]:
    """A server until the block ends. Raises RuntimeError with the end of its log where it does not come up."""
    with log.open("w") as errors:
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True)
    with _ending(process):
        assert process.stdout is not None
        line = next((line for line in process.stdout if ready in line), "")
        if not line:
            raise RuntimeError(f"{' '.join(command)} did not start:\n{log.read_text()[-2000:]}")
        yield Side(line.split(ready)[1].split()[0].rstrip(":"), psutil.Process(process.pid))


@contextmanager
def waited_for(
    process: "subprocess.Popen[bytes]", address: str, is_ready: Callable[[str], bool], log: Path
) -> Iterator[Side]:
    """A server that does not say where it listens and is asked until it answers, as `started`."""
    with _ending(process):
        give_up = time.monotonic() + START_S
        while not is_ready(address):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield Side(address, psutil.Process(process.pid))


@contextmanager
def _ending(process: "subprocess.Popen[Any]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextmanager
def lockstep(data: Data, models: Path | None = None, *, workers: int = 1) -> Iterator[Side]:
    """The scorer, as its users start it, on the home's models or on those of another folder."""
    command = [str(Path(sys.executable).with_name("lockstep")), "serve", "--port", "0"]
    command += ["--models", str(models or data.home.models), "--workers", str(workers)]
    log = (models or data.home.models).with_name("lockstep.log" if workers == 1 else f"lockstep-{workers}.log")
    env = environment(data.home, data.redis_url)
    with started(command, env, log, LOCKSTEP_READY) as side:
        yield side


@contextmanager
def peer(data: Data, name: str, *arguments: str) -> Iterator[Side]:
    """One of benchmarks.predict.peers, on Feast's own stores."""
    command = [sys.executable, "-m", f"benchmarks.predict.peers.{name}", *arguments]
    # OpenMP's threads wait for each other by spinning: with two, eight calls at once took scikit-learn's trees 300 ms.
    env = {**environment(data.home, data.redis_url, STOCK), "OMP_NUM_THREADS": "1"}
    with started(command, env, data.home.root / f"{name}.log", READY) as side:
        yield side


def cold_start_s(data: Data, request: bytes) -> float:
    """Seconds from the start of the scorer's process to its first score."""
    begun = time.perf_counter()
    with lockstep(data) as side:
        next(iter(ask(side.address, PREDICT, [request])))
        return time.perf_counter() - begun
