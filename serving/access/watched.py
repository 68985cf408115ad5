"""Files that are read again when they change."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["Watched"]

_Stamp = tuple[int, int, int]


class Watched:
    """Some files, and whether they changed since they were last looked at.

    A file that a secret's mount replaces is another inode; one that is written in place has another time or size.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._seen: tuple[_Stamp, ...] = ()

    def changed(self) -> bool:
        """True at the first look and after every change. Raises OSError where a file cannot be looked at."""
        now = tuple(_stamp(path) for path in self._paths)
        changed, self._seen = now != self._seen, now
        return changed


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
