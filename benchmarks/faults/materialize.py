"""A materialize as a process that has imported Feast and waits for a word: imports take seconds, rows do not."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.predict.data import MODEL, Data, environment
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.times import to_datetime

__all__ = ["Materialize", "materialize"]

_READY: Final = "ready"


@dataclass(frozen=True)
class Materialize:
    """The process, which has not begun."""

    process: "subprocess.Popen[str]"

    def begin(self) -> None:
        """Let it fill Redis. Raises OSError where it is gone."""
        assert self.process.stdin is not None
        self.process.stdin.write("begin\n")
        self.process.stdin.flush()

    @property
    def is_over(self) -> bool:
        """Whether it has ended. Raises RuntimeError where it failed."""
        if self.process.poll():
            raise RuntimeError(f"a materialize ended with status {self.process.returncode}; see materialize.log")
        return self.process.returncode is not None

    def finish(self) -> None:
        """Wait for its end. Raises RuntimeError where it failed."""
        self.process.wait()
        assert self.is_over

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def materialize(data: Data, redis_url: str, *, wait: bool = True) -> Iterator[Materialize]:
    """One that will take all rows of the home; killed where it is still there when the block ends.

    With `wait` it has come so far that it can begin. Raises RuntimeError where it does not. It has the least priority:
    it would run on another machine, and is not to take the cores of what is measured.
    """
    from_us = int(ModelStore(data.home.models).load(MODEL).manifest.window["train_from_us"])
    command = ["nice", "-n", "19", sys.executable, "-W", "ignore", "-m", "benchmarks.faults.materialize"]
    command += [str(data.home.root), str(from_us), str(data.moment_us)]
    pipe, env = subprocess.PIPE, environment(data.home, redis_url)
    with (data.home.root / "materialize.log").open("a") as log:
        process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=log, text=True)
    with process:
        made = Materialize(process)
        try:
            if wait and process.stdout is not None and process.stdout.readline().strip() != _READY:
                raise RuntimeError(f"a materialize did not start; see {log.name}")
            yield made
        finally:
            made.kill()


def main() -> None:
    """Import, say so, and begin when told: `python -m benchmarks.faults.materialize HOME FROM_US TO_US`."""
    from lockstep.stores.repo import open_store

    home, from_us, to_us = sys.argv[1:]
    store = open_store(Home(Path(home)))
    print(_READY, flush=True)
    sys.stdin.readline()
    sys.stdout = sys.stderr  # nobody reads what Feast prints
    store.materialize(to_datetime(int(from_us)), to_datetime(int(to_us)))


if __name__ == "__main__":
    main()
