"""What the processes of a server take: memory and descriptors."""

from dataclasses import dataclass

import psutil

__all__ = ["Taken", "taken"]


@dataclass(frozen=True)
class Taken:
    """By all processes of a server together, at one moment."""

    at_s: float
    """Since the load began."""
    pss_mb: float
    """Proportional set size, MB: what the processes share counts once. It grows where a process of somebody else ends
    that had the same libraries open, so that no leak shows in it.
    """
    rss_mb: float
    """Resident memory, MB: what they share counts for each."""
    descriptors: int
    processes: int


def taken(parent: psutil.Process, at_s: float) -> Taken:
    """Look at a process and all that it has started. Raises psutil.NoSuchProcess where one ends meanwhile."""
    processes = [parent, *parent.children(recursive=True)]
    memory = [one.memory_full_info() for one in processes]
    return Taken(
        at_s,
        sum(one.pss for one in memory) / 1e6,
        sum(one.rss for one in memory) / 1e6,
        sum(one.num_fds() for one in processes),
        len(processes),
    )
