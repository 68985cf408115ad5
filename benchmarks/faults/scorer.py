"""`lockstep serve` on one port, and the one that takes its place."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.predict.sides import LOCKSTEP_READY, Side, started
from lockstep.home import Home
from lockstep.redis_server import free_port

__all__ = ["WORKERS", "Scorer"]

WORKERS: Final = 2


class Scorer:
    """Two workers on a port that another scorer may share."""

    def __init__(self, home: Home, env: Mapping[str, str], name: str = "faults") -> None:
        """`env`: that of its processes; `name` begins the names of its logs."""
        self._home, self._env, self._name, self._port = home, env, name, free_port()
        self._stack, self._starts = ExitStack(), 0
        self.side: Side

    @property
    def address(self) -> str:
        """host:port."""
        return self.side.address

    @contextmanager
    def running(self) -> Iterator["Scorer"]:
        """Itself, until the block ends."""
        try:
            self.side = self._stack.enter_context(self._started())
            yield self
        finally:
            self._stack.close()

    def replace(self) -> None:
        """Start another one on the port, then let this one drain."""
        before = self._stack.pop_all()
        try:
            self.side = self._stack.enter_context(self._started())
        finally:
            before.close()

    def _started(self) -> AbstractContextManager[Side]:
        lockstep = Path(sys.executable).with_name("lockstep")
        command = [str(lockstep), "serve", "--port", str(self._port), "--workers", str(WORKERS)]
        self._starts += 1
        log = self._home.root / f"{self._name}-{self._starts}.log"
        return started(command, {**self._env, "LOCKSTEP_SERVE_SHARE_PORT": "true"}, log, LOCKSTEP_READY)
