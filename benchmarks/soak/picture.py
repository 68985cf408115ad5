"""The picture of a soak: memory, descriptors and latency over time, and what was done meanwhile."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.soak.figures import WARM_UP, Soaked
from lockstep.files import whole_file

__all__ = ["draw"]

_COLOURS: Final = {"swap": "#2a9d8f", "materialize": "#1f6f8b", "fault": "#b3261e"}
_MINUTE_S: Final = 60.0


def draw(path: Path, soaked: Soaked, changes: Sequence[tuple[float, str]], title: str) -> None:
    """Write the picture as a PNG. `changes`: seconds since the begin, and of which kind."""
    figure = Figure(figsize=(14, 9), layout="constrained", facecolor="white")
    memory, descriptors, latency = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    at = soaked.at_s / _MINUTE_S
    memory.plot(at, soaked.series("pss_mb"), color="#1f6f8b", label="PSS")
    memory.plot(at, soaked.series("rss_mb"), color="#9bbfcb", label="RSS")
    memory.set_ylabel("memory of all processes, MB")
    memory.legend(loc="lower right", frameon=False)
    descriptors.plot(at, soaked.series("descriptors"), color="#6b6b6b")
    descriptors.set_ylabel("descriptors")
    _latency(latency, soaked)
    for axes in (memory, descriptors, latency):
        if axes is not latency:
            axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
        axes.axvspan(0, WARM_UP * at[-1], color="#f2f2f2", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        _mark(axes, changes)
    latency.set_xlabel("minutes; shaded: the warm-up; ticks below: model swaps, materializes and faults")
    with whole_file(path) as beside:
        figure.savefig(beside, format="png", dpi=110)


def _latency(axes: Axes, soaked: Soaked) -> None:
    at = [one.at_s / _MINUTE_S for one in soaked.slots]
    for kind in soaked.kinds:
        axes.plot(at, soaked.p99_ms(kind), linewidth=1, label=kind)
    axes.set(ylabel="p99, ms", yscale="log")
    axes.legend(ncols=4, loc="upper right", frameon=False)


def _mark(axes: Axes, changes: Sequence[tuple[float, str]]) -> None:
    for kind, colour in _COLOURS.items():
        at = [moment / _MINUTE_S for moment, done in changes if done == kind]
        axes.plot(at, [0.01] * len(at), "|", color=colour, transform=axes.get_xaxis_transform(), markersize=7)
