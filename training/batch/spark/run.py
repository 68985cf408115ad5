"""Batch scoring on Spark: all parts that are left in one job, each written whole by the executor that scored it."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from lockstep.errors import PartsRefused, SparkFailed
from lockstep.progress import bar
from training.batch.begin import Begun, begin, refuses_ties
from training.batch.folder import Folder
from training.batch.job import Job, Report
from training.batch.rows import beside, result_schema
from training.batch.spark.asof import join
from training.batch.spark.session import opened, translated
from training.batch.spark.tables import tables
from training.batch.spark.worker import SCORED, Work, asking_schema
from training.batch.spine import Spine

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["score"]

LOOK_EVERY_S: Final = 0.5
"""How often the folder is looked at for new parts."""


def score(store: "FeatureStore", job: Job) -> Report:
    """Score all rows of a spine; a run that was killed is gone on with where it was.

    Raises what `begin` raises, TablesRefused and BadColumn for the tables, SparkFailed where Spark does not finish.
    """
    begun, started = begin(store, job), time.perf_counter()
    if begun.todo and not begun.report.rows:
        _write_empty(begun)
    elif begun.todo:
        with opened() as spark:
            _score_parts(spark, store, begun)
    begun.report.seconds = time.perf_counter() - started
    begun.folder.query_rows.unlink(missing_ok=True)
    return begun.report


def _write_empty(begun: Begun) -> None:
    rows = beside(begun.spine.rows(0, 0), result_schema(begun.job.bundle.plan).empty_table(), begun.moment_us)
    begun.folder.write(0, rows, begun.fingerprint)


def _score_parts(spark: SparkSession, store: "FeatureStore", begun: Begun) -> None:
    with translated():
        plan = _planned(spark, store, begun)
        written = _progressing(plan, begun)
    _check_written(begun, store)
    for row in written:
        begun.report.rungs[row["rung"]] += row["rows"]


def _planned(spark: SparkSession, store: "FeatureStore", begun: Begun) -> DataFrame:
    """What Spark will do: a row of it says that a part was written."""
    plan = begun.job.bundle.plan
    found = tables(spark, store, plan)
    for table in found if refuses_ties(store) else ():
        table.check_ties()
    work = _work(spark, begun)
    parts = spark.createDataFrame([(number,) for number in begun.todo], "part long").repartition(len(begun.todo))
    asking = parts.mapInArrow(lambda numbers: work.asking(numbers), from_arrow_schema(asking_schema(plan)))
    joined = join(asking, found)
    return joined.groupBy("__part").applyInArrow(lambda rows: work.scored(rows), from_arrow_schema(SCORED))


def _work(spark: SparkSession, begun: Begun) -> Work:
    """With whole paths: an executor has a working folder of its own."""
    return Work(
        bundle=spark.sparkContext.broadcast(begun.job.bundle.files),
        spine=Spine([path.absolute() for path in begun.spine.files]),
        folder=Folder(begun.folder.path.absolute()),
        fingerprint=begun.fingerprint,
        moment_us=begun.moment_us,
        part_rows=begun.job.part_rows,
    )


def _progressing(plan: DataFrame, begun: Begun) -> list[Any]:
    """Run it under a bar that moves with the parts that appear."""
    left = sum(map(begun.length, begun.todo))
    with bar(f"score {begun.job.bundle.manifest.name}", begun.report.rows) as done, ThreadPoolExecutor(1) as pool:
        done(begun.report.rows - left)
        running: Future[list[Any]] = pool.submit(plan.collect)
        _watch(running, begun, done)
        return running.result()


def _watch(running: "Future[Any]", begun: Begun, done: Callable[[float], None]) -> None:
    left = set(begun.todo)
    while left and not running.done():
        wait([running], timeout=LOOK_EVERY_S)
        seen = {number for number in left if begun.folder.done(number, begun.fingerprint)}
        done(sum(map(begun.length, seen)))
        left -= seen


def _check_written(begun: Begun, store: "FeatureStore") -> None:
    """Take the parts back where the tables changed meanwhile; raise where this machine does not see them."""
    try:
        begun.check_tables(store)
    except PartsRefused:
        for number in begun.todo:
            begun.folder.part(number).unlink(missing_ok=True)
        raise
    missing = [number for number in begun.todo if not begun.folder.done(number, begun.fingerprint)]
    if missing:
        raise SparkFailed(
            f"the executors wrote {begun.folder.part(missing[0]).name}, and this machine does not see it; "
            f"{begun.folder.path} must be a folder that all of them share"
        )
