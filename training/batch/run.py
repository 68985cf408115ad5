"""Batch scoring on one machine: a point-in-time join a part in DuckDB, its rows scored by threads as they come out.

ONNX Runtime and numpy let go of Python while they compute, so threads fill the cores. A part is a run of rows of the
spine, in its order: each row's join is whole in itself, so where the parts are cut changes no value.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep.plan import Array
from lockstep.progress import bar
from lockstep.stores.point_in_time import ViewTable, check_ties, connect, join
from training.batch.begin import Begun, begin, refuses_ties
from training.batch.job import Job, Report
from training.batch.rows import TIME, beside, given_from, result_schema, scored
from training.frame import rows_found, view_tables
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from feast import FeatureStore

__all__ = ["CHUNK_ROWS", "score"]

CHUNK_ROWS = 4_096
"""Rows that a thread scores at a time: what it works on stays in its core's cache."""


def score(store: "FeatureStore", job: Job) -> Report:
    """Score all rows of a spine; a run that was killed is gone on with where it was. Raises what `begin` raises."""
    begun = begin(store, job)
    with begun.folder.spilling() as spill, ThreadPoolExecutor(job.workers) as pool:
        connection = connect(memory_limit=job.memory, temp_directory=str(spill))
        tables = view_tables(connection, store, job.bundle.plan)
        _score_parts(_Part(job, connection, tables, pool, begun.moment_us), store, begun)
    begun.folder.query_rows.unlink(missing_ok=True)
    return begun.report


def _score_parts(part: "_Part", store: "FeatureStore", begun: Begun) -> None:
    started, report = time.perf_counter(), begun.report
    if begun.todo and refuses_ties(store):
        part.check_ties()
    with bar(f"score {part.job.bundle.manifest.name}", report.rows) as done:
        done(report.rows - sum(map(begun.length, begun.todo)))
        for number in begun.todo:
            start = begun.start(number)
            rows = part.scored(begun.spine.rows(start, part.job.part_rows), start, done)
            begun.check_tables(store)
            begun.folder.write(number, rows, begun.fingerprint)
            report.rungs.update(rows["rung"].to_pylist())
    report.seconds = time.perf_counter() - started


@dataclass(frozen=True)
class _Part:
    """How the rows of a part become scores."""

    job: Job
    connection: "DuckDBPyConnection"
    tables: Sequence[ViewTable]
    pool: ThreadPoolExecutor
    moment_us: int | None

    def check_ties(self) -> None:
        """Once for all parts. Raises TablesRefused."""
        for table in self.tables:
            check_ties(self.connection, table)

    def scored(self, rows: pa.Table, start: int, done: Callable[[float], None]) -> pa.Table:
        """The rows with their scores; they are those of the spine from `start` on."""
        plan = self.job.bundle.plan
        if not len(rows):
            return beside(rows, result_schema(plan).empty_table(), self.moment_us)
        given, t = given_from(plan, rows, start, self.moment_us)
        batches = []
        for batch in self._batches(given, t):
            batches.append(batch)
            done(batch.num_rows)
        return beside(rows, pa.Table.from_batches(batches, result_schema(plan)), self.moment_us)

    def _batches(self, given: Mapping[str, Array], t: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """Scores in the order of the rows, while later rows still come out of the join."""
        waiting: deque[Future[pa.RecordBatch]] = deque()
        at = 0
        for joined in self._joined(given, t):
            here = slice(at, at + joined.num_rows)
            at = here.stop
            columns = {name: values[here] for name, values in given.items()}
            waiting.append(self.pool.submit(self._score, joined, columns, t[here]))
            if len(waiting) > 2 * self.job.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _joined(self, given: Mapping[str, Array], t: NDArray[np.int64]) -> pa.RecordBatchReader:
        """What the tables hold for each row, usable or not by its age: `resolve` judges that."""
        keys = {key.column for view in self.job.bundle.plan.views for key in view.join_keys}
        spine = {name: pa.array(given[name]) for name in sorted(keys)}
        self.connection.register("spine", pa.table({**spine, EVENT_TIMESTAMP: pa.array(t).cast(TIME)}))
        return join(
            self.connection,
            "spine",
            EVENT_TIMESTAMP,
            self.tables,
            timestamps=True,
            apply_ttl=False,
            refuse_ties=False,
            between_us=(int(t.min()), int(t.max())),
        ).to_arrow_reader(CHUNK_ROWS)

    def _score(self, joined: pa.RecordBatch, given: Mapping[str, Array], t: NDArray[np.int64]) -> pa.RecordBatch:
        found = rows_found(self.job.bundle.plan, pa.Table.from_batches([joined]))
        return scored(self.job.bundle, given, t, found)
