"""What to score, and what was done: the same words for every engine."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lockstep.bundle import Bundle

__all__ = ["Job", "Report"]


@dataclass(frozen=True)
class Job:
    """What to score, with what, and where to."""

    bundle: Bundle
    spine: str
    """A Parquet file, a folder or a glob of them, or SQL."""
    out: Path
    latest: bool = False
    """Score every row with the features of one moment, instead of those at its own event_timestamp."""
    at_us: int | None = None
    """That moment, µs UTC; None: when the job begins."""
    redo: bool = False
    """Remove the scores that the folder holds and begin anew."""
    part_rows: int = 250_000
    """Rows of a part; with the tables' size they decide how much memory a join takes."""
    memory: str = "4GB"
    """What DuckDB may hold before it spills to the folder."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass
class Report:
    """What was done."""

    rows: int
    parts: int
    kept: int = 0
    """Parts that an earlier run had made."""
    rungs: Counter[str] = field(default_factory=Counter)
    """Rows scored by this run, by rung."""
    seconds: float = 0.0
