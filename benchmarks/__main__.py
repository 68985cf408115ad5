"""All benchmarks one after the other, and the table at the top of benchmarks/README.md: `make bench`.

    python -m benchmarks [NAME…] [--table]

Each one is a process of its own, and its last line is kept beside the table. With names only those are measured again;
the table is made of all that are kept. A figure that falls short of its mark stands there as it is.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import ge, le
from pathlib import Path
from typing import Any, Final

from lockstep.files import write_bytes

__all__ = ["BENCHMARKS", "Benchmark", "Figure", "main", "measured_on", "table", "written"]

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER / "results.json"
README: Final = FOLDER / "README.md"
BEGIN, END = "<!-- begin of what `make bench` writes -->", "<!-- end of it -->"


@dataclass(frozen=True)
class Figure:
    """One number that a benchmark prints."""

    field: str
    what: str
    mark: float | None
    """None where there is none: it is enough that the benchmark came to its end."""
    better: str = "less"
    """"more" or "less" than the mark is better."""

    def row(self, found: Mapping[str, Any], command: str) -> str:
        """Its line in the table."""
        value = found.get(self.field)
        if value is None:
            return f"| {self.what} | {self._mark} | not measured | | `{command}` |"
        return f"| {self.what} | {self._mark} | **{value:g}** | {self._reached(value)} | `{command}` |"

    @property
    def _mark(self) -> str:
        return "" if self.mark is None else f"{'≥' if self.better == 'more' else '≤'} {self.mark:g}"

    def _reached(self, value: float) -> str:
        if self.mark is None:
            return ""
        return "yes" if (ge if self.better == "more" else le)(value, self.mark) else "no"


@dataclass(frozen=True)
class Benchmark:
    """One module."""

    module: str
    figures: tuple[Figure, ...]
    arguments: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What measures it again."""
        return " ".join(("python", "-m", f"benchmarks.{self.module}", *self.arguments, "--json"))

    def run(self) -> dict[str, Any]:
        """Its last line. Raises CalledProcessError where it fails."""
        command = [sys.executable, "-m", f"benchmarks.{self.module}", *self.arguments, "--json"]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
        return {**found, "measured": datetime.now(UTC).strftime("%Y-%m-%d")}


BENCHMARKS: Final = (
    Benchmark(
        "point_in_time",
        (
            Figure(
                "speedup",
                "point-in-time join, 500,000 rows × 3 views: times as fast as Feast's DuckDB store",
                12,
                "more",
            ),
            Figure("over_floor", "… time over that of a raw ASOF join", 1.4, "less"),
            Figure("memory_ratio", "… peak memory over Feast's", 0.4, "less"),
            Figure("large_seconds", "… 5 million rows over 30 million, DuckDB limited to 4 GB: seconds", None),
            Figure("large_peak_gb", "… peak of the whole process, GB", None),
        ),
        ("--large",),
    ),
    Benchmark(
        "materialize",
        (
            Figure(
                "speedup",
                "materialize 1 million rows × 11 features: times as fast as Feast's engine and store",
                20,
                "more",
            ),
            Figure("over_floor", "… time over reading the same rows and a pipelined SET of the same bytes", 2, "less"),
            Figure("read_p99_during_ms", "… p99 of reads by key meanwhile, ms", 5, "less"),
        ),
    ),
    Benchmark(
        "online_read",
        (
            Figure(
                "speedup_1",
                "33 features of 3 views, 1 key: the scorer's reader, times as fast as Feast's SDK",
                4,
                "more",
            ),
            Figure("speedup_100", "… 100 candidates", 40, "more"),
            Figure("sdk_ratio", "… Feast's SDK on our store, time over that on Feast's own", 1, "less"),
        ),
    ),
    Benchmark(
        "online_memory",
        (
            Figure("memory_ratio", "Redis memory of a row, one view an entity, over Feast's", 0.65, "less"),
            Figure("memory_ratio_shared", "… three views on one entity", 1.1, "less"),
        ),
    ),
    Benchmark(
        "predict",
        (
            Figure(
                "speedup_unary",
                "gRPC predict, one row, 8 callers: times as many answers as Feast's SDK with scikit-learn",
                25,
                "more",
            ),
            Figure("cpu_over_echo", "… server CPU of a request over that of a bare gRPC echo", 1.5, "less"),
            Figure("speedup_best_stock", "… times as many as the best service of stock parts", 4, "more"),
            Figure("speedup_stream", "… streaming, over single calls of Feast's SDK with scikit-learn", 80, "more"),
            Figure("p99_over_echo", "… p99 at half of the peak rate, over the echo's", 3, "less"),
            Figure(
                "p99_over_echo_8",
                "… the same at half of what eight callers reach, where the echo is at ease",
                3,
                "less",
            ),
            Figure("speedup_100", "100 candidates a call: over Feast's SDK with scikit-learn", 45, "more"),
            Figure("speedup_best_stock_100", "… over the best service of stock parts", 20, "more"),
            Figure(
                "scores_per_second",
                "… scores a second of two workers, on two cores that the load generator shares",
                180_000,
                "more",
            ),
            Figure("scores_per_second_one_worker", "… of one worker", None),
            Figure("speedup_mlserver", "calls that carry all features: over MLServer", 5, "more"),
            Figure("cold_start_s", "process start to first score, seconds", 1, "less"),
            Figure("worker_mb", "memory of a worker, MB", 150, "less"),
        ),
    ),
    Benchmark(
        "patterns",
        (
            Figure("rows_differing", "all patterns and kinds on the same rows: scores that differ", 0, "less"),
            Figure(
                "batch_model_rows_per_second", "… batch, the model alone, two cores: rows a second", 300_000, "more"
            ),
            Figure("batch_speedup", "… end to end: times as fast as Feast's join with scikit-learn", 10, "more"),
            Figure("batch_memory_ratio", "… its peak memory over theirs", 0.333, "less"),
            Figure("hit_over_live", "… a stored prediction over gRPC: its time over a live score's", 1, "less"),
        ),
    ),
    Benchmark(
        "faults",
        (
            Figure("survived", "15 faults under load at half of the peak, one after the other: survived", 15, "more"),
            Figure("wrong", "… answers with a score that their rung does not allow", 0, "less"),
            Figure("late", "… calls that were not answered within half a second", 0, "less"),
            Figure("failed", "… calls that failed, but for those that a killed worker held", 0, "less"),
            Figure("worst_recovery_s", "… the longest recovery, seconds from the end of the fault", 2, "less"),
        ),
    ),
    Benchmark(
        "soak",
        (
            Figure(
                "leak_mb_per_hour",
                "an hour of mixed load, swaps, materializes and faults: growth of the memory, MB an hour",
                None,
            ),
            Figure("descriptors_per_hour", "… growth of the descriptors, an hour", 0, "less"),
            Figure("failed", "… calls that failed", 0, "less"),
            Figure("wrong", "… answers with a row's score that nothing explains", 0, "less"),
            Figure("p99_drift", "… p99 of single calls at the end over that at the begin", None),
        ),
        ("--minutes", "60"),
    ),
)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What stands at the top of the README."""
    return "\n".join(_lines(results))


def _lines(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| what | mark | measured | reached | command |"
    yield "|---|---|---|---|---|"
    for one in BENCHMARKS:
        for figure in one.figures:
            yield figure.row(results.get(one.module, {}), one.command)
    yield from dict.fromkeys(measured_on(found) for found in results.values())


def measured_on(found: Mapping[str, Any]) -> str:
    """The line on the day and the machine of a run."""
    machine = found.get("machine") or {}
    return (
        f"\nMeasured {found.get('measured')} on {machine.get('processor')}, {machine.get('cores')} cores, "
        f"{machine.get('memory_gib')} GiB, Python {machine.get('python')}."
    )


def written(text: str, lines: str, page: str = "benchmarks/README.md") -> str:
    """A page with the table in its place. Raises ValueError where the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}, between which the table goes.")
    return f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}"


def chosen(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of these names, all without names. Raises SystemExit for a name that there is not."""
    known = {one.module: one for one in BENCHMARKS}
    for name in names:
        if name not in known:
            raise SystemExit(f"benchmarks: there is no {name!r}; the names are {', '.join(known)}.")
    return [known[name] for name in names] or list(BENCHMARKS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, keep, and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure, and write benchmarks/README.md."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones to measure; all without names")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table of what is kept")
    given = parser.parse_args(arguments)
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for one in [] if given.table else chosen(given.names):
        print(f"{one.command} …", flush=True)
        results[one.module] = one.run()
        write_bytes(RESULTS, json.dumps(results, indent=1, sort_keys=True).encode() + b"\n")
    write_bytes(README, written(README.read_text(), table(results)).encode())
    print(table(results))


if __name__ == "__main__":
    main()
