"""Files that are either whole or absent: write beside, fsync, rename."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

__all__ = ["sync_folder", "whole_file", "whole_folder", "write_bytes"]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it replaces `path`, on any error nothing is left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        _sync_file(beside)
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that is whole or absent."""
    with whole_file(path) as beside:
        beside.write_bytes(content)


@contextmanager
def whole_folder(folder: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `folder` to fill; it takes the place of `folder`, or is removed on any error.

    A folder that was there before is moved aside first and removed last, so a reader sees the old one, the new one or,
    for an instant between two renames, none; never a mixture.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        yield beside
        for path in beside.rglob("*"):
            if path.is_file():
                _sync_file(path)
        beside.chmod(0o755)
        if replace:
            _swap(beside, folder)
        elif folder.exists():
            raise FileExistsError(f"{folder} is there already")
        else:
            beside.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _swap(beside: Path, folder: Path) -> None:
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(aside)
    beside.rename(folder)
    if aside.exists():
        shutil.rmtree(aside)
