"""How many requests each model version answered and refused, and how long they took, since the process started."""

import time
from dataclasses import dataclass, field

__all__ = ["Durations", "Statistics", "Tally"]


@dataclass
class Durations:
    """A number of durations and their sum in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """One more."""
        self.count += 1
        self.ns += ns


@dataclass
class Tally:
    """The requests to one version of a model."""

    rows: int = 0
    last_ms: int = 0
    """Time of the last request that was answered, in ms since 1970-01-01 UTC; 0: none yet."""
    answered: Durations = field(default_factory=Durations)
    failed: Durations = field(default_factory=Durations)
    reading: Durations = field(default_factory=Durations)
    """From the message to columns."""
    scoring: Durations = field(default_factory=Durations)
    writing: Durations = field(default_factory=Durations)
    """From scores to the message."""

    def add_answer(self, rows: int, start_ns: int, read_ns: int, scored_ns: int, end_ns: int) -> None:
        """One more request answered, its stages bounded by these readings of one monotonic clock."""
        self.rows += rows
        self.last_ms = time.time_ns() // 1_000_000
        self.answered.add(end_ns - start_ns)
        self.reading.add(read_ns - start_ns)
        self.scoring.add(scored_ns - read_ns)
        self.writing.add(end_ns - scored_ns)


class Statistics:
    """A tally by model and version, each empty at first."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], Tally] = {}

    def of(self, name: str, version: str) -> Tally:
        """That of one version."""
        tally = self._tallies.get((name, version))
        if tally is None:
            tally = self._tallies[name, version] = Tally()
        return tally
