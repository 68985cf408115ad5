"""Fill a model's predictions: score the keys in batch, write the rows, and flip the pointer to the version at last.

Until the flip the version before answers, with all of its rows; afterwards nobody reads those any more, and they expire.
A run that was killed is gone on with: its scored parts are there, and rows that were written are left as they are.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lockstep.errors import BadRequest, PredictionsLost
from lockstep.prediction_key import PredictionKeys, hashed
from lockstep.predictions import JOIN_KEYS, Pointer, PredictionView
from lockstep.progress import bar
from lockstep.status import Rung
from lockstep.stores.records import begin_fill, raise_watermark
from lockstep.stores.redis_write import Replace, RowWriter, WriteCounts
from lockstep.times import format_time
from training.batch.folder import Folder
from training.batch.run import Job, score
from training.batch.spine import given_and_times
from training.frame import micros
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Filled", "fill"]

BATCH_ROWS: Final = 50_000
"""Rows that are packed and sent at a time."""


@dataclass
class Filled:
    """What was done."""

    version: str
    before: str
    """The version that the pointer named before; '' where there was none."""
    moment_us: int
    """The t of all predictions."""
    counts: WriteCounts = field(default_factory=WriteCounts)
    rungs: Counter[str] = field(default_factory=Counter)
    """Rows by rung; those of PRIOR are not written."""
    seconds: float = 0.0


def fill(store: "FeatureStore", job: Job) -> Filled:
    """Score every row of the job's spine as of one moment, write the predictions, and let them answer.

    `job.out` keeps the scores meanwhile, and is removed at the end. Raises what `score` raises, WritesUnconfirmed, and
    PredictionsLost where Redis was emptied meanwhile: the pointer then stays where it was.
    """
    from lockstep.stores.predictions import open_predictions

    started = time.perf_counter()
    if job.at_us is not None and job.at_us > time.time_ns() // 1000:
        raise BadRequest(f"{format_time(job.at_us)} is not yet; predictions are made as of a time that was.")
    name, version = job.bundle.manifest.name, job.bundle.manifest.version
    online, stored = open_predictions(store, name)
    score(store, replace(job, latest=True))
    client, view = online.client(store.config), PredictionView(stored.record.project, stored.record.view)
    writer, begun = online.writer(store.config, stored, Replace.SAME), begin_fill(client, stored.record)
    done = Filled(version, _pointed(client.get(view.pointer)), _moment_us(job))
    _write(job, view, writer, done)
    done.counts = writer.finish()
    if not raise_watermark(client, stored.record, done.moment_us, begun):
        raise PredictionsLost(view.name, done.counts.total)
    client.set(view.pointer, Pointer(version, PredictionKeys(job.bundle.plan).sha256).to_bytes())
    shutil.rmtree(job.out)
    done.seconds = time.perf_counter() - started
    return done


def _pointed(content: Any) -> str:
    found = None if content is None else Pointer.read(bytes(content))
    return "" if found is None else found.version


def _moment_us(job: Job) -> int:
    note = Folder(job.out).note()
    assert note is not None, "the scores were just written"
    return int(note["moment_us"])


def _write(job: Job, view: PredictionView, writer: RowWriter, done: Filled) -> None:
    """Every part's rows, a batch at a time; whoever gave up writes no more."""
    keys, parts = PredictionKeys(job.bundle.plan), sorted(job.out.glob("part-*.parquet"))
    total = sum(pq.read_metadata(part).num_rows for part in parts)
    with bar(f"fill {job.bundle.manifest.name}", total) as progress:
        for rows in _batches(job, parts):
            done.rungs.update(rows["rung"].to_pylist())
            writer.write(*_packed(job, view, keys, rows))
            if writer.gave_up:
                return
            progress(len(rows))
