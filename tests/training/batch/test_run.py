"""Batch scoring on the small home: the scores of training and of the scorer, and a folder that tells no lies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from lockstep.bundle import parts_at
from lockstep.errors import BadColumn, BadFile, BadRequest, DefinitionDiffers, PartsRefused, TablesRefused
from lockstep.home import Home
from lockstep.redis_server import run_redis
from lockstep.status import Rung, Status
from lockstep.stores.repo import open_store
from lockstep.times import HOUR, format_time, to_datetime
from lockstep_client import AsyncClient
from serving.packed_reader import PackedReader
from serving.server import running
from serving.settings import Settings
from training.batch import Report, begin
from training.batch import run as module
from training.batch.folder import NOTE, QUERY
from training.batch.spine import Spine
from training.frame import assemble, fetch_as_served
from training.given import given_columns, micros
from training.plans import EVENT_TIMESTAMP
from training.proof import Side, combinations
from training.specs.install import spine as log_spine
from training.tables import table_files
from training.train import Trained

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

Run = Callable[..., Report]
KEYS_LEFT = ["app", "channel", "os", "device", EVENT_TIMESTAMP, "note"]
VIEWS = ("ip_activity", "ip_app_activity", "app_activity", "channel_activity")


def read(out: Path) -> pa.Table:
    """What a reader of the folder sees."""
    return pyarrow.dataset.dataset(out, format="parquet").to_table()


def scores(out: Path) -> Any:
    return read(out)["score"].to_numpy()


# The values.


@pytest.mark.parametrize("part_rows", [100_000, 5_000], ids=["one part", "parts"])
def test_every_row_scores_as_training_scores_it(
    run: Run, out: Path, trained: Trained, spine: Path, part_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 2_048)
    pq.write_table(trained.test_spine, spine)
    run(part_rows=part_rows)
    assert len(read(out)) == len(trained.test) > 2 * 2_048, "a part comes out of the join in several chunks"
    np.testing.assert_array_equal(scores(out), trained.fitted.score(trained.test.inputs))
    assert not parts_at(scores(out), trained.fitted.reference(trained.test.inputs)).size
    assert len(np.unique(scores(out))) > 100


def test_the_rows_keep_their_columns_and_their_order(run: Run, out: Path, clicks: pa.Table) -> None:
    report = run()
    assert read(out).select(clicks.column_names).cast(clicks.schema).equals(clicks)
    assert read(out).column_names[len(clicks.column_names) :] == [
        *("score", "rung", "defaulted", "model_version"),
        *(f"{view}__status" for view in VIEWS),
    ]
    assert set(read(out)["model_version"].to_pylist()) == {"1"}
    assert (report.rows, report.parts, report.kept) == (len(clicks), 3, 0)
    assert report.rungs == {name: read(out)["rung"].to_pylist().count(name) for name in report.rungs}


def test_statuses_and_rungs_are_those_of_resolve(
    run: Run, out: Path, clicks: pa.Table, feast_store: FeatureStore, trained: Trained
) -> None:
    run()
    plan, t = trained.bundle.plan, micros(clicks[EVENT_TIMESTAMP])
    served = fetch_as_served(feast_store, plan, clicks, np.unique(t).tolist())  # a run at each t is point in time
    resolved = assemble(plan, trained.bundle.functions, served, clicks).resolved
    rows = read(out)
    assert rows["rung"].to_pylist() == [Rung(rung).name for rung in resolved.rungs()]
    assert rows["defaulted"].to_pylist() == resolved.replaced.any(axis=0).tolist()
    for view in VIEWS:
        found = np.stack([resolved.status[column.name] for column, _ in plan.stored(view)]).max(axis=0)
        assert rows[f"{view}__status"].to_pylist() == [Status(one).name for one in found], view
    assert {"PRESENT", "NULL", "NOT_FOUND"} <= set(rows["ip_activity__status"].to_pylist())


@pytest.mark.parametrize("part_rows", [999, 250])
def test_where_the_parts_are_cut_changes_nothing(run: Run, out: Path, part_rows: int, tmp_path: Path) -> None:
    run()
    assert run(out=tmp_path / "other", part_rows=part_rows).parts == -(-1_000 // part_rows)
    assert read(tmp_path / "other").equals(read(out))


async def test_the_latest_features_give_the_scores_of_the_running_scorer(
    run: Run,
    out: Path,
    tmp_path: Path,
    home: Home,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    feast_store: FeatureStore,
) -> None:
    moment = trained.window.cut_us
    side = Side(feast_store, trained.bundle.plan, trained.bundle.functions, trained.fitted)
    rows = combinations(side, log_spine(home), trained.test_spine, moment, seed=7, scale=0.1)
    pq.write_table(rows.drop_columns([EVENT_TIMESTAMP]), tmp_path / "asked.parquet")
    run(spine=str(tmp_path / "asked.parquet"), latest=True, at_us=moment)
    with run_redis(tmp_path / "redis") as url:
        monkeypatch.setenv("REDIS_URL", url)
        open_store(home).materialize(to_datetime(trained.window.train_from_us), to_datetime(moment))
        settings = Settings(port=0, models_url=str(home.models), redis=url, default_deadline_ms=10_000)
        async with (
            running(settings, PackedReader.open(settings)) as server,
            AsyncClient(server.address, timeout_s=8) as client,
        ):
            columns = given_columns(trained.bundle.plan, rows)
            answer = await client.predict("install", columns, version="1", at=moment, timeout_s=10.0)
    np.testing.assert_array_equal(scores(out), answer.scores)
    made = read(out)
    assert set(made[EVENT_TIMESTAMP].to_pylist()) == {to_datetime(moment)}
    for view in answer.views:
        seen = made[f"{view.view}__status"].to_pylist()
        for status in ("NOT_FOUND", "STALE"):  # these hold for all features of a row
            features = len(list(trained.bundle.plan.stored(view.view)))
            counts = {found.name: count for found, count in view.counts.items()}
            assert seen.count(status) * features == counts.get(status, 0), (view.view, status)


# What a spine may be.


def test_a_query_is_a_spine(run: Run, out: Path, spine: Path, tmp_path: Path) -> None:
    run()
    run(spine=f"SELECT * FROM '{spine}' ORDER BY {EVENT_TIMESTAMP}, note", out=tmp_path / "other")
    by_note = [read(folder).sort_by("note").select(["note", "score"]) for folder in (out, tmp_path / "other")]
    assert by_note[0].equals(by_note[1])
    assert not (tmp_path / "other" / QUERY).exists(), "its rows are kept only while they are needed"


def test_a_folder_is_a_spine_in_the_order_of_its_files(run: Run, out: Path, clicks: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number, start in enumerate((0, 250, 700)):
        pq.write_table(clicks.slice(start, (250, 450, 300)[number]), tmp_path / "many" / f"{number}.parquet")
    run(out=tmp_path / "other")
    run(spine=str(tmp_path / "many"))
    assert read(out).equals(read(tmp_path / "other"))


def test_an_empty_spine_makes_an_empty_part_with_all_columns(
    run: Run, out: Path, clicks: pa.Table, spine: Path
) -> None:
    pq.write_table(clicks.slice(0, 0), spine)
    report = run()
    assert (report.rows, report.parts) == (0, 1)
    assert len(read(out)) == 0
    assert {"note", "score", "rung", "ip_activity__status"} <= set(read(out).column_names)


def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def with_null(values: pa.ChunkedArray, row: int) -> pa.Array:
    return pa.array([None if at == row else value for at, value in enumerate(values.to_pylist())], values.type)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda t: t.drop_columns(["app"]), BadColumn, "'app': missing in the spine; the model needs it"),
        (lambda t: t.rename_columns(["IP", *KEYS_LEFT]), BadColumn, "'ip': missing in the spine"),
        (lambda t: replaced(t, "ip", t["ip"].cast(pa.string())), BadColumn, "'ip': is string in the spine; expected"),
        (lambda t: replaced(t, "os", t["os"].cast(pa.float64())), BadColumn, "'os': is double in the spine"),
        (lambda t: t.drop_columns([EVENT_TIMESTAMP]), BadColumn, "the time of each row; or score at --latest"),
        (
            lambda t: replaced(t, EVENT_TIMESTAMP, t[EVENT_TIMESTAMP].cast(pa.int64())),
            BadColumn,
            "is int64; expected a timestamp",
        ),
        (lambda t: t.append_column("score", t["ip"]), BadColumn, "'score': the scores need this name"),
        (
            lambda t: replaced(t, "ip", with_null(t["ip"], 512)),
            BadRequest,
            "the spine from row 400 on: column 'ip', row 112: is NULL; whole numbers have no NULL",
        ),
        (
            lambda t: replaced(t, EVENT_TIMESTAMP, with_null(t[EVENT_TIMESTAMP], 3)),
            BadRequest,
            "row 3: is NULL; a row without a time cannot be scored",
        ),
    ],
)
def test_a_spine_that_does_not_fit_is_refused(
    run: Run, clicks: pa.Table, spine: Path, change: Callable[[pa.Table], pa.Table], error: type[Exception], says: str
) -> None:
    pq.write_table(change(clicks), spine)
    with pytest.raises(error, match=says.replace("(", r"\(")):
        run()


def test_what_is_no_spine_is_refused(run: Run, tmp_path: Path, clicks: pa.Table, out: Path) -> None:
    (tmp_path / "clicks.csv").write_text("ip\n1\n")
    with pytest.raises(BadFile, match=r"is not Parquet\. A spine is a Parquet file"):
        run(spine=str(tmp_path / "clicks.csv"))
    with pytest.raises(TablesRefused, match="no Parquet file at nowhere"):
        run(spine="nowhere")
    with pytest.raises(BadRequest, match="the spine's SQL cannot be run"):
        run(spine="SELECT nothing")
    (tmp_path / "many").mkdir()
    for number, table in enumerate((clicks, clicks.drop_columns(["note"]))):
        pq.write_table(table, tmp_path / "many" / f"{number}.parquet")
    with pytest.raises(BadFile, match=r"1\.parquet: its columns are not those of"):
        run(spine=str(tmp_path / "many"))
    assert not out.exists() or not list(out.iterdir()), "nothing was begun"


def test_a_spine_with_times_is_not_scored_at_one_time_by_guess(run: Run) -> None:
    with pytest.raises(BadColumn, match="the spine has times of its own; leave out --latest"):
        run(latest=True)
    with pytest.raises(BadRequest, match="one time for all rows goes with --latest"):
        run(at_us=0)


def test_a_view_that_means_something_else_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begin, "definition_of", lambda view: "another")
    with pytest.raises(DefinitionDiffers, match="'ip_activity' was defined otherwise when the model was trained"):
        run()


# Bounded memory.


def test_no_more_than_a_part_is_read_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    whole = Spine.rows

    def rows(self: Spine, start: int, count: int) -> pa.Table:
        found = whole(self, start, count)
        asked.append(len(found))
        return found

    monkeypatch.setattr(Spine, "rows", rows)
    run(part_rows=300)
    assert asked == [300, 300, 300, 100]


# Complete or absent.


@contextmanager
def failing_after(parts: int) -> Iterator[None]:
    """Writes that end in the middle of a file, from some part on."""
    write, written = pq.write_table, [0]

    def half(table: pa.Table, path: Path, **options: Any) -> None:
        write(table.slice(0, len(table) // 2), path, **options)
        raise OSError("no space left on device")

    def some(table: pa.Table, path: Path, **options: Any) -> None:
        written[0] += 1
        (write if written[0] <= parts else half)(table, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq, "write_table", some)
        with pytest.raises(OSError, match="no space left"):
            yield


def test_a_part_that_could_not_be_written_is_not_there(run: Run, out: Path) -> None:
    with failing_after(1):
        run()
    assert sorted(path.name for path in out.iterdir()) == [NOTE, "part-00000.parquet"]
    assert len(read(out)) == 400


def test_what_was_done_is_kept_and_the_rest_is_done(run: Run, out: Path, tmp_path: Path) -> None:
    with failing_after(1):
        run()
    before = (out / "part-00000.parquet").stat().st_mtime_ns
    report = run()
    assert (report.kept, sum(report.rungs.values())) == (1, 600)
    assert (out / "part-00000.parquet").stat().st_mtime_ns == before
    run(out=tmp_path / "other")
    assert read(out).equals(read(tmp_path / "other"))


def test_half_a_file_of_a_killed_run_is_never_seen_and_goes_away(run: Run, out: Path) -> None:
    with failing_after(1):
        run()
    (out / ".part-00001.parquet.99.partial").write_bytes(b"PAR1 half")
    (out / ".spill.dead").mkdir()
    assert len(read(out)) == 400
    run()
    assert sorted(path.name for path in out.iterdir()) == [NOTE, *(f"part-0000{number}.parquet" for number in range(3))]


def test_a_finished_run_has_nothing_more_to_do(run: Run, out: Path) -> None:
    run()
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert run().kept == 3
    assert {path: path.stat().st_mtime_ns for path in out.glob("part-*")} == before


def test_a_query_is_not_asked_twice_for_one_folder(run: Run, out: Path, spine: Path, clicks: pa.Table) -> None:
    query = f"SELECT * FROM '{spine}'"
    with failing_after(1):
        run(spine=query)
    pq.write_table(clicks.take(pa.array(np.arange(1_000)[::-1])), spine)
    run(spine=query)
    assert read(out)["note"].to_pylist() == clicks["note"].to_pylist(), "the rows are those of the first answer"
    with pytest.raises(PartsRefused, match="holds all scores of this query as it was answered then"):
        run(spine=query)
    run(spine=query, redo=True)
    assert read(out)["note"].to_pylist() == clicks["note"].to_pylist()[::-1]


def test_one_time_for_all_rows_stays_when_a_run_goes_on(run: Run, out: Path, spine: Path, clicks: pa.Table) -> None:
    pq.write_table(clicks.drop_columns([EVENT_TIMESTAMP]), spine)
    with failing_after(1):
        run(latest=True)
    run(latest=True)
    assert len(set(read(out)[EVENT_TIMESTAMP].to_pylist())) == 1
    with pytest.raises(PartsRefused, match="made with another time"):
        run(latest=True, at_us=HOUR)


def test_another_spine_model_or_size_of_parts_is_refused_by_name(
    run: Run, out: Path, spine: Path, clicks: pa.Table, trained: Trained
) -> None:
    run()
    with pytest.raises(PartsRefused, match="made with another number of rows a part"):
        run(part_rows=500)
    files = {**trained.bundle.files, "manifest.json": trained.bundle.files["manifest.json"] + b" "}
    with pytest.raises(PartsRefused, match=r"made with another model\. Score into another folder"):
        run(bundle=type(trained.bundle)(**{**vars(trained.bundle), "files": files}))
    pq.write_table(clicks.slice(0, 500), spine)
    with pytest.raises(PartsRefused, match="made with another spine"):
        run()
    assert len(read(out)) == 1_000, "what was there stays"
    assert run(redo=True).rows == len(read(out)) == 500


def touch(home: Home) -> None:
    path = next(iter(table_files(home, "ip_activity").values()))
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))


def test_tables_that_changed_are_refused(run: Run, home: Home) -> None:
    run()
    touch(home)
    with pytest.raises(PartsRefused, match="made with another state of the feature tables"):
        run()


def test_tables_that_change_meanwhile_are_refused(
    run: Run, home: Home, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Spine.rows

    def rows(self: Spine, start: int, count: int) -> pa.Table:
        touch(home)
        return whole(self, start, count)

    monkeypatch.setattr(Spine, "rows", rows)
    with pytest.raises(PartsRefused, match="the feature tables changed while they were read"):
        run()
    assert not list(out.glob("part-*"))


def test_a_folder_of_something_else_is_left_alone(run: Run, out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for redo in (False, True):
        with pytest.raises(PartsRefused, match=r"holds thesis\.txt and no scores"):
            run(redo=redo)
    (out / "thesis.txt").rename(out / NOTE)
    with pytest.raises(PartsRefused, match="cannot be read; remove the folder"):
        run()


def test_a_killed_run_goes_on_where_it_was(run: Run, out: Path, spine: Path, home: Home, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("lockstep")), "score", "install", "--version", "1"]
    command += ["--spine", str(spine), "--out", str(out), "--part-rows", "100"]
    process = subprocess.Popen(command, env={**os.environ, "LOCKSTEP_HOME": str(home.root)}, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(out.glob("part-*.parquet"))) < 2:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = len(list(out.glob("part-*.parquet")))
    assert 2 <= there < 10
    assert len(read(out)) == 100 * there, "every part that is there is whole"
    report = run(part_rows=100)
    assert (report.kept, report.parts) == (there, 10)
    run(out=tmp_path / "other")
    assert read(out).equals(read(tmp_path / "other"))


def test_the_note_says_what_the_scores_were_made_from(run: Run, out: Path, spine: Path, clicks: pa.Table) -> None:
    pq.write_table(clicks.drop_columns([EVENT_TIMESTAMP]), spine)
    run(latest=True, at_us=HOUR)
    note = (out / NOTE).read_text()
    assert '"install 1 ' in note
    assert format_time(HOUR) in note
