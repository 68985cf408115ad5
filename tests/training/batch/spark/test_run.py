"""Scores of Spark beside those of one machine, value for value, and the same folder with the same refusals."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from lockstep.errors import BadColumn, BadRequest, PartsRefused
from lockstep.home import Home
from lockstep.times import HOUR
from training.batch import Job, Report
from training.batch.engine import Engine, scorer
from training.batch.folder import NOTE, QUERY
from training.batch.spine import keep_query
from training.given import micros
from training.plans import EVENT_TIMESTAMP
from training.tables import table_files
from training.train import Trained

if TYPE_CHECKING:
    from feast import FeatureStore
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
    "ignore::RuntimeWarning",
    # PySpark leaves its sockets to the garbage collector.
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)

Score = Callable[..., Report]


@pytest.fixture
def score(spark: "SparkSession", feast_store: "FeatureStore", trained: Trained, spine: Path, out: Path) -> Score:
    """Score the clicks on Spark into `out`, four hundred a part, unless said otherwise."""

    def score(engine: Engine = Engine.SPARK, **changes: Any) -> Report:
        facts = {"bundle": trained.bundle, "spine": str(spine), "out": out, "part_rows": 400, "workers": 2, **changes}
        return scorer(engine)(feast_store, Job(**facts))

    return score


def read(out: Path) -> pa.Table:
    return pyarrow.dataset.dataset(out, format="parquet").to_table()


def test_every_row_of_both_engines_is_equal(
    score: Score, out: Path, trained: Trained, spine: Path, tmp_path: Path, spark: "SparkSession"
) -> None:
    pq.write_table(trained.test_spine, spine)
    local = score(Engine.LOCAL, out=tmp_path / "local", part_rows=2_000)
    report = score(part_rows=2_000)
    ours, theirs = read(out), read(tmp_path / "local")
    assert ours.schema.equals(theirs.schema)
    assert len(ours) == len(trained.test) > 4_096
    for name in ours.column_names:
        assert ours[name].equals(theirs[name]), name
    assert len(set(ours["score"].to_pylist())) > 100
    assert {"PRESENT", "NULL", "NOT_FOUND"} <= set(ours["ip_activity__status"].to_pylist())
    assert (report.rows, report.parts, report.kept, report.rungs) == (local.rows, local.parts, 0, local.rungs)
    assert spark.conf.get("spark.sql.session.timeZone") == "America/New_York", "the user's session is left alone"


def test_what_was_done_is_kept_and_the_rest_is_done(
    score: Score, out: Path, clicks: pa.Table, spine: Path, tmp_path: Path, spark: "SparkSession"
) -> None:
    """A query at one moment, whose second part is lost when it is killed, beside the same on one machine."""
    query = f"SELECT * EXCLUDE ({EVENT_TIMESTAMP}) FROM '{spine}'"
    facts = {"spine": query, "latest": True, "at_us": int(micros(clicks[EVENT_TIMESTAMP]).max()) + HOUR}
    score(Engine.LOCAL, **facts, out=tmp_path / "local")
    score(Engine.LOCAL, **facts)
    lost = out / "part-00001.parquet"
    lost.rename(out / f".{lost.name}.99.partial")
    keep_query(query, out / QUERY)
    before = (out / "part-00000.parquet").stat().st_mtime_ns
    report = score(**facts)
    assert (report.kept, sum(report.rungs.values())) == (2, 400)
    assert (out / "part-00000.parquet").stat().st_mtime_ns == before
    assert read(out).equals(read(tmp_path / "local"))
    assert sorted(path.name for path in out.iterdir()) == [NOTE, *(f"part-0000{number}.parquet" for number in range(3))]
    with pytest.raises(PartsRefused, match="holds all scores of this query as it was answered then"):
        score(**facts)
    imported = modules_of_workers(spark)
    assert "feast" not in imported
    assert {"lockstep.bundle", "training.batch.spark.worker"} <= imported


def modules_of_workers(spark: "SparkSession") -> set[str]:
    """What the Python processes have imported that worked before: they live on from task to task."""

    def seen(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import sys

        list(batches)
        yield pa.RecordBatch.from_pydict({"name": list(sys.modules)})

    return {row["name"] for row in spark.range(2, numPartitions=2).mapInArrow(seen, "name string").collect()}


def test_a_null_is_refused_in_the_words_of_one_machine(score: Score, clicks: pa.Table, spine: Path, out: Path) -> None:
    values = clicks["ip"].to_pylist()
    values[512] = None
    place = clicks.column_names.index("ip")
    pq.write_table(clicks.set_column(place, "ip", pa.array(values, clicks["ip"].type)), spine)
    with pytest.raises(BadRequest) as local:
        score(Engine.LOCAL)
    with pytest.raises(BadRequest) as ours:
        score(redo=True)
    assert str(ours.value) == str(local.value)
    assert "the spine from row 400 on: column 'ip', row 112: is NULL" in str(ours.value)
    assert not list(out.glob("part-*"))


def test_tables_that_change_meanwhile_take_their_parts_with_them(
    score: Score, out: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.batch.spark import run

    inside = run._watch

    def watch(*arguments: Any) -> None:
        inside(*arguments)
        path = next(iter(table_files(home, "ip_activity").values()))
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))

    monkeypatch.setattr(run, "_watch", watch)
    with pytest.raises(PartsRefused, match="the feature tables changed while they were read"):
        score(part_rows=1_000)
    assert not list(out.glob("part-*"))


# What is refused, and what is written, before Spark is asked.


def test_an_empty_spine_makes_an_empty_part_with_all_columns(
    score: Score, clicks: pa.Table, spine: Path, out: Path, tmp_path: Path
) -> None:
    pq.write_table(clicks.slice(0, 0), spine)
    score(Engine.LOCAL, out=tmp_path / "local")
    assert score().parts == 1
    assert read(out).equals(read(tmp_path / "local"))


def test_a_folder_of_something_else_is_left_alone(score: Score, out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(PartsRefused, match=r"holds thesis\.txt and no scores"):
        score()
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_spine_that_does_not_fit_is_refused(score: Score, clicks: pa.Table, spine: Path, out: Path) -> None:
    pq.write_table(clicks.drop_columns(["app"]), spine)
    with pytest.raises(BadColumn, match="'app': missing in the spine; the model needs it"):
        score()
    assert not out.exists()
