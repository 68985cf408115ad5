"""`lockstep cache` as a person uses it."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from lockstep.cli.cache import cache
from lockstep.errors import BadRequest, UnknownModel
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.times import HOUR, format_time
from training.plans import EVENT_TIMESTAMP
from training.train import Trained

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

Run = Callable[..., Result]


@pytest.fixture
def run(home: Home, redis_url: str) -> Run:
    return lambda *words: CliRunner(env={"LOCKSTEP_HOME": str(home.root), "REDIS_URL": redis_url}).invoke(
        cache, list(map(str, words))
    )


@pytest.fixture
def keys(trained: Trained, tmp_path: Path) -> Path:
    path = tmp_path / "keys.parquet"
    pq.write_table(trained.test_spine.slice(0, 50).drop_columns(["attributed_time", EVENT_TIMESTAMP]), path)
    return path


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_fill_tells_which_version_answers_and_as_of_when(run: Run, keys: Path, trained: Trained) -> None:
    moment = format_time(trained.window.cut_us - HOUR)
    told = done(run("fill", "install", "--version", "1", "--keys", keys, "--at", moment))
    assert "│ answers now │ version 1 │" in told
    assert f"│ predictions as of │ {moment} │" in told
    assert "│ written │ 50 │" in told
    again = done(run("fill", "install", "--version", "1", "--keys", f"SELECT * FROM '{keys}'"))
    assert "│ answers now │ version 1, before 1 │" in again


def test_a_cached_model_is_published_beside_the_one_whose_predictions_it_has(
    run: Run, home: Home, trained: Trained
) -> None:
    told = done(
        run("publish", "install", "--version", "1", "--on-miss", "default", "--name", "kept", "--default", "0.25")
    )
    assert told == "kept 1 (champion) answers with the predictions of install; a miss: the default, 0.25"
    manifest = ModelStore(home.models).load("kept").manifest
    assert (manifest.kind, manifest.prior) == ("cached", 0.25)
    assert [(view.name, view.ttl_us) for view in manifest.plan.views] == [("install_predictions", 6 * HOUR)]
    twice = run("publish", "kept", "--on-miss", "live")
    assert isinstance(twice.exception, BadRequest)
    assert "name the one behind it" in str(twice.exception)


def test_what_is_wrong_is_said(run: Run, keys: Path, trained: Trained) -> None:
    assert isinstance(run("fill", "instal", "--keys", keys).exception, UnknownModel)
    assert isinstance(run("fill", "install", "--version", "1", "--keys", keys, "--at", "noon").exception, BadRequest)
    assert "Missing option '--keys'" in run("fill", "install").output
    assert "Missing option '--on-miss'" in run("publish", "install").output
    assert "'guess' is not one of 'default', 'live'" in run("publish", "install", "--on-miss", "guess").output
