"""The pictures of the report, as SVG to stand inside an HTML page: text stays text, colours come from the page.

matplotlib draws with stand-in colours, each of which becomes a CSS variable (`var(--model)` and so on), so that one
drawing serves a light and a dark page.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from html import escape
from typing import Any, TypedDict

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from lockstep.graph import log_odds
from lockstep.times import to_datetime
from training.evaluate import Assessment, Bin, Floats, clip
from training.importance import Importance

__all__ = [
    "COLOURS",
    "MOST_IMPORTANT",
    "Window",
    "draw_importance",
    "draw_precision_recall",
    "draw_reliability",
    "draw_roc",
    "draw_scores",
    "draw_window",
    "percent",
]

COLOURS = ("ink", "muted", "grid", "model", "baseline", "positive", "negative")
"""The CSS variables, without their dashes, that a page must define."""

MOST_IMPORTANT = 25
"""The picture of the importances shows no more than these."""

_INK, _MUTED, _GRID, _MODEL, _BASELINE, _POSITIVE, _NEGATIVE = (f"#00fa{number:02x}" for number in range(len(COLOURS)))
_WIDE, _HALF = (11.5, 2.3), (5.4, 4.2)
_POINTS = 400
_RARE = 0.1
_NICE = np.array([0.5, *(10.0**-power for power in range(1, 8)), *(1 - 10.0**-power for power in range(1, 8))])
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lockstep",
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": _INK,
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "date.converter": "concise",
    "timezone": "UTC",
}


class Window(TypedDict):
    """The time windows of a training run, in µs UTC; every window ends before its second time."""

    train_from_us: int
    """Time of the oldest training row."""
    train_to_us: int
    """The cut minus the maturity window: rows from here to the cut are too young to be learnt from."""
    cut_us: int
    """End of what was known in training, and start of the test rows."""
    mature_to_us: int
    """End of the log minus the maturity window: test rows from here on are immature."""
    test_to_us: int
    """End of the log."""


def draw_roc(y: NDArray[Any], p: Floats, baseline: Floats, seen: Assessment) -> str:
    """Share of positives found against share of negatives taken along; labels and scores of shape (rows,)."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_MUTED, linestyle=":", linewidth=1.2, label="a coin, AUC 0.5")
        for scores, colour, name, auc in _models(p, baseline, seen.baseline.auc.value, seen.model.auc.value):
            false, true, _ = roc_curve(y, scores)
            axes.plot(*_thin(false, true), color=colour, label=f"{name}, AUC {auc:.4f}")
        _unit(axes, "negatives taken along", "positives found")
        axes.legend(loc="lower right")

    auc = seen.model.auc
    alt = (
        f"ROC curve. AUC of the model {auc.value:.4f}, interval {auc.low:.4f} to {auc.high:.4f}; "
        f"of the model on request data alone {seen.baseline.auc.value:.4f}."
    )
    return _picture("roc", alt, _HALF, draw)


def draw_precision_recall(y: NDArray[Any], p: Floats, baseline: Floats, seen: Assessment) -> str:
    """Precision against recall; labels and scores of shape (rows,)."""
    rate = seen.model.positive_rate

    def draw(axes: Axes) -> None:
        axes.axhline(rate, color=_MUTED, linestyle=":", linewidth=1.2, label=f"a coin, {percent(rate)}")
        for scores, colour, name, value in _models(
            p, baseline, seen.baseline.average_precision.value, seen.model.average_precision.value
        ):
            precision, recall, _ = precision_recall_curve(y, scores)
            axes.plot(
                *_thin(recall[::-1], precision[::-1]),
                drawstyle="steps-pre",
                color=colour,
                label=f"{name}, AP {value:.4f}",
            )
        _unit(axes, "positives found (recall)", "positives among those taken (precision)")
        axes.legend(loc="upper right")

    precision = seen.model.average_precision
    alt = (
        f"Precision-recall curve. Average precision of the model {precision.value:.4f}, interval {precision.low:.4f} "
        f"to {precision.high:.4f}; of the model on request data alone {seen.baseline.average_precision.value:.4f}; "
        f"of a coin {rate:.4f}."
    )
    return _picture("pr", alt, _HALF, draw)


def draw_reliability(bins: Sequence[Bin]) -> str:
    """Positive rate against mean score, bin by bin, with intervals; on log axes where positives are rare."""
    inside = sum(each.positive_rate.low <= each.mean_score <= each.positive_rate.high for each in bins)
    rate = sum(each.positives for each in bins) / sum(each.rows for each in bins)
    alt = f"Reliability diagram. In {inside} of {len(bins)} bins the mean score is in the positive rate's interval."
    return _picture("reliability", alt, _HALF, lambda axes: _reliability(axes, bins, rare=rate < _RARE))


def draw_scores(y: NDArray[Any], p: Floats) -> str:
    """How the scores of each class are spread over the log-odds; labels and scores of shape (rows,)."""
    odds = log_odds(clip(p))
    positive, negative = np.median(p[y == 1]), np.median(p[y == 0])
    alt = f"Distribution of scores. Median score of positives {percent(positive)}, of negatives {percent(negative)}."
    return _picture("scores", alt, _HALF, lambda axes: _scores(axes, odds[y == 1], odds[y == 0]))


def draw_importance(importances: Mapping[str, Importance]) -> str:
    """Bars of the greatest importances, greatest first, with their spread over the shuffles."""
    ranked = sorted(importances.items(), key=lambda item: -item[1].mean)[:MOST_IMPORTANT]

    def draw(axes: Axes) -> None:
        axes.barh(
            [name for name, _ in ranked],
            [importance.mean for _, importance in ranked],
            xerr=[importance.std for _, importance in ranked],
            color=_MODEL,
            ecolor=_INK,
            height=0.65,
        )
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.axvline(0, color=_MUTED, linewidth=1)
        axes.set_xlabel("growth of the log loss when the column is shuffled, in nats")

    alt = "Importance of the columns, greatest first: " + ", ".join(name for name, _ in ranked[:5]) + "."
    return _picture("importance", alt, (_WIDE[0], 1.0 + 0.27 * len(ranked)), draw)


def draw_window(window: Window) -> str:
    """The time windows as bars over one axis of time, with the cut."""
    mature_to = max(window["mature_to_us"], window["cut_us"])
    bars = (
        ("training", window["train_from_us"], window["train_to_us"], _MODEL, 1.0),
        ("left out: immature at the cut", window["train_to_us"], window["cut_us"], _MODEL, 0.35),
        ("test: mature at the end", window["cut_us"], mature_to, _BASELINE, 1.0),
        ("test: immature at the end", mature_to, window["test_to_us"], _BASELINE, 0.35),
    )

    def draw(axes: Axes) -> None:
        cut: Any = to_datetime(window["cut_us"])  # a date where the type hints of matplotlib want a number
        for name, start, end, colour, alpha in bars:
            since: Any = to_datetime(start)
            length: Any = timedelta(microseconds=end - start)
            axes.barh(name, length, left=since, color=colour, alpha=alpha, height=0.6)
        axes.axvline(cut, color=_INK, linewidth=1.5, linestyle="--")
        axes.annotate("the cut", (cut, 1.0), (5, 2), ("data", "axes fraction"), "offset points")
        axes.invert_yaxis()
        axes.grid(False, axis="y")

    alt = "Timeline: training rows, rows left out before the cut, test rows, and those of them that are immature."
    return _picture("window", alt, _WIDE, draw)


def percent(share: float) -> str:
    """A share as text: 0.00247 is '0.247%'."""
    return f"{float(f'{100 * share:.3g}') if share < 0.99 else 100 * share:.7g}%"


def _models(p: Floats, baseline: Floats, of_baseline: float, of_model: float) -> list[tuple[Floats, str, str, float]]:
    """Scores, colour, name and measure of what a curve is drawn for, the model last and so on top."""
    return [(baseline, _BASELINE, "request data alone", of_baseline), (p, _MODEL, "model", of_model)]


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most some 400 points of a curve in the unit square, evenly spread along its length, both ends among them."""
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], _POINTS)))
    kept = np.union1d(kept, [0, x.size - 1])
    return x[kept], y[kept]


def _unit(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), xlabel=x, ylabel=y)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def _reliability(axes: Axes, bins: Sequence[Bin], *, rare: bool) -> None:
    said = np.array([each.mean_score for each in bins])
    happened = np.array([each.positive_rate.value for each in bins])
    low = np.array([each.positive_rate.low for each in bins])
    high = np.array([each.positive_rate.high for each in bins])
    floor, top = 0.0, 1.0
    if rare:  # a zero has no place on a log axis: it is drawn at the floor
        ends = np.concatenate([said, happened, high])
        floor, top = ends[ends > 0].min() / 2, min(1.0, ends.max() * 1.5)
        axes.set(xscale="log", yscale="log")
    said, happened, low = np.maximum(said, floor), np.maximum(happened, floor), np.maximum(low, floor)
    axes.plot([floor, top], [floor, top], color=_MUTED, linestyle=":", linewidth=1.2, label="said = happened")
    axes.vlines(said, low, high, color=_MODEL, linewidth=1.5)
    some = happened > floor
    axes.plot(said[some], happened[some], "o", color=_MODEL, label="bin of scores, 95% interval")
    axes.plot(said[~some], happened[~some], "v", color=_MODEL, clip_on=False)
    axes.set(xlim=(floor, top), ylim=(floor, top), xlabel="mean score (said)", ylabel="positive rate (happened)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
        axis.set_minor_formatter(NullFormatter())
    axes.legend(loc="upper left")


def _scores(axes: Axes, positive: Floats, negative: Floats) -> None:
    both = np.concatenate([positive, negative])
    edges = np.histogram_bin_edges(both, bins=40)
    for odds, colour, name in ((negative, _NEGATIVE, "negatives"), (positive, _POSITIVE, "positives")):
        shares = np.histogram(odds, edges)[0] / odds.size
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(shares, edges, color=colour, linewidth=1.8, label=f"{name} ({odds.size:,})")
    axes.set(xlabel="score, on a log-odds axis", ylabel="share of the class's rows", ylim=(0, None))
    nice = _NICE[(log_odds(_NICE) >= edges[0]) & (log_odds(_NICE) <= edges[-1])]
    ticks = nice if nice.size > 1 else 1 / (1 + np.exp(-edges[[0, -1]]))
    axes.set_xticks(log_odds(ticks), [percent(tick) for tick in ticks])
    axes.tick_params(axis="x", labelrotation=45 if ticks.size > 6 else 0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.legend(loc="best")


def _picture(name: str, alt: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    """An inline SVG element that `draw` fills; `size` in inches; `alt` says the picture in words."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        sink = io.StringIO()
        figure.savefig(sink, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(sink.getvalue(), name, alt)


def _inline(svg: str, name: str, alt: str) -> str:
    """A file of SVG as an element of a page: nothing that points outside, ids of its own, colours of the page."""
    view = re.search(r'viewBox="[^"]*"', svg)
    inner = re.search(r"<svg[^>]*>(.*)</svg>", svg, re.DOTALL)
    if view is None or inner is None:
        raise ValueError("matplotlib wrote no SVG")
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", inner[1], flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    for number, colour in enumerate(COLOURS):
        body = body.replace(f"#00fa{number:02x}", f"var(--{colour})")
    return f'<svg role="img" aria-label="{escape(alt)}" {view[0]}>{body}</svg>'
