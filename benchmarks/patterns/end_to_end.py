"""A table scored from end to end in a process of its own, by `training.batch` or by Feast's parts and scikit-learn.

    LOCKSTEP_HOME=… python -m benchmarks.patterns.end_to_end lockstep|feast SPINE OUT

`feast` is `get_historical_features` on Feast's own DuckDB store, then scikit-learn. It is spared what could be spared:
its columns become numpy arrays by our code, and the on-demand functions run on them instead of in Feast's pandas view.
Time counts from the call with a spine to the scores on disk; a hundred rows are scored before, so that all is warm. The
peak is that of the whole process, imports and warming included.
"""

import argparse
import json
import resource
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.point_in_time import peak_bytes
from lockstep.home import default_home
from lockstep.model_store import ModelStore
from lockstep.stores.repo import open_store

if TYPE_CHECKING:
    from feast import FeatureStore

    from lockstep.bundle import Bundle

__all__ = ["SIDES", "main"]

MODEL: Final = "install"
WARM_ROWS: Final = 100
_STATUS: Final = Path("/proc/self/status")
Score = Callable[["FeatureStore", "Bundle", Path, Path], None]
"""Scores a spine into a folder."""


def by_lockstep(store: "FeatureStore", bundle: "Bundle", spine: Path, out: Path) -> None:
    """What `lockstep score` does."""
    from training.batch import Job, score

    score(store, Job(bundle, str(spine), out))


def by_feast(store: "FeatureStore", bundle: "Bundle", spine: Path, out: Path) -> None:
    """What a team does that has Feast and the fitted pipeline."""
    from benchmarks.predict.data import scikit_learn
    from benchmarks.predict.peers.pipeline import Pipeline
    from training.frame import assemble, fetch

    rows = pq.read_table(spine)
    found = assemble(bundle.plan, bundle.functions, fetch(store, bundle.plan, rows), rows)
    scores = Pipeline(scikit_learn(default_home()))(found.inputs)
    out.mkdir()
    pq.write_table(rows.append_column("score", pa.array(scores)), out / "part-0.parquet")


SIDES: Final[dict[str, Score]] = {"lockstep": by_lockstep, "feast": by_feast}


def cpu_s() -> float:
    """User and system time of this process until now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak() -> int:
    """The largest resident size of this process so far, in bytes.

    Not getrusage's: on Linux that begins with the size of the process that started this one.
    """
    if not _STATUS.exists():
        return peak_bytes()
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def run(score: Score, spine: Path, out: Path) -> dict[str, float]:
    """Seconds, CPU seconds and the peak in bytes."""
    store, bundle = open_store(default_home()), ModelStore(default_home().models).load(MODEL)
    few = out.with_suffix(".warm.parquet")
    pq.write_table(pq.read_table(spine).slice(0, WARM_ROWS), few)
    score(store, bundle, few, out.with_suffix(".warm"))
    since, cpu = time.perf_counter(), cpu_s()
    score(store, bundle, spine, out)
    return {"seconds": time.perf_counter() - since, "cpu_s": cpu_s() - cpu, "peak_bytes": peak()}


def main() -> None:
    """Score, and print the figures as the last line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.patterns.end_to_end")
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("spine", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # ibis, under Feast's store, calls what DuckDB has renamed
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        found = run(SIDES[given.side], given.spine, given.out)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
