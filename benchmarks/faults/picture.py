"""The timeline: rate, p99 and rungs, fault by fault."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.faults.figures import Outcome
from benchmarks.faults.load import DEADLINE_S, Fate
from lockstep.files import whole_file
from lockstep.status import Rung

__all__ = ["draw"]

SLOT_S: Final = 0.25
_COLOURS: Final = ("#2a9d8f", "#e9c46a", "#f4a261", "#b3261e")
_MUTED: Final = "#6b6b6b"


def draw(path: Path, outcomes: Sequence[Outcome], title: str) -> None:
    """Write the picture as a PNG. The faults stand one after the other, without the pauses between them."""
    figure = Figure(figsize=(16, 8), layout="constrained", facecolor="white")
    rate, p99, rungs = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    start = 0.0
    for outcome in outcomes:
        start = _one(rate, p99, rungs, outcome, start)
    rate.set_ylabel("calls a second")
    p99.set(ylabel="p99, ms", yscale="log")
    p99.axhline(DEADLINE_S * 1e3, color=_COLOURS[-1], linewidth=0.8, linestyle="--")
    rungs.set(ylabel="share by rung", ylim=(0, 1), xlabel="seconds; shaded: the fault")
    handles, labels = rungs.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    rungs.legend(named.values(), named.keys(), ncols=len(named), loc="lower left", frameon=False)
    for axes in (rate, p99, rungs):
        axes.spines[["top", "right"]].set_visible(False)
    with whole_file(path) as beside:
        figure.savefig(beside, format="png", dpi=110)


def _one(rate: Axes, p99: Axes, rungs: Axes, outcome: Outcome, start: float) -> float:
    calls = outcome.calls
    zero = calls.due_s[0]
    slot = ((calls.due_s - zero) / SLOT_S).astype(np.int64)
    slots = int(slot.max()) + 1
    at = start + SLOT_S * np.arange(slots, dtype=np.float64)
    for axes in (rate, p99, rungs):
        axes.axvspan(start + outcome.began_s - zero, start + outcome.ended_s - zero, color="#eeeeee", zorder=0)
        axes.axvline(start, color="#dddddd", linewidth=0.8)
    answered = calls.fate == int(Fate.ANSWERED)
    rate.plot(at, np.bincount(slot, minlength=slots) / SLOT_S, color=_MUTED, linewidth=1)
    rate.plot(at, np.bincount(slot, answered, minlength=slots) / SLOT_S, color=_COLOURS[0], linewidth=1.5)
    rate.text(start, 1.02, outcome.fault.name, transform=rate.get_xaxis_transform(), rotation=18, fontsize=8.5)
    p99.plot(at, [_p99_ms(calls.took_s[(slot == one) & answered]) for one in range(slots)], color="#1f6f8b")
    _stack(rungs, at, slot, calls.rung, slots)
    return start + slots * SLOT_S


def _p99_ms(took_s: NDArray[np.float64]) -> float:
    return float(np.percentile(took_s, 99)) * 1e3 if len(took_s) else float("nan")


def _stack(
    axes: Axes, at: NDArray[np.floating[Any]], slot: NDArray[np.int64], rung: NDArray[np.int8], slots: int
) -> None:
    every = np.maximum(np.bincount(slot, minlength=slots), 1)
    bottom = np.zeros(slots)
    for one in Rung:
        share = np.bincount(slot, rung == int(one), minlength=slots) / every
        axes.bar(at, share, SLOT_S, bottom=bottom, align="edge", color=_COLOURS[one], label=one.name.lower())
        bottom += share
