"""A training beside the champion: what is reported before anything is fitted, and what is not promoted."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from feast import FeatureStore
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lockstep.errors import GateFailed, SchemaChanged
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.times import parse_time
from tests.homes import Elsewhere
from training.champion import Champion, Since, champion_of, since
from training.gates import Gates
from training.spec import Spec, Step, load_spec
from training.train import Trained, train
from training.transformers import LogOdds

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")


class Stop(Exception):
    """Ends a training before anything is fitted."""


@dataclass
class Told:
    """What a training told before its first fit, which it does not reach."""

    since: list[Since] = field(default_factory=list)

    def __call__(self, seen: Since) -> None:
        self.since.append(seen)
        raise Stop


def linear(strength: float = 1.0, max_iter: int = 1_000) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=max_iter)


def small(**changes: Any) -> Spec:
    """A quick model on a few columns of the example."""
    spec = load_spec("install")
    steps = tuple(step for step in spec.steps if step.name in ("windows", "hour"))
    gates = Gates(beat_prior=False, beat_baseline=False, mean_score_within=9, score_bounds=(0.0, 1.0))
    settings = {"name": "small", "steps": steps, "request_steps": ("hour",), "estimator": linear, "gates": gates}
    return replace(spec, **{**settings, **changes})


@pytest.fixture(scope="module")
def mine(home: Home, feast_store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The small home with a champion `small`, version 1."""
    elsewhere = Elsewhere(home.root, tmp_path_factory.mktemp("models"))
    with pytest.MonkeyPatch.context():
        train(feast_store, small(), elsewhere)
    ModelStore(elsewhere.models).promote("small", "1")
    return elsewhere


@pytest.fixture
def again(mine: Home, feast_store: FeatureStore) -> Callable[..., Trained]:
    """Train once more, in memory."""
    return lambda spec, **options: train(feast_store, spec, mine, publish=False, **options)


@pytest.fixture
def told(again: Callable[..., Trained]) -> Callable[..., Since]:
    """What is told before anything is fitted."""

    def told(spec: Spec, **options: Any) -> Since:
        heard = Told()
        with pytest.raises(Stop):
            again(spec, tell=heard, **options)
        return heard.since[0]

    return told


def mornings(spec: Spec) -> Callable[[Home], pa.Table]:
    """The clicks of the first half of each day alone."""
    return lambda home: (table := spec.spine(home)).filter(pc.less(pc.hour(table["event_timestamp"]), 12))


def test_the_same_training_again_has_not_changed_and_is_as_good(
    again: Callable[..., Trained], told: Callable[..., Since]
) -> None:
    seen = told(small())
    assert (seen.version, seen.changes, seen.moved) == ("1", (), [])
    assert {one.column for one in seen.drifts} == {name for step in small().steps for name in step.columns}
    assert all(one.index == 0 for one in seen.drifts)
    trained = again(small())
    assert trained.since is not None
    assert trained.since.promotes
    assert trained.since.gate is not None
    assert trained.since.gate.sentence.startswith("The log loss 0.0")
    assert "+0.0% beside the champion's" in trained.since.gate.sentence


def test_columns_that_moved_are_told_before_the_fit_the_furthest_first(told: Callable[..., Since]) -> None:
    seen = told(small(spine=mornings(small())))
    assert seen.moved[0].column == "hour_of_day"
    assert seen.moved[0].verdict == "much"
    assert seen.moved[0].range_now is not None
    assert seen.moved[0].range_now[1] < 12
    indices = [one.index for one in seen.moved]
    assert indices == sorted(indices, key=lambda index: -(index or 0))


def test_a_column_that_is_gone_stops_the_training_unless_that_is_accepted(
    again: Callable[..., Trained], told: Callable[..., Since]
) -> None:
    windows, hour = small().steps
    spec = small(steps=(replace(windows, columns=windows.columns[1:]), hour))
    with pytest.raises(SchemaChanged, match="clicks_1h_by_ip: it is no longer in the feature plan") as raised:
        again(spec, tell=Told())
    assert "--accept-schema" in str(raised.value)
    assert len(raised.value.changes) == 1
    seen = told(spec, accept_schema=True)
    assert [one.column for one in seen.changes] == ["clicks_1h_by_ip"]


def test_a_column_that_holds_nothing_any_more_stops_the_training(
    again: Callable[..., Trained], told: Callable[..., Since]
) -> None:
    def strangers(home: Home) -> pa.Table:
        table = small().spine(home)
        position = table.column_names.index("ip")
        return table.set_column(position, "ip", pc.add(table["ip"], 10**9))

    spec = small(spine=strangers)
    with pytest.raises(SchemaChanged, match="clicks_1h_by_ip: it holds no value any more"):
        again(spec, tell=Told())
    emptied = {one.column for one in told(spec, accept_schema=True).moved if one.emptied}
    assert "clicks_24h_by_ip_app" in emptied


def test_a_new_feature_is_told_and_stops_nothing(told: Callable[..., Since]) -> None:
    more = Step("more", small().steps[-1].make, ("seconds_since_last_by_ip",))
    seen = told(small(steps=(*small().steps, more)))
    assert {str(change) for change in seen.changes} >= {"seconds_since_last_by_ip: it is new"}


def test_a_model_that_is_worse_beyond_the_gate_is_not_promoted_and_says_by_how_much(
    again: Callable[..., Trained],
) -> None:
    weak = small(estimator=lambda: linear(strength=1e-9))
    trained = again(weak)
    assert trained.since is not None
    assert not trained.since.promotes
    assert trained.since.gate is not None
    assert "outside the +2.0% allowed" in trained.since.gate.sentence
    assert trained.since.gate.value > trained.since.gate.bound
    lax = again(replace(weak, gates=replace(weak.gates, champion_within=None)))
    assert lax.since is not None
    assert lax.since.promotes


def test_a_champion_that_has_seen_the_test_rows_is_not_compared(
    again: Callable[..., Trained], mine: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = champion_of(mine, "small")
    assert whole is not None
    assert whole.bundle is not None
    manifest = replace(whole.bundle.manifest, window={"train_to_us": parse_time("2030-01-01")})
    later = Champion("1", replace(whole.bundle, manifest=manifest))
    monkeypatch.setattr("training.train.champion_of", lambda *_: later)
    trained = again(small())
    assert trained.since is not None
    assert (trained.since.gate, trained.since.promotes) == (None, True)
    assert "the test rows since do not hold both classes" in trained.since.note


def test_a_champion_that_does_not_load_stands_in_nobodys_way(
    mine: Home, feast_store: FeatureStore, tmp_path: Path
) -> None:
    broken = Elsewhere(mine.root, tmp_path)
    folder = broken.models / "small" / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"format": 0}))
    ModelStore(broken.models).promote("small", "1")
    champion = champion_of(broken, "small")
    assert champion is not None
    assert champion.bundle is None
    seen = since(champion, small_plan(mine), {}, accept=False)
    assert seen is not None
    assert "the bundle has format 0" in seen.note
    heard = Told()
    with pytest.raises(Stop):
        train(feast_store, small(), broken, publish=False, tell=heard)
    assert heard.since == [seen]


def small_plan(home: Home) -> Any:
    return ModelStore(home.models).manifest("small", "1").plan


def test_without_a_champion_nothing_is_compared(mine: Home) -> None:
    assert champion_of(mine, "other") is None
    assert since(None, small_plan(mine), {}, accept=False) is None


def test_a_step_that_did_not_converge_is_not_published_and_is_told_in_scikit_learns_words(
    feast_store: FeatureStore, mine: Home
) -> None:
    def unfinished() -> Any:
        return make_pipeline(SimpleImputer(), LogOdds(linear(max_iter=1)))

    spec = small(steps=(*small().steps, Step("inner", unfinished, ("clicks_1h_by_ip",), sees_label=True)))
    with pytest.raises(GateFailed, match="scikit-learn warns: lbfgs failed to converge"):
        train(feast_store, spec, mine)
    assert ModelStore(mine.models).versions("small") == ["1"]


def test_the_report_and_the_manifest_tell_what_came_of_the_comparison(mine: Home, feast_store: FeatureStore) -> None:
    trained = train(feast_store, small(spine=mornings(small())), mine)
    files = ModelStore(mine.models).read("small", trained.bundle.manifest.version)
    page = files["report.html"].decode()
    assert "Since the champion, version 1" in page
    assert "hour_of_day" in page.partition("Since the champion")[2].partition("<h2>")[0]
    assert trained.since is not None
    assert trained.since.note == ""
    assert trained.bundle.manifest.metrics["champion"]["version"] == "1"
    kept = json.loads(files["baseline.json"])
    assert kept["types"]["ip_activity"]["ip"] == "BIGINT"
    assert np.isfinite(kept["columns"]["hour_of_day"]["histogram"]["edges"]).all()
