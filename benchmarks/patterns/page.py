"""The tables of docs/patterns.md, from what benchmarks/results.json keeps of the last run."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from benchmarks.__main__ import FOLDER, RESULTS, measured_on, written
from lockstep.files import write_bytes

__all__ = ["CORE_HOUR", "PAGE", "page", "write"]

PAGE: Final = FOLDER.parent / "docs" / "patterns.md"
CORE_HOUR: Final = 0.04
"""Price of a core for an hour, in the reader's currency; about what a cloud asks for one."""
PATTERNS: Final = {
    "grpc": "the scorer over gRPC, cached features",
    "oip": "the same by the Open Inference Protocol",
    "grpc_sent": "the scorer, the caller sends all features",
    "cached": "the scorer, stored predictions (a hit)",
    "library": "the library in your process, cached features",
    "library_mixed": "the library, some features sent",
    "library_sent": "the library, all features sent",
    "in_memory": "trained in the same process, never written",
    "batch": "batch, with its point-in-time join",
}
"""What the page calls each."""
KINDS: Final = {
    "onnx": "`onnx`, the `install` model, in the scorer",
    "coefficients": "`coefficients`, a linear model, in the scorer",
    "skops": "`skops`, the same linear model, in the scorer",
    "c": "C, the `install` model, features at hand, no server",
}
_SPEEDS: Final = "p50 | p99, ms | rows a second, singly | by the hundred | CPU s, singly | by the hundred | price"


def page(text: str, found: Mapping[str, Any], core_hour: float) -> str:
    """The page with its tables made of one run. Raises ValueError where the marks are missing."""
    return written(text, "\n".join(_lines(found, core_hour)), "docs/patterns.md")


def write(core_hour: float) -> None:
    """Write the page."""
    found = json.loads(RESULTS.read_text()).get("patterns", {})
    write_bytes(PAGE, page(PAGE.read_text(), found, core_hour).encode())


def _lines(found: Mapping[str, Any], core_hour: float) -> Iterator[str]:
    if not found:
        yield "Not measured yet: `python -m benchmarks patterns`, then `python -m benchmarks.patterns --page`."
        return
    yield from _table("pattern | as old as", PATTERNS, found["patterns"], core_hour)
    yield ""
    yield from _table("kind", KINDS, found["kinds"], core_hour)
    yield (
        f"\nThe price is that of a million predictions, singly and by the hundred, at {core_hour:g} for a core and an "
        f"hour: CPU seconds · {core_hour:g} / 3600."
    )
    yield f"\n{found['rows_compared']:,} rows compared across all of these, {found['rows_differing']} differ."
    yield measured_on(found)


def _table(head: str, titles: Mapping[str, str], found: Mapping[str, Any], core_hour: float) -> Iterator[str]:
    columns = f"{head} | {_SPEEDS}"
    yield f"| {columns} |"
    yield "|---" * (columns.count("|") + 1) + "|"
    for name, title in titles.items():
        yield f"| {' | '.join((title, *_cells(found[name], core_hour)))} |"


def _cells(one: Mapping[str, Any], core_hour: float) -> Iterator[str]:
    if "freshness_s" in one:
        yield _age(one["freshness_s"])
    singly, hundred = one["single_cpu_s_per_million"], one["cpu_s_per_million"]
    values = (one["p50_ms"], one["p99_ms"], one["single_rows_per_second"], one["rows_per_second"], singly, hundred)
    yield from map(_number, values)
    yield " / ".join(_price(value, core_hour) for value in (singly, hundred) if value is not None)


def _age(seconds: float) -> str:
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:g} {name}"
    return "the request"


def _number(value: float | None) -> str:
    """Three digits; none after the point from a hundred on."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _price(cpu_s: float, core_hour: float) -> str:
    return f"{cpu_s * core_hour / 3600:.2g}"
