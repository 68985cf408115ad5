"""Whole tables: the model alone on two cores, and from end to end beside Feast with scikit-learn."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.patterns.rows import Columns, Rows
from benchmarks.patterns.speed import Speed
from benchmarks.predict.data import SEED, STOCK, Data, environment
from lockstep.bundle import parts_at
from training.batch import Job, score
from training.batch.run import CHUNK_ROWS
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureStore

    from lockstep.bundle import Bundle

__all__ = ["Compared", "batch_scores", "beside_feast", "model_rows_per_second"]

CORES: Final = 2
ROUNDS: Final = 3


def batch_scores(store: "FeatureStore", bundle: "Bundle", rows: Rows, folder: Path) -> NDArray[np.float64]:
    """What `lockstep score` writes for these rows."""
    out = folder / "scores"
    score(store, Job(bundle, str(rows.write(folder / "spine.parquet", timed=True)), out, redo=True))
    table = pa.concat_tables([pq.read_table(part) for part in sorted(out.glob("part-*.parquet"))])
    scores: NDArray[np.float64] = table["score"].to_numpy()
    return scores


def model_rows_per_second(bundle: "Bundle", resolved: Columns, count: int) -> float:
    """Functions and graph alone, in the chunks and threads of batch scoring; the rows are repeated up to `count`."""
    length = len(next(iter(resolved.values())))
    places = np.arange(count) % length
    columns = {name: values[places] for name, values in resolved.items()}
    with ThreadPoolExecutor(CORES) as pool:
        return median(_rate(pool, bundle, columns, count) for _ in range(ROUNDS))


def _rate(pool: ThreadPoolExecutor, bundle: "Bundle", columns: Columns, count: int) -> float:
    def chunk(start: int) -> NDArray[np.float64]:
        part = {name: values[start : start + CHUNK_ROWS] for name, values in columns.items()}
        return bundle.score(part, min(CHUNK_ROWS, count - start))

    since = time.perf_counter()
    scores = np.concatenate(list(pool.map(chunk, range(0, count, CHUNK_ROWS))))
    seconds = time.perf_counter() - since
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a number")
    return count / seconds


# ---- beside Feast


@dataclass(frozen=True)
class Compared:
    """The same spine scored by both sides, each in a process of its own."""

    rows: int
    differing: int
    lockstep: Mapping[str, float]
    """seconds, cpu_s and peak_bytes."""
    feast: Mapping[str, float]

    def figures(self) -> dict[str, Any]:
        """As the benchmark prints them."""
        return {
            "batch_speedup": round(self.feast["seconds"] / self.lockstep["seconds"], 2),
            "batch_memory_ratio": round(self.lockstep["peak_bytes"] / self.feast["peak_bytes"], 3),
            "batch_rows": self.rows,
            "batch_rows_differing_from_feast": self.differing,
            **{f"batch_{name}_seconds": round(side["seconds"], 2) for name, side in self._sides()},
            **{f"batch_{name}_peak_mb": round(side["peak_bytes"] / 1e6) for name, side in self._sides()},
        }

    def speed(self) -> Speed:
        """That of batch scoring."""
        seconds, cpu_s = self.lockstep["seconds"], self.lockstep["cpu_s"]
        return Speed(rows_per_second=self.rows / seconds, cpu_s_per_million=cpu_s / self.rows * 1e6)

    def _sides(self) -> list[tuple[str, Mapping[str, float]]]:
        return [("lockstep", self.lockstep), ("feast", self.feast)]


def beside_feast(data: Data, rows: int, folder: Path) -> Compared:
    """Score clicks of the log at their own times. Raises CalledProcessError where a side fails."""
    spine = _spine(data, rows, folder / "clicks.parquet")
    ours, theirs = (_in_process(data, side, spine, folder / side) for side in ("lockstep", "feast"))
    scores = [pq.read_table(folder / side)["score"].to_numpy() for side in ("lockstep", "feast")]
    return Compared(len(scores[0]), len(parts_at(*scores)), ours, theirs)


def _spine(data: Data, rows: int, path: Path) -> Path:
    from training.events import read_log

    log = read_log(data.home.events, columns=[*data.plan.given, "click_time"])
    places = np.sort(np.random.default_rng(SEED).permutation(len(log))[:rows])
    names = [EVENT_TIMESTAMP if name == "click_time" else name for name in log.column_names]
    pq.write_table(log.take(pa.array(places)).rename_columns(names), path)
    return path


def _in_process(data: Data, side: str, spine: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.patterns.end_to_end", side, str(spine), str(out)]
    env = environment(data.home, data.redis_url, STOCK if side == "feast" else "")
    ran = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found
