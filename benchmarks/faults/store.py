"""A Redis to be killed, frozen, emptied and corrupted, and the rows that were in it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis

from benchmarks.faults.rows import Keys, corrupt, drop, restore, row_keys
from lockstep.redis_server import find_redis_server, free_port

__all__ = ["Store", "store"]

_PATIENCE_S: Final = 10.0


@dataclass
class Store:
    """One server, which is started again and again on one port."""

    folder: Path
    keys: Keys
    port: int = field(default_factory=free_port)
    _server: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """An empty server. Raises TimeoutError where it does not come up."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        command = [str(find_redis_server()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.folder), "--logfile", str(self.folder / "redis.log")]
        self._server = subprocess.Popen(command, start_new_session=True)
        give_up = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if time.monotonic() > give_up:
                raise TimeoutError(f"Redis did not start; see {self.folder / 'redis.log'}")
            time.sleep(0.01)

    def fill(self) -> None:
        """Bring every key back, as a materialize would."""
        with self.client() as client:
            restore(client, self.keys)

    def kill(self) -> None:
        """As a power cut does."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def corrupt(self, share: float, seed: int) -> None:
        """Overwrite a share of the rows with noise of the same length."""
        with self.client() as client:
            corrupt(client, row_keys(client, self.keys, share, seed), seed)

    def drop(self, share: float, seed: int) -> None:
        """Lose a share of the rows."""
        with self.client() as client:
            drop(client, row_keys(client, self.keys, share, seed))

    def count(self) -> int:
        """How many keys there are."""
        with self.client() as client:
            return int(client.dbsize())

    @property
    def url(self) -> str:
        """Where it is, without the proxy."""
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> "redis.Redis[bytes]":
        """A connection, to be closed."""
        return redis.Redis(port=self.port)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        os.kill(self._server.pid, number)


@contextmanager
def store(folder: Path, keys: Keys) -> Iterator[Store]:
    """A Redis that holds these keys, until the block ends."""
    made = Store(folder, keys)
    try:
        made.start()
        made.fill()
        yield made
    finally:
        made.kill()
