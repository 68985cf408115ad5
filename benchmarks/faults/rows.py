"""The rows of a Redis as they are, brought elsewhere, corrupted or dropped."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import redis

__all__ = ["Keys", "copy_of", "corrupt", "drop", "restore", "row_keys"]

_AT_ONCE: Final = 500

Keys = Sequence[tuple[bytes, bytes]]
"""Keys, and their values as DUMP gives them."""


def copy_of(url: str) -> Keys:
    """Every key of a Redis."""
    with redis.Redis.from_url(url) as client:
        keys = list(client.scan_iter(count=10_000))
        dumps = [dump for some in _parts(keys) for dump in _all(client, [("DUMP", key) for key in some])]
    return [(key, dump) for key, dump in zip(keys, dumps, strict=True) if dump is not None]


def restore(client: Any, keys: Keys) -> None:
    """Bring keys to a Redis or a cluster, in the place of what is there."""
    for some in _parts(keys):
        _all(client, [("RESTORE", key, 0, dump, "REPLACE") for key, dump in some])


def row_keys(client: Any, keys: Keys, share: float, seed: int) -> list[bytes]:
    """The keys of a share of the packed rows that are there, strings all of them, drawn at random."""
    rng = np.random.default_rng(seed)
    chosen: list[bytes] = []
    for some in _parts([key for key, _ in keys]):
        kinds = _all(client, [("TYPE", key) for key in some])
        rows = [key for key, kind in zip(some, kinds, strict=True) if kind == b"string"]
        chosen += [key for key in rows if rng.random() < share]
    return chosen


def corrupt(client: Any, rows: Sequence[bytes], seed: int) -> None:
    """Overwrite rows with noise of the same length."""
    rng = np.random.default_rng(seed)
    for some in _parts(rows):
        lengths = _all(client, [("STRLEN", key) for key in some])
        _all(client, [("SET", key, rng.bytes(size)) for key, size in zip(some, lengths, strict=True)])


def drop(client: Any, rows: Sequence[bytes]) -> None:
    """Delete rows."""
    for some in _parts(rows):
        _all(client, [("DEL", key) for key in some])


def _parts(whole: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(whole), _AT_ONCE):
        yield whole[start : start + _AT_ONCE]


def _all(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = pipeline.execute()
    return replies
