"""`lockstep doctor`: what this machine lacks, and what to do about it."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import click
from packaging.requirements import Requirement
from rich.table import Table

from lockstep.cli.console import console
from lockstep.compiled import core
from lockstep.errors import LockstepError
from lockstep.home import default_home
from lockstep.redis_server import find_redis_server

__all__ = ["Finding", "doctor", "findings"]

SERVE_PORT, REDIS_PORT = 50051, 6379
ROOM_GB = 2.0
"""What the demo on real clicks writes, twice over."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    good: bool
    found: str
    remedy: str = ""
    """What to do; '' where nothing is to be done."""


@click.command()
def doctor() -> None:
    """Look at Python, the packages, Redis, the ports and the home; say what is missing and what to do about it.

    Exit status 1 where something must be done before `lockstep demo` can run.
    """
    table = Table("", "what", "found", "what to do")
    seen = list(findings())
    for finding in seen:
        table.add_row("ok" if finding.good else "!!", finding.what, finding.found, finding.remedy)
    console().print(table)
    if not all(finding.good for finding in seen):
        sys.exit(1)
    click.echo("Nothing is missing. `lockstep demo` runs the whole loop.")


def findings() -> Iterator[Finding]:
    """Everything that is looked at, in the order in which a new machine needs it."""
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (_python, _packages, _compiled, _redis, _ports, _home)
    for look in looks:
        yield from look()


def _python() -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("Python", good, found, "" if good else "install Python 3.11 or newer, then make install")


def _packages() -> Iterator[Finding]:
    """One line for all that is well, one for each package that is missing or of a version that is not known to work."""
    wanted = [Requirement(text) for text in requires("lockstep") or []]
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = list(filter(None, map(_wrong_package, needed)))
    yield from wrong
    if not wrong:
        yield Finding("packages", True, f"{len(needed)} of {len(needed)}")


def _compiled() -> Iterator[Finding]:
    """Both are well; one is faster."""
    if core is not None:
        yield Finding("hot path", True, "compiled")
    else:
        remedy = "for a faster scorer: a C compiler and Python's headers (gcc, python3-dev), then make clean install"
        yield Finding("hot path", True, "in Python", remedy)


def _wrong_package(wanted: Requirement) -> Finding | None:
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return Finding(wanted.name, False, "not installed", "make install")
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return Finding(wanted.name, False, found, f"{wanted.specifier} is known to work; make install brings it")


def _redis() -> Iterator[Finding]:
    url = os.environ.get("REDIS_URL")
    if url:
        yield _reachable(url)
        return
    try:
        yield Finding("Redis", True, f"{find_redis_server().name}, started by the demo and by `lockstep redis`")
    except LockstepError as error:
        yield Finding("Redis", False, "none", str(error))


def _reachable(url: str) -> Finding:
    import redis

    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
            return Finding("Redis", True, f"REDIS_URL answers, version {client.info('server')['redis_version']}")
    except (redis.RedisError, ValueError) as error:
        return Finding(
            "Redis", False, f"REDIS_URL does not answer: {error}", "start it, correct REDIS_URL, or unset it"
        )


def _ports() -> Iterator[Finding]:
    for port, what in ((SERVE_PORT, "lockstep serve --port N"), (REDIS_PORT, "lockstep redis --port N")):
        taken = _listening(port)
        note = f"something listens there already; if it is not yours, use {what}" if taken else ""
        yield Finding(f"port {port}", True, "in use" if taken else "free", note)


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _home() -> Iterator[Finding]:
    """Can the home be written, and is there room?"""
    root = default_home().root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free_gb = shutil.disk_usage(there).free / 1e9
    remedy = "" if _writable(there) else "name another folder in LOCKSTEP_HOME"
    if not remedy and free_gb < ROOM_GB:
        remedy = f"the demo wants {ROOM_GB:.0f} GB; make room, or name another disk in LOCKSTEP_HOME"
    yield Finding("home", not remedy, f"{root}, {free_gb:.0f} GB free", remedy)


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
