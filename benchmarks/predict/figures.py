"""From rounds to the figures that the project's marks are about."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from benchmarks.predict.asked import CANDIDATES
from benchmarks.predict.rounds import Measured, ratio

__all__ = ["headline", "sentences"]

_RATIOS: Final = {
    "speedup_unary": ("unary_8", "ours", "unary_8", "feast", "rate"),
    "cpu_over_echo": ("unary_8", "ours", "unary_8", "echo", "cpu_us"),
    "speedup_best_stock": ("unary_8", "ours", "unary_8", "stock", "rate"),
    "speedup_best_stock_100": ("hundred_8", "ours", "hundred_8", "stock", "rate"),
    "speedup_stream": ("stream", "ours", "unary_8", "feast", "rate"),
    "speedup_100": ("hundred_8", "ours", "hundred_8", "feast", "rate"),
    "p99_over_echo": ("open", "ours", "open", "echo", "p99_ms"),
    "p99_over_echo_8": ("open_8", "ours", "open_8", "echo", "p99_ms"),
    "speedup_mlserver": ("carried_8", "carried", "carried_8", "mlserver", "rate"),
}
"""By name: load and side, over load and side, of which figure. Feast's service has no streams: its calls count."""

_SCORES: Final = {
    "scores_per_second": ("hundred_16", "two_workers"),
    "scores_per_second_one_worker": ("hundred_8", "ours"),
}
"""By name: the load and the side whose scores are counted."""


def headline(found: Mapping[str, Measured]) -> dict[str, float | None]:
    """The figures by name; None for those whose loads or sides were left out."""
    figures = {name: _ratio(found, *parts) for name, parts in _RATIOS.items()}
    return {**figures, **{name: _scores(found, *parts) for name, parts in _SCORES.items()}}


def _scores(found: Mapping[str, Measured], load: str, side: str) -> float | None:
    if load not in found or side not in found[load].turns:
        return None
    return CANDIDATES * found[load].median(side, "rate")


def _ratio(found: Mapping[str, Measured], over: str, side: str, under: str, other: str, what: str) -> float | None:
    if over not in found or under not in found or not {side} <= found[over].turns.keys():
        return None
    if other not in found[under].turns:
        return None
    return ratio(found[over].of(side, what), found[under].of(other, what))


def sentences(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures for a person."""
    yield f"{figures['rows_compared']} rows score alike on all sides (at most {figures['max_difference']:.1e} apart)"
    for load, by_side in figures["loads"].items():
        for side, one in by_side.items():
            times = (
                f"p50 {one['p50_ms']:>8,.2f} ms  p99 {one['p99_ms']:>8,.2f} ms  CPU {one['cpu_us']:>8,.0f} µs a call"
            )
            yield f"{load:10} {side:9} {one['rate']:>9,.0f}/s  {times}"
    for name in (*_RATIOS, *_SCORES, "cold_start_s", "worker_mb"):
        value = figures[name]
        yield f"{name}: {'not measured' if value is None else f'{value:,.4g}'}"
