"""Rounds in which the sides take turns: what each was given, and what came of it."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.predict.load import Generator, Order, Report, Target
from benchmarks.predict.sides import Side

__all__ = ["Load", "Measured", "Rounds", "Turn", "ratio"]

WARM_UP: Final = 0.25
"""How long the first turn of a side is, which is not kept, in proportion."""


@dataclass(frozen=True)
class Load:
    """One kind of load, on the sides that take it."""

    name: str
    method: str
    kinds: Mapping[str, str]
    """By side the name of its messages."""
    order: Callable[[float], Order]
    """Of so many seconds."""
    seconds: float
    rounds: int


@dataclass(frozen=True)
class Turn:
    """What one side did in one round."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """The server's CPU time per answer."""
    generator_cpu: float
    """Share of one core."""
    late_p99_ms: float
    """How late the calls of an open loop left."""


@dataclass
class Measured:
    """All turns of one load."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)

    def of(self, side: str, what: str) -> list[float]:
        """One figure of a side, by round."""
        return [getattr(turn, what) for turn in self.turns[side]]

    def median(self, side: str, what: str) -> float:
        """Over the rounds."""
        return median(self.of(side, what))

    def summary(self) -> dict[str, dict[str, Any]]:
        """By side the medians, and the least and the most of the rate."""
        return {side: self._summary(side) for side in self.turns}

    def _summary(self, side: str) -> dict[str, Any]:
        medians = {what: _short(self.median(side, what)) for what in Turn.__dataclass_fields__}
        rates = self.of(side, "rate")
        return {**medians, "rates": [_short(min(rates)), _short(max(rates))]}


def ratio(over: Sequence[float], under: Sequence[float]) -> float | None:
    """The median of the rounds' ratios; None where in every round the other side answered nobody in its time."""
    found = [a / b for a, b in zip(over, under, strict=False) if b]
    return _short(median(found)) if found else None


def _short(value: float) -> float:
    """Four digits are more than a round is worth."""
    return float(f"{value:.4g}")


@dataclass
class Rounds:
    """Runs the loads."""

    generator: Generator
    sides: Mapping[str, Side]

    def run(self, load: Load) -> Measured:
        """All rounds of a load. Raises ValueError where an answer is missing or has another score than expected."""
        measured = Measured({side: [] for side in load.kinds})
        for side in load.kinds:
            self._turn(load, side, WARM_UP * load.seconds)
        for number in range(load.rounds):
            for side in load.kinds:
                measured.turns[side].append(self._turn(load, side, load.seconds))
            print(f"{load.name}, round {number + 1} of {load.rounds}: {'; '.join(_said(measured))}", file=sys.stderr)
        return measured

    def _turn(self, load: Load, name: str, seconds: float) -> Turn:
        side = self.sides[name]
        before = side.cpu_s()
        target = Target(side.address, load.method, load.kinds[name])
        report = self.generator.run(target, load.order(seconds))
        cpu_s = side.cpu_s() - before
        _check(load, name, report)
        p50_ms, p99_ms = (np.percentile(report.latency_s, (50, 99)) * 1e3).tolist()
        late_ms = float(np.percentile(report.late_s, 99)) * 1e3 if report.late_s.size else 0.0
        return Turn(report.rate, p50_ms, p99_ms, cpu_s / report.answered * 1e6, report.cpu, late_ms)


def _said(measured: Measured) -> Iterator[str]:
    for side, turns in measured.turns.items():
        last = turns[-1]
        yield f"{side} {last.rate:,.0f}/s p50 {last.p50_ms:.2f} p99 {last.p99_ms:.2f} ms {last.cpu_us:,.0f} µs"


def _check(load: Load, side: str, report: Report) -> None:
    if report.failed or report.differing or not report.answered:
        raise ValueError(
            f"{load.name}: of {side}'s answers {report.failed} are missing and {report.differing} have another score "
            f"than expected, {report.answered} came; see {side}'s log in the home."
        )
