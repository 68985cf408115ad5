"""Predictions filled in batch on the small home: what the scorer answers with, what Feast reads, what a kill leaves."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from feast import FeatureStore

from lockstep.bundle import Bundle
from lockstep.cached_bundle import cached_files
from lockstep.cached_model import OnMiss
from lockstep.errors import BadColumn, BadRequest, MaterializeFailed, PartsRefused
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.plan import View
from lockstep.prediction_key import PredictionKeys, hashed
from lockstep.predictions import Pointer, PredictionView, view_name
from lockstep.redis_server import free_port
from lockstep.stores.predictions import open_predictions
from lockstep.stores.redis_write import RowWriter
from lockstep.stores.repo import open_store
from lockstep.times import DAY, HOUR, to_datetime
from lockstep_client import AsyncClient, Origin
from serving.packed_reader import PackedReader
from serving.server import running
from serving.settings import Settings
from training.batch import Job
from training.batch import fill as module
from training.batch.fill import Filled, fill
from training.batch.folder import Folder
from training.given import given_columns
from training.plans import EVENT_TIMESTAMP
from training.train import Trained

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

Fill = Callable[..., Filled]
ROWS = 1_000
HIT, DEFAULT, LIVE = Origin


@pytest.fixture
def feast(home: Home, redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Feast on the small home and that Redis."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    return open_store(home)


@pytest.fixture
def keys(clicks: pa.Table, tmp_path: Path) -> Path:
    """A thousand clicks without their times, some of them twice."""
    path = tmp_path / "keys.parquet"
    pq.write_table(clicks.drop_columns([EVENT_TIMESTAMP]), path)
    return path


@pytest.fixture
def moment(trained: Trained) -> int:
    return trained.window.cut_us


@pytest.fixture
def run(feast: FeatureStore, trained: Trained, keys: Path, out: Path, moment: int) -> Fill:
    """Fill the predictions of the clicks, four hundred a part, unless said otherwise."""

    def run(**changes: Any) -> Filled:
        facts = {
            "bundle": trained.bundle,
            "spine": str(keys),
            "out": out,
            "at_us": moment,
            "part_rows": 400,
            "workers": 2,
        }
        return fill(feast, Job(**{**facts, **changes}), "lockstep cache fill")

    return run


@pytest.fixture
def view(trained: Trained) -> PredictionView:
    return PredictionView(trained.bundle.plan.project, view_name("install"))


def pointer(client: redis.Redis, view: PredictionView) -> str:
    content: Any = client.get(view.pointer)
    found = None if content is None else Pointer.read(content)
    return "" if found is None else found.version


def stored(client: redis.Redis, view: PredictionView, version: str, bundle: Bundle, keys: Path) -> Any:
    """The score of each key that is stored under a version; NaN where there is none."""
    rows = pq.read_table(keys)
    requests = PredictionKeys(bundle.plan).of(given_columns(bundle.plan, rows), len(rows))
    read = view.read(requests, client.mget(view.keys(version, requests)))
    return np.where(read.found == 0, read.scores, np.nan)


def renamed(bundle: Bundle, version: str) -> Bundle:
    return replace(bundle, manifest=replace(bundle.manifest, version=version))


async def test_the_scorer_answers_each_key_with_the_live_score_of_the_same_version(
    run: Fill,
    feast: FeatureStore,
    home: Home,
    redis_url: str,
    trained: Trained,
    keys: Path,
    moment: int,
    tmp_path: Path,
) -> None:
    feast.materialize(to_datetime(trained.window.train_from_us), to_datetime(moment))
    done = run()
    assert (done.version, done.before, done.moment_us) == ("1", "", moment)
    shutil.copytree(home.models / "install", tmp_path / "models" / "install")
    models = ModelStore(tmp_path / "models")
    record = open_predictions(feast, "install")[1].record
    seen = View(record.view, (), record.ttl_us, record.definition)
    behind = trained.bundle.manifest
    models.publish("kept", lambda number: cached_files(behind, seen, "kept", number, on_miss=OnMiss.DEFAULT))
    settings = Settings(port=0, models_url=models.url, redis=redis_url, default_deadline_ms=10_000)
    async with (
        running(settings, PackedReader.open(settings)) as server,
        AsyncClient(server.address, timeout_s=8) as asking,
    ):
        columns = given_columns(trained.bundle.plan, pq.read_table(keys))
        live = await asking.predict("install", columns, version="1", at=moment, timeout_s=10.0)
        kept = await asking.predict("kept", columns, version="1", at=moment + 1, timeout_s=10.0)
        late = await asking.predict("kept", columns, version="1", at=moment + 6 * HOUR + 1, timeout_s=10.0)
    assert kept.cached is not None
    assert late.cached is not None
    assert set(kept.cached.origins) == {HIT}
    assert kept.rung == live.rung
    np.testing.assert_array_equal(kept.scores, live.scores)
    assert len(np.unique(kept.scores)) > 100
    assert set(late.cached.origins) == {DEFAULT}, "the view's TTL is six hours"


def test_feasts_sdk_reads_what_was_filled(
    run: Fill, feast: FeatureStore, trained: Trained, keys: Path, redis_client: redis.Redis, view: PredictionView
) -> None:
    run(at_us=None)  # Feast's SDK judges the TTL at its clock
    rows = pq.read_table(keys).slice(0, 5)
    requests = PredictionKeys(trained.bundle.plan).of(given_columns(trained.bundle.plan, rows), 5)
    asked = [{"model_version": "1", "prediction_key": hashed(request)} for request in requests]
    names = [f"{view.name}:{name}" for name in ("request", "score", "rung")]
    found = feast.get_online_features(features=names, entity_rows=asked).to_dict()
    assert found["request"] == requests
    assert found["score"] == stored(redis_client, view, "1", trained.bundle, keys)[:5].tolist()
    assert set(found["rung"]) <= {0, 1}


def test_the_next_version_is_written_beside_the_old_one_and_the_pointer_flips_at_the_end(
    run: Fill,
    redis_client: redis.Redis,
    trained: Trained,
    keys: Path,
    view: PredictionView,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run()
    seen = []
    pack = PredictionView.pack

    def watched(*arguments: Any) -> Any:
        seen.append(pointer(redis_client, view))
        return pack(*arguments)

    monkeypatch.setattr(PredictionView, "pack", watched)
    done = run(bundle=renamed(trained.bundle, "2"))
    assert set(seen) == {"1"}
    assert (done.version, done.before, pointer(redis_client, view)) == ("2", "1", "2")
    for version in ("1", "2"):
        assert np.isfinite(stored(redis_client, view, version, trained.bundle, keys)).all()


def test_rows_expire_a_ttl_after_they_are_of_no_use(run: Fill, redis_client: redis.Redis, view: PredictionView) -> None:
    run()
    lives = [
        redis_client.pttl(key)
        for key in redis_client.scan_iter(view.space.prefix.replace(b"[", b"\\[") + b"*", count=5_000)
    ]
    assert len(lives) > 100
    assert 6 * HOUR // 1000 < min(lives) <= max(lives) <= 12 * HOUR // 1000
    assert redis_client.pttl(view.pointer) == -1


@pytest.mark.parametrize(
    ("when", "as_query"),
    [
        pytest.param("scoring", False, id="while a file is scored"),
        pytest.param("writing", True, id="while the rows of a query are written"),
    ],
)
def test_a_fill_that_ends_halfway_leaves_the_old_version_answering_and_is_gone_on_with(
    run: Fill,
    redis_client: redis.Redis,
    trained: Trained,
    keys: Path,
    out: Path,
    view: PredictionView,
    when: str,
    as_query: bool,
) -> None:
    spine = f"SELECT * FROM '{keys}'" if as_query else str(keys)
    run()
    new = renamed(trained.bundle, "2")
    with ended_after_one(when), pytest.raises(KeyboardInterrupt):
        run(bundle=new, spine=spine)
    assert pointer(redis_client, view) == "1"
    assert np.isfinite(stored(redis_client, view, "1", trained.bundle, keys)).all()
    assert out.exists()
    run(bundle=new, spine=spine)
    assert pointer(redis_client, view) == "2"
    both = [stored(redis_client, view, version, trained.bundle, keys) for version in ("1", "2")]
    np.testing.assert_array_equal(*both)
    assert not out.exists()


@contextmanager
def ended_after_one(when: str) -> Iterator[None]:
    """The second part, or the second batch of rows, is the end."""
    owner, name = (Folder, "write") if when == "scoring" else (module._Target, "_write")
    whole, calls = getattr(owner, name), []

    def once(*arguments: Any) -> Any:
        calls.append(name)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return whole(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, once)
        yield


def test_a_second_fill_of_one_moment_replaces_the_first(
    run: Fill, redis_client: redis.Redis, trained: Trained, keys: Path, view: PredictionView
) -> None:
    run()
    for key in redis_client.scan_iter(view.space.prefix.replace(b"[", b"\\[") + b"*", count=5_000):
        redis_client.set(key, redis_client.get(key)[:-1])
    assert np.isnan(stored(redis_client, view, "1", trained.bundle, keys)).all()
    assert run().counts.written > 0
    assert np.isfinite(stored(redis_client, view, "1", trained.bundle, keys)).all()


def test_an_older_fill_leaves_newer_predictions(run: Fill, moment: int) -> None:
    run()
    assert run(at_us=moment - HOUR).counts.older == ROWS


def test_other_keys_for_a_fill_that_is_gone_on_with_are_refused(run: Fill, keys: Path, clicks: pa.Table) -> None:
    with ended_after_one("scoring"), pytest.raises(KeyboardInterrupt):
        run()
    pq.write_table(clicks.drop_columns([EVENT_TIMESTAMP]).slice(0, 500), keys)
    with pytest.raises(PartsRefused, match="made with another spine"):
        run()
    assert run(redo=True).counts.written == 500


def test_redis_emptied_while_rows_are_written_flips_nothing(
    run: Fill, redis_client: redis.Redis, view: PredictionView, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = RowWriter.finish

    def emptied(writer: Any) -> Any:
        redis_client.flushall()
        return finish(writer)

    monkeypatch.setattr(RowWriter, "finish", emptied)
    with pytest.raises(MaterializeFailed, match="Redis was emptied, or the view deleted"):
        run()
    assert pointer(redis_client, view) == ""


def test_a_redis_that_does_not_answer_is_known_before_anything_is_scored(
    home: Home, trained: Trained, keys: Path, out: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(MaterializeFailed, match=r"Connection refused.*Go on with: lockstep cache fill"):
        fill(open_store(home), Job(trained.bundle, str(keys), out, at_us=moment), "lockstep cache fill")
    assert not out.exists()


def test_a_moment_that_is_not_yet_is_refused(run: Fill) -> None:
    with pytest.raises(BadRequest, match="predictions are made as of a time that was"):
        run(at_us=time.time_ns() // 1000 + DAY)


def test_keys_with_times_of_their_own_are_refused(run: Fill, keys: Path, clicks: pa.Table) -> None:
    pq.write_table(clicks, keys)
    with pytest.raises(BadColumn, match="the spine has times of its own"):
        run()


def test_a_model_without_a_view_is_told_how_to_make_one(run: Fill, trained: Trained) -> None:
    other = replace(trained.bundle, manifest=replace(trained.bundle.manifest, name="other"))
    with pytest.raises(BadRequest, match=r"Put other_predictions = prediction_view\('other', ttl=\.\.\.\)"):
        run(bundle=other)
