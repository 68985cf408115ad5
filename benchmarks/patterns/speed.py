"""How fast a way to a score is, and what it costs: over gRPC under load, and in this process."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.predict.load import Closed, Generator
from benchmarks.predict.rounds import Load, Measured, Rounds
from benchmarks.predict.sides import Side

__all__ = ["ALONE", "CANDIDATES", "Speed", "Timing", "alone", "carried_out", "of_server"]

CANDIDATES: Final = 100
"""Rows of the larger calls."""
CALLERS: Final = 8
ALONE, SINGLE, HUNDRED = "alone", "single", "hundred"


@dataclass(frozen=True)
class Timing:
    """For how long, and how often."""

    seconds: float
    rounds: int


@dataclass(frozen=True)
class Speed:
    """None: not measured, or without meaning for the pattern."""

    p50_ms: float | None = None
    """Of a call with one row, one caller."""
    p99_ms: float | None = None
    single_rows_per_second: float | None = None
    """A row a call; of a server with eight callers, in a process of one's own with one thread."""
    rows_per_second: float | None = None
    """A hundred rows a call; of a batch, the whole table."""
    single_cpu_s_per_million: float | None = None
    """CPU seconds of the process that scores, for a million rows: microseconds a row. Redis is not counted."""
    cpu_s_per_million: float | None = None

    def plain(self) -> dict[str, float | None]:
        """As JSON has it, with four digits."""
        return {name: None if value is None else float(f"{value:.4g}") for name, value in asdict(self).items()}


def carried_out(
    generator: Generator, sides: Mapping[str, Side], ways: Mapping[str, Sequence[str]], timing: Timing
) -> dict[str, dict[str, Measured]]:
    """By load and method what came of it; `ways` are names by method, a way's messages are NAME_1 and NAME_100."""
    rounds = Rounds(generator, sides)
    return {
        load: {method: rounds.run(_load(load, method, names, timing)) for method, names in ways.items()}
        for load in (ALONE, SINGLE, HUNDRED)
    }


def _load(name: str, method: str, ways: Sequence[str], timing: Timing) -> Load:
    rows, callers = (CANDIDATES if name == HUNDRED else 1), (1 if name == ALONE else CALLERS)
    kinds = {way: f"{way}_{rows}" for way in ways}
    return Load(f"{name} {method}", method, kinds, partial(Closed, callers), timing.seconds, timing.rounds)


def of_server(measured: Mapping[str, Mapping[str, Measured]], method: str, way: str) -> Speed:
    """The medians of the rounds."""
    one, single, hundred = (measured[load][method] for load in (ALONE, SINGLE, HUNDRED))
    return Speed(
        p50_ms=one.median(way, "p50_ms"),
        p99_ms=one.median(way, "p99_ms"),
        single_rows_per_second=single.median(way, "rate"),
        rows_per_second=hundred.median(way, "rate") * CANDIDATES,
        single_cpu_s_per_million=single.median(way, "cpu_us"),
        cpu_s_per_million=hundred.median(way, "cpu_us") / CANDIDATES,
    )


def alone(call: Callable[[int, int], Any], rows: int, timing: Timing) -> Speed:
    """One caller in this process; `call` scores so many rows from a place on, of which there are `rows`."""
    gc.freeze()  # a service of one's own does not hold Feast, whose objects would be walked through
    ones, one_cpu = _repeated(call, 1, rows, timing.seconds)
    hundreds, cpu = _repeated(call, CANDIDATES, rows, timing.seconds)
    gc.unfreeze()
    p50, p99 = (np.percentile(ones, (50, 99)) * 1e3).tolist()
    return Speed(p50, p99, 1 / ones.mean(), CANDIDATES / hundreds.mean(), one_cpu * 1e6, cpu * 1e6)


def _repeated(call: Callable[[int, int], Any], size: int, rows: int, seconds: float) -> tuple[Any, float]:
    """Seconds of each call, and CPU seconds a row; the first calls are not counted."""
    for warm in range(20):
        call(warm * size % (rows - size), size)
    found: list[float] = []
    cpu, end = time.process_time(), time.perf_counter() + seconds
    while (since := time.perf_counter()) < end:
        call(len(found) * size % (rows - size), size)
        found.append(time.perf_counter() - since)
    return np.array(found), (time.process_time() - cpu) / len(found) / size
