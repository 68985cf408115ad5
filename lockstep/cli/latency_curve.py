"""The picture of `lockstep bench`: rate against latency."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lockstep.files import whole_file

__all__ = ["FORMATS", "Point", "draw"]

FORMATS = (".png", ".svg")
_COLOURS = ("#1f6f8b", "#e08e0b", "#b3261e")
_INK, _MUTED, _GRID = "#222222", "#6b6b6b", "#e3e3e3"


@dataclass(frozen=True)
class Point:
    """What was measured at one rate."""

    rate: float
    ms: Sequence[float]
    """p50, p99 and p99.9; NaN where there were too few answers."""
    sustained: bool


def draw(path: Path, title: str, subtitle: str, points: Sequence[Point], highest: float | None) -> None:
    """Write the curve to `path`, PNG or SVG by its suffix. Points that were not sustained are hollow."""
    figure = Figure(figsize=(9.6, 5.4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    ordered = sorted(points, key=lambda point: point.rate)
    for place, name in enumerate(("p50", "p99", "p99.9")):
        _line(axes, name, _COLOURS[place], ordered, place)
    _highest(axes, highest)
    _axes(axes, ordered)
    axes.set_title(title, loc="left", fontsize=14, color=_INK, pad=26)
    axes.text(0, 1.025, subtitle, transform=axes.transAxes, fontsize=9.5, color=_MUTED)
    with mpl.rc_context({"svg.fonttype": "none"}), whole_file(path) as beside:  # text stays text
        figure.savefig(
            beside, format=path.suffix[1:], dpi=150, metadata={} if path.suffix == ".png" else {"Date": None}
        )


def _line(axes: Axes, name: str, colour: str, points: Sequence[Point], place: int) -> None:
    rates, ms = np.array([point.rate for point in points]), np.array([point.ms[place] for point in points])
    known = ~np.isnan(ms)
    if not known.any():
        return
    hollow = np.array([not point.sustained for point in points])
    axes.plot(rates[known], ms[known], color=colour, linewidth=2, zorder=2, label=name)
    axes.scatter(rates[known & ~hollow], ms[known & ~hollow], color=colour, s=30, zorder=3)
    axes.scatter(rates[hollow & known], ms[hollow & known], facecolor="white", edgecolor=colour, s=34, zorder=3)


def _highest(axes: Axes, highest: float | None) -> None:
    if highest is None:
        return
    axes.axvline(highest, color=_MUTED, linestyle="--", linewidth=1.2, zorder=1)
    axes.annotate(
        f"{highest:,.0f}/s sustained",
        (highest, 1),
        (-6, -12),
        ("data", "axes fraction"),
        "offset points",
        ha="right",
        color=_MUTED,
    )


def _axes(axes: Axes, points: Sequence[Point]) -> None:
    axes.set(yscale="log", xlabel="requests a second (open loop)", ylabel="latency from the intended time")
    if points[-1].rate > 8 * points[0].rate:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g} ms"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # a curve within one decade has labels too
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.grid(True, color=_GRID)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", frameon=False, reverse=True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
