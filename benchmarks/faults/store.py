"""A Redis to be killed, frozen, emptied and corrupted, and the rows that were in it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis

from lockstep.redis_server import find_redis_server, free_port

__all__ = ["Store", "copy_of", "store"]

_AT_ONCE: Final = 500
_PATIENCE_S: Final = 10.0


@dataclass
class Store:
    """One server, which is started again and again on one port."""

    folder: Path
    keys: Sequence[tuple[bytes, bytes]]
    """Every key, and its value as DUMP gives it."""
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
        self._restore(self.keys)

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
        """Overwrite a share of the rows, strings all of them, with noise of the same length."""
        rng = np.random.default_rng(seed)
        with self._client() as client:
            for some in _parts([key for key, _ in self.keys]):
                kinds = _all(client, [("TYPE", key) for key in some])
                rows = [key for key, kind in zip(some, kinds, strict=True) if kind == b"string"]
                chosen = [key for key in rows if rng.random() < share]
                lengths = _all(client, [("STRLEN", key) for key in chosen])
                _all(client, [("SET", key, rng.bytes(size)) for key, size in zip(chosen, lengths, strict=True)])

    def _restore(self, keys: Sequence[tuple[bytes, bytes]]) -> None:
        with self._client() as client:
            for some in _parts(keys):
                _all(client, [("RESTORE", key, 0, dump, "REPLACE") for key, dump in some])

    def _client(self) -> "redis.Redis[bytes]":
        return redis.Redis(port=self.port)

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        os.kill(self._server.pid, number)


def copy_of(url: str) -> list[tuple[bytes, bytes]]:
    """Every key of a Redis, and its value as DUMP gives it."""
    with redis.Redis.from_url(url) as client:
        keys = list(client.scan_iter(count=10_000))
        dumps = [dump for some in _parts(keys) for dump in _all(client, [("DUMP", key) for key in some])]
    return [(key, dump) for key, dump in zip(keys, dumps, strict=True) if dump is not None]


def _parts(whole: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(whole), _AT_ONCE):
        yield whole[start : start + _AT_ONCE]


def _all(client: "redis.Redis[bytes]", commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = pipeline.execute()
    return replies


@contextmanager
def store(folder: Path, keys: Sequence[tuple[bytes, bytes]]) -> Iterator[Store]:
    """A Redis that holds these keys, until the block ends."""
    made = Store(folder, keys)
    try:
        made.start()
        made.fill()
        yield made
    finally:
        made.kill()
