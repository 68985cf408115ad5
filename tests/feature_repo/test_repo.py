"""The repository as Feast's users meet it: applied from anywhere, read offline and online, on-demand view included."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast import FeatureStore, FeatureView, FileSource

import feature_repo
from lockstep.functions import load
from lockstep.home import Home
from lockstep.plan import Array
from lockstep.redis_server import run_redis
from lockstep.stores.repo import open_store
from lockstep.times import parse_time, to_datetime
from tests.homes import feast
from training.specs.install import spine
from training.tables import TABLES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

REPO = Path(feature_repo.__path__[0])
CUT = parse_time("2017-11-08T18:00:00Z")
ON_DEMAND = ("hour_of_day", "device_os", "seconds_since_last_by_ip", "seconds_since_last_by_ip_app")
STORED = ("ip_activity:last_click_time_by_ip", "ip_app_activity:last_click_time_by_ip_app")


def clicks(home: Home, count: int = 300) -> pd.DataFrame:
    """Clicks after the cut, as a caller would send them: keys, request columns and t."""
    rows: pd.DataFrame = spine(home).drop_columns("attributed_time").to_pandas()
    late: pd.DataFrame = rows[rows["event_timestamp"] > to_datetime(CUT)]
    return late.head(count).reset_index(drop=True)


def micros(times: Any) -> Array:
    stamps = pd.to_datetime(pd.Series(times), utc=True)
    return np.where(stamps.isna(), np.nan, stamps.dt.as_unit("us").astype("int64").astype("float64"))


def by_functions(columns: Mapping[str, Array], name: str) -> Array:
    """A feature by the pure function of its file."""
    function = load(name, (REPO / "functions" / f"{name}.py").read_bytes())
    made: Array = function.call(*(columns[argument] for argument in function.arguments))
    return made


def check_online_view_equals_function(seen: Any, sent: pd.DataFrame) -> None:
    """What Feast's on-demand view made is what the pure functions make of what Feast found, value for value."""
    columns = {name: sent[name].to_numpy() for name in ("device", "os")}
    columns["event_timestamp"] = micros(sent["event_timestamp"])
    for name in ("last_click_time_by_ip", "last_click_time_by_ip_app"):
        columns[name] = micros(seen[name])
        assert 0 < np.isfinite(columns[name]).sum() < len(sent), "some have clicked before and some have not"
    for name in ON_DEMAND:
        wanted = by_functions(columns, name)
        np.testing.assert_array_equal(np.array(seen[name], wanted.dtype), wanted, err_msg=name)


def test_the_on_demand_view_equals_the_functions_offline(home: Home, feast_store: FeatureStore) -> None:
    sent = clicks(home)
    service = feast_store.get_feature_service("install_v1")
    found = feast_store.get_historical_features(sent, service).to_df()
    found = sent.merge(found, how="left", on=list(sent.columns))
    assert len(found) == len(sent)
    check_online_view_equals_function(found, sent)


@pytest.fixture(scope="module")
def filled(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """The same home with a Redis that was filled up to the cut.

    By Feast's own stores, which judge no TTL online: on ours Feast's SDK judges it at its clock, and calls all of 2017
    stale. What the scorer reads from ours is compared in the demo, with t.
    """
    with run_redis(tmp_path_factory.mktemp("redis")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", url)
        patch.setenv("LOCKSTEP_FEATURE_STORE", "feature_store.stock.yaml")
        store = open_store(home)
        store.materialize(to_datetime(CUT - 3 * 86_400_000_000), to_datetime(CUT))
        yield store


def columns_of(sent: pd.DataFrame) -> dict[str, list[Any]]:
    """The rows by column, as Feast's SDK takes them."""
    return {
        str(name): [value.to_pydatetime() if isinstance(value, pd.Timestamp) else value for value in sent[name]]
        for name in sent
    }


def online(store: FeatureStore, features: list[str], sent: pd.DataFrame) -> dict[str, Any]:
    answer: dict[str, Any] = store.get_online_features(features, columns_of(sent)).to_dict()
    return answer


def test_the_on_demand_view_equals_the_functions_online(home: Home, filled: FeatureStore) -> None:
    sent = clicks(home)
    asked = [*(f"click_context:{name}" for name in ON_DEMAND), *STORED]
    check_online_view_equals_function(online(filled, asked, sent.drop(columns="channel")), sent)


@pytest.mark.parametrize("view", TABLES)
def test_every_view_is_read_online(view: str, home: Home, filled: FeatureStore) -> None:
    sent = clicks(home)
    (feature,) = list(TABLES[view].features)[:1]
    keys = sent[list(TABLES[view].keys)]
    found = np.array(online(filled, [f"{view}:{feature}"], keys)[feature], float)
    assert np.isfinite(found).mean() > 0.1


def test_the_whole_service_is_read_online(home: Home, filled: FeatureStore) -> None:
    sent = clicks(home)
    service = filled.get_feature_service("install_v1")
    assert len(filled.get_online_features(service, columns_of(sent)).to_dict()["hour_of_day"]) == len(sent)


def with_tables(store: FeatureStore) -> list[FeatureView]:
    """The views that are filled from tables; predictions have none."""
    return [view for view in store.list_feature_views() if view.batch_source is not None]


def paths(store: FeatureStore) -> set[str]:
    """Where the views' tables lie."""
    sources = [view.batch_source for view in with_tables(store)]
    assert all(isinstance(source, FileSource) for source in sources)
    return {source.path for source in sources if isinstance(source, FileSource)}


def test_apply_registered_all_that_the_repository_defines(home: Home, feast_store: FeatureStore) -> None:
    assert {view.name for view in feast_store.list_feature_views()} == {*TABLES, "install_predictions"}
    assert [view.name for view in feast_store.list_on_demand_feature_views()] == ["click_context"]
    assert [service.name for service in feast_store.list_feature_services()] == ["install_v1"]
    assert paths(feast_store) == {str(home.features / table) for table in TABLES}


def test_views_declare_what_the_tables_hold(feast_store: FeatureStore) -> None:
    for view in with_tables(feast_store):
        table = TABLES[view.name]
        assert {feature.name for feature in view.features} == set(table.features)
        assert {column.name for column in view.entity_columns} == set(table.keys)


def test_apply_works_from_any_directory_on_the_home_beside_the_repository(home: Home, tmp_path: Path) -> None:
    """Without LOCKSTEP_HOME the registry and the tables lie in data/ beside the repository, wherever one stands."""
    shutil.copytree(REPO, tmp_path / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    default = Home(tmp_path / "data")
    default.root.mkdir()
    default.features.symlink_to(home.features)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "LOCKSTEP_HOME" not in os.environ
    feast("-c", str(tmp_path / "feature_repo"), "apply", cwd=elsewhere)
    store = FeatureStore(repo_path=str(tmp_path / "feature_repo"))
    assert default.registry.exists()
    assert paths(store) == {str(default.features / table) for table in TABLES}
    assert not list(elsewhere.iterdir())
