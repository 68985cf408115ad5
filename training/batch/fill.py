"""Fill a model's predictions: score the keys in batch, write the rows, and flip the pointer to the version at last.

Until the flip the version before answers, with all of its rows; afterwards nobody reads those, and they expire.
A run that was killed is gone on with: its scored parts are there, and rows that were written are left as they are.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from redis.exceptions import RedisClusterException, RedisError

from lockstep.errors import BadRequest, MaterializeFailed
from lockstep.plan import digest
from lockstep.prediction_key import HASH_BYTES, PredictionKeys, hashed
from lockstep.predictions import JOIN_KEYS, Pointer, PredictionView
from lockstep.progress import bar
from lockstep.status import Rung
from lockstep.stores.records import begin_fill, raise_watermark
from lockstep.stores.redis_connect import Client
from lockstep.stores.redis_write import Replace, RowWriter, WriteCounts
from lockstep.stores.views import StoredView
from lockstep.times import format_time
from training.batch.folder import Folder
from training.batch.job import Job
from training.batch.run import score
from training.batch.spine import is_query, keep_query
from training.given import given_and_times

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Filled", "fill"]

BATCH_ROWS: Final = 50_000
"""Rows that are packed and sent at a time."""


@dataclass(frozen=True)
class Filled:
    """What was done."""

    version: str
    before: str
    """The version that the pointer named before; '' where there was none."""
    moment_us: int
    """The t of all predictions."""
    counts: WriteCounts
    rungs: Counter[str]
    """Rows by rung; those of PRIOR are not written."""
    seconds: float = 0.0


def fill(store: "FeatureStore", job: Job, command: str) -> Filled:
    """Score every row of the job's spine as of one moment, write the predictions, and let them answer.

    `job.out` keeps keys and scores meanwhile, and is removed at the end; `command` is what a person runs to go on.
    Raises what `score` raises, WritesUnconfirmed, and MaterializeFailed where Redis fails or is emptied meanwhile: the
    pointer then stays where it was.
    """
    from lockstep.stores.predictions import open_predictions

    if job.at_us is not None and job.at_us > time.time_ns() // 1000:
        raise BadRequest(f"{format_time(job.at_us)} is not yet; predictions are made as of a time that was.")
    online, stored = open_predictions(store, job.bundle.manifest.name)
    started, total = time.perf_counter(), None
    try:
        target = _Target(online.client(store.config), stored)
        before = target.pointed()  # a Redis that does not answer is known before an hour of scoring
        scoring = _scoring(job)
        total = score(store, scoring).rows
        writer = online.writer(store.config, stored, Replace.SAME)
        done = target.fill(scoring, writer, before, command)
    except (RedisError, RedisClusterException) as error:
        raise MaterializeFailed(stored.record.view, 0, total, str(error), command) from error
    shutil.rmtree(job.out)
    return replace(done, seconds=time.perf_counter() - started)


def _scoring(job: Job) -> Job:
    """The job of scoring all keys as of one moment. The rows of a query are kept: a run that goes on has the same."""
    scoring = replace(job, out=job.out / "scores", latest=True)
    if not is_query(job.spine):
        return scoring
    keys = job.out / f"keys-{digest(job.spine)}.parquet"
    if job.redo or not keys.exists():
        keep_query(job.spine, keys)
    return replace(scoring, spine=str(keys))


class _Target:
    """The predictions of one model in Redis."""

    def __init__(self, client: Client, stored: StoredView) -> None:
        self._client, self._record = client, stored.record
        self._view = PredictionView(stored.record.project, stored.record.view)

    def pointed(self) -> str:
        """The version that the pointer names; '' where it names none."""
        content: Any = self._client.get(self._view.pointer)
        found = None if content is None else Pointer.read(content)
        return "" if found is None else found.version

    def fill(self, job: Job, writer: RowWriter, before: str, command: str) -> Filled:
        """Write what was scored, and flip the pointer."""
        begun, moment_us = begin_fill(self._client, self._record), _moment_us(job)
        keys, rungs = PredictionKeys(job.bundle.plan), Counter[str]()
        version = job.bundle.manifest.version
        for rows in _progressing(job):
            rungs.update(rows["rung"].to_pylist())
            self._write(_Rows.of(job, keys, rows, moment_us), version, writer)
            if writer.gave_up:
                break
        counts = writer.finish()
        if not raise_watermark(self._client, self._record, moment_us, begun):
            why = "Redis was emptied, or the view deleted, while they were written"
            raise MaterializeFailed(self._view.name, 0, counts.total, why, command)
        self._client.set(self._view.pointer, Pointer(version, keys.sha256).to_bytes())
        return Filled(version, before, moment_us, counts, rungs)

    def _write(self, rows: "_Rows", version: str, writer: RowWriter) -> None:
        hashes = pa.array(map(hashed, rows.requests), pa.binary(HASH_BYTES)).cast(pa.binary())
        versions = pa.array([version]).take(pa.array(np.zeros(len(hashes), np.int64)))
        columns = dict(zip((field.name for field in JOIN_KEYS), (versions, hashes), strict=True))
        writer.write(self._view.space.encode(columns), self._view.pack(rows.requests, rows.scores, rows.rungs, rows.t))


class _Rows(NamedTuple):
    """Scores that are worth keeping: those that the model made."""

    requests: list[bytes]
    scores: NDArray[np.float64]
    rungs: NDArray[np.int8]
    t: NDArray[np.int64]

    @staticmethod
    def of(job: Job, keys: PredictionKeys, rows: pa.Table, moment_us: int) -> "_Rows":
        """Those of some rows of a part."""
        rungs = np.array([Rung[name] for name in rows["rung"].to_pylist()], np.int8)
        kept = rows.filter(pa.array(rungs < Rung.PRIOR))
        given, t = given_and_times(job.bundle.plan, kept, moment_us)
        return _Rows(keys.of(given, len(t)), kept["score"].to_numpy(), rungs[rungs < Rung.PRIOR], t)


def _moment_us(job: Job) -> int:
    """The one t of all scores, which a run that was gone on with has from its beginning."""
    note = Folder(job.out).note()
    assert note is not None, "the scores were just written"
    return int(note["moment_us"])


def _progressing(job: Job) -> Iterator[pa.Table]:
    """What was scored, a batch at a time, under a bar."""
    parts = sorted(job.out.glob("part-*.parquet"))
    total = sum(pq.read_metadata(part).num_rows for part in parts)
    with bar(f"fill {job.bundle.manifest.name}", total) as done:
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches(BATCH_ROWS):
                yield pa.Table.from_batches([batch])
                done(batch.num_rows)
