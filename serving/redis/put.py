"""Writing packed rows from a scorer: the script that every writer uses, a row gives way to a newer one alone."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import hiredis

from lockstep.replace_script import KEYS_PER_SCRIPT, LEAST_ORDER, SCRIPT, Replace
from serving.redis.terms import Reply, Unreached

__all__ = ["Command", "all_taken", "writes"]

Command = tuple[bytes | int, ...]

_ORDER: Final = LEAST_ORDER[Replace.OLDER]

log = logging.getLogger(__name__)


def writes(
    keys: Sequence[bytes], rows: Sequence[bytes], expire_ms: int | None, *, at_once: int = KEYS_PER_SCRIPT
) -> list[Command]:
    """The commands that write row i under key i, `at_once` rows a command. `expire_ms` None: rows stay for ever."""
    starts = range(0, len(keys), at_once)
    return [_command(keys[start : start + at_once], rows[start : start + at_once], expire_ms or 0) for start in starts]


def _command(keys: Sequence[bytes], rows: Sequence[bytes], expire_ms: int) -> Command:
    return (b"EVAL", SCRIPT, len(keys), *keys, _ORDER, expire_ms, *rows)


def all_taken(replies: Iterable[Reply | Unreached]) -> bool:
    """Whether every command was done; what a server refused is logged."""
    replies = list(replies)
    for error in {str(each) for each in replies if isinstance(each, hiredis.ReplyError)}:
        log.error("Redis refused a write: %s", error, extra={"reason": "redis refused a write"})
    return all(isinstance(each, list) for each in replies)
