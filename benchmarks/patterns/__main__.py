"""Every scoring pattern and every kind on the same rows: equal scores, freshness, latency, throughput, CPU.

    python -m benchmarks.patterns [--json] [--quick] [--home FOLDER]
    python -m benchmarks.patterns --page [--core-hour 0.04]

The second form measures nothing: it writes the tables of docs/patterns.md from what benchmarks/results.json keeps.

All ways score the same rows at one moment: clicks of the log, a tenth of them from addresses that nobody has seen. What
`Predict` answers over gRPC is the reference; the others must have its scores bit for bit, C within 1e-6 of the
probability and 1e-5 of the log-odds. The linear models of the other kinds are compared with themselves in training: the
model's own file on the frame that Feast's point-in-time join makes. `rows_differing` must be 0.

A latency is that of a call with one row and one caller. Rows a second: a row a call and a hundred a call, by eight
callers over gRPC and by one thread in a process of one's own; a batch takes its table whole. CPU is that of the process
that scores, Redis left out. `freshness_s` is by construction, not measured: the age that stored features can have when
they are materialized every ten minutes, as often as the example's tables get rows; of a batch, a run a day; of stored
predictions, their TTL.

`batch_model_rows_per_second`: a million rows through functions and graph alone, in batch scoring's chunks, two threads.
`batch_speedup` and `batch_memory_ratio`: `training.batch.score` beside `get_historical_features` on Feast's DuckDB
store with scikit-learn (end_to_end.py), every click of the log at its own time. `hit_over_live`: p50 of a
call with one row that stored predictions answer over that of a live one, in turns.
"""

import argparse
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.command import home_at, parser, tell
from benchmarks.patterns import page
from benchmarks.patterns.by_row import Bench, Found
from benchmarks.patterns.models import CACHED, fill_cache, publish_linear
from benchmarks.patterns.rows import draw, frame
from benchmarks.patterns.speed import Timing
from benchmarks.patterns.tables import Compared, beside_feast, model_rows_per_second
from benchmarks.predict.data import MODEL, Size, environment, opened, within
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.times import DAY, MINUTE, SECOND

__all__ = ["FULL", "QUICK", "Scope", "main", "measure"]

MATERIALIZED_S: Final = 10 * MINUTE / SECOND
RUN_S: Final = DAY / SECOND
KINDS: Final = {"onnx": "grpc", "coefficients": "coefficients", "skops": "skops", "c": "c"}
"""By kind the way that has its speed."""


@dataclass(frozen=True)
class Scope:
    """How much is measured."""

    size: Size
    rows: int
    """That all ways score."""
    singles: int
    """Of them in calls of their own, when they are timed."""
    timing: Timing
    model_rows: int
    """Through the model alone."""
    batch_rows: int
    """From end to end, beside Feast."""


FULL: Final = Scope(Size(100_000, 4), 3_000, 500, Timing(1.0, 3), 1_000_000, 100_000)
QUICK: Final = Scope(Size(20_000, 3), 600, 50, Timing(0.15, 1), 20_000, 2_000)
"""Whether it works, not how fast."""


def measure(home: Home, scope: Scope) -> dict[str, Any]:
    """All figures. Raises ValueError where a call fails, or a request that the cache was filled with misses it."""
    from lockstep.stores.repo import open_store

    with opened(home, scope.size) as data, within(environment(home, data.redis_url)), TemporaryDirectory() as name:
        folder = Path(name)
        store = open_store(home)
        publish_linear(store, home)
        rows = draw(data, scope.rows)
        fill_cache(data, rows, folder)
        found = Bench(data, store, rows, folder).run(scope.singles, scope.timing)
        bundle = ModelStore(home.models).load(MODEL)
        resolved = frame(store, bundle, draw(data, scope.batch_rows)).resolved.columns
        rate = model_rows_per_second(bundle, resolved, scope.model_rows)
        compared = beside_feast(data, scope.batch_rows, folder)
    return {**_by_way(home, found, compared), "batch_model_rows_per_second": round(rate), **compared.figures()}


def _by_way(home: Home, found: Found, compared: Compared) -> dict[str, Any]:
    speeds = {**found.speeds, "batch": compared.speed()}
    kinds = {kind: speeds[way].plain() for kind, way in KINDS.items()}
    ages = _ages_s(home)
    patterns = {way: {"freshness_s": age, **speeds[way].plain()} for way, age in ages.items()}
    return {"patterns": patterns, "kinds": kinds, **found.equal.figures(), "hit_over_live": found.hit_over_live}


def _ages_s(home: Home) -> dict[str, float]:
    """By pattern, in the order of the page: how old what a score rests on can be, s."""
    ttl_us = ModelStore(home.models).load(CACHED).plan.views[0].ttl_us
    assert ttl_us is not None, "the example's predictions expire"
    read = dict.fromkeys(("grpc", "oip", "library", "library_mixed", "in_memory"), MATERIALIZED_S)
    return {**read, "library_sent": 0.0, "grpc_sent": 0.0, "cached": ttl_us / SECOND, "batch": RUN_S}


def sentences(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures for a person."""
    yield f"{figures['rows_compared']} rows compared, {figures['rows_differing']} differ"
    for name, one in {**figures["patterns"], **figures["kinds"]}.items():
        yield f"{name:14} " + "  ".join(f"{what} {value}" for what, value in one.items() if value is not None)
    plain = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    yield from (f"{name}: {value:,}" for name, value in plain.items())


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    made = parser("benchmarks.patterns", "Every pattern and every kind.")
    made.add_argument("--quick", action="store_true", help="one short round of each: whether it works, not how fast")
    made.add_argument("--page", action="store_true", help="measure nothing, write the tables of docs/patterns.md")
    made.add_argument(
        "--core-hour", type=float, default=page.CORE_HOUR, help="price of a core for an hour (default %(default)s)"
    )
    return made


def main() -> None:
    """Measure, and print the figures; or write the page."""
    given = arguments().parse_args()
    if given.page:
        page.write(given.core_hour)
        return
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    with home_at(given.home) as home:
        figures = measure(home, QUICK if given.quick else FULL)
    packages = ("feast", "duckdb", "grpcio", "onnxruntime", "scikit-learn", "skops", "numpy", "redis")
    tell(figures, packages, sentences, as_json=given.json)


if __name__ == "__main__":
    main()
