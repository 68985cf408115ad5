"""Batch scoring on one machine: a point-in-time join a part in DuckDB, its rows scored by threads as they come out.

ONNX Runtime and numpy let go of Python while they compute, so threads fill the cores. A part is a run of rows of the
spine, in its order: each row's join is whole in itself, so where the parts are cut changes no value.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.errors import BadColumn, BadRequest, DefinitionDiffers, PartsRefused
from lockstep.plan import Array, Plan, digest
from lockstep.progress import bar
from lockstep.stores.definition import definition_of
from lockstep.stores.point_in_time import ViewTable, check_ties, connect, join
from lockstep.times import format_time
from training.batch.fingerprint import Fingerprint, of_bundle, of_files, of_sources
from training.batch.folder import Folder
from training.batch.rows import check_free, result_schema, scored
from training.batch.spine import Spine, check_columns, is_query, keep_query
from training.frame import rows_found, view_tables
from training.given import given_and_times
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from feast import FeatureStore

__all__ = ["Job", "Report", "score"]

CHUNK_ROWS = 4_096
"""Rows that a thread scores at a time: what it works on stays in its core's cache."""
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Job:
    """What to score, with what, and where to."""

    bundle: Bundle
    spine: str
    """A Parquet file, a folder or a glob of them, or SQL."""
    out: Path
    latest: bool = False
    """Score every row with the features of one moment, instead of those at its own event_timestamp."""
    at_us: int | None = None
    """That moment, µs UTC; None: when the job begins."""
    redo: bool = False
    """Remove the scores that the folder holds and begin anew."""
    part_rows: int = 250_000
    """Rows of a part; with the tables' size they decide how much memory a join takes."""
    memory: str = "4GB"
    """What DuckDB may hold before it spills to the folder."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass
class Report:
    """What was done."""

    rows: int
    parts: int
    kept: int = 0
    """Parts that an earlier run had made."""
    rungs: Counter[str] = field(default_factory=Counter)
    """Rows scored by this run, by rung."""
    seconds: float = 0.0


def score(store: "FeatureStore", job: Job) -> Report:
    """Score all rows of a spine; a run that was killed is gone on with where it was.

    Raises BadColumn and its kin for the spine, TablesRefused for the tables, DefinitionDiffers for a view that is not
    what the model was trained on, PartsRefused where the folder holds scores of something else.
    """
    _check_definitions(store, job.bundle.plan)
    if not is_query(job.spine):
        _checked(job, Spine.at(Path(job.spine)))  # before anything is removed
    folder = Folder(job.out)
    if job.redo:
        folder.empty()
    moment_us = _moment(job, folder)
    fingerprint = _fingerprint(store, job, moment_us)
    folder.check(fingerprint)
    folder.clean()
    spine = _spine(job, folder)
    folder.write_note(fingerprint, rows=len(spine), moment_us=moment_us)
    report = Report(len(spine), max(1, -(-len(spine) // job.part_rows)))
    with folder.spilling() as spill, ThreadPoolExecutor(job.workers) as pool:
        connection = connect(memory_limit=job.memory, temp_directory=str(spill))
        tables = view_tables(connection, store, job.bundle.plan)
        _score_parts(_Part(job, connection, tables, pool, moment_us), store, folder, spine, fingerprint, report)
    folder.query_rows.unlink(missing_ok=True)
    return report


def _check_definitions(store: "FeatureStore", plan: Plan) -> None:
    for view in plan.views:
        if definition_of(store.get_feature_view(view.name)) != view.definition:
            raise DefinitionDiffers(view.name, [source.field for _, source in plan.stored(view.name)])


def _moment(job: Job, folder: Folder) -> int | None:
    """The one t of all rows, which a run that goes on takes from the one before; None for each row's own."""
    if not job.latest:
        if job.at_us is not None:
            raise BadRequest("one time for all rows goes with --latest; without it each row has its event_timestamp.")
        return None
    if job.at_us is not None:
        return job.at_us
    note = folder.note()
    begun = None if note is None else note["moment_us"]
    return time.time_ns() // 1000 if begun is None else int(begun)


def _fingerprint(store: "FeatureStore", job: Job, moment_us: int | None) -> Fingerprint:
    plan = job.bundle.plan
    return {
        "spine": digest(job.spine) if is_query(job.spine) else of_files(Spine.at(Path(job.spine)).files),
        "model": of_bundle(job.bundle),
        "state of the feature tables": of_sources(store, plan),
        "time": "of each row" if moment_us is None else format_time(moment_us),
        "number of rows a part": str(job.part_rows),
    }


def _spine(job: Job, folder: Folder) -> Spine:
    """The rows. Those of a query are kept until the last part is there."""
    if not is_query(job.spine):
        return Spine.at(Path(job.spine))
    if folder.note() is None:
        keep_query(job.spine, folder.query_rows)
    elif not folder.query_rows.exists():
        raise PartsRefused(
            f"{folder.path} holds all scores of this query as it was answered then; nobody can tell whether it would "
            "be answered otherwise now. Score into another folder, or begin anew with --redo."
        )
    return _checked(job, Spine([folder.query_rows]))


def _checked(job: Job, spine: Spine) -> Spine:
    """The spine; raises BadColumn unless it has what the plan needs, and no column that is added to it."""
    check_columns(job.bundle.plan, spine.schema, latest=job.latest)
    check_free(job.bundle.plan, spine.schema.names)
    return spine


def _score_parts(
    part: "_Part", store: "FeatureStore", folder: Folder, spine: Spine, fingerprint: Fingerprint, report: Report
) -> None:
    started = time.perf_counter()
    todo = [number for number in range(report.parts) if not folder.done(number, fingerprint)]
    report.kept = report.parts - len(todo)
    if todo and getattr(store.config.offline_store, "refuse_ties", True):  # a setting of our own offline store
        part.check_ties()
    with bar(f"score {part.job.bundle.manifest.name}", report.rows) as done:
        done(sum(_length(report, part.job, number) for number in range(report.parts) if number not in set(todo)))
        for number in todo:
            start = number * part.job.part_rows
            rows = part.scored(spine.rows(start, part.job.part_rows), start, done)
            if of_sources(store, part.job.bundle.plan) != fingerprint["state of the feature tables"]:
                raise PartsRefused("the feature tables changed while they were read. Begin anew with --redo.")
            folder.write(number, rows, fingerprint)
            report.rungs.update(rows["rung"].to_pylist())
    report.seconds = time.perf_counter() - started


def _length(report: Report, job: Job, number: int) -> int:
    return min(job.part_rows, report.rows - number * job.part_rows)


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
            return self._beside(rows, result_schema(plan).empty_table())
        try:
            given, t = given_and_times(plan, rows, self.moment_us)
        except BadColumn as error:
            raise BadRequest(f"the spine from row {start} on: {error}") from error
        batches = []
        for batch in self._batches(given, t):
            batches.append(batch)
            done(batch.num_rows)
        return self._beside(rows, pa.Table.from_batches(batches, result_schema(plan)))

    def _beside(self, rows: pa.Table, results: pa.Table) -> pa.Table:
        if self.moment_us is not None:
            t = pa.array(np.full(len(rows), self.moment_us), pa.int64()).cast(TIME)
            rows = rows.append_column(EVENT_TIMESTAMP, t)
        for name in results.column_names:
            rows = rows.append_column(results.schema.field(name), results[name])
        return rows

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
