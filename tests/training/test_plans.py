"""From the repository's feature service to the plan that a bundle carries."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Array, Bool, Float32, Float64, Int64, String, UnixTimestamp
from sklearn.impute import SimpleImputer

from lockstep.errors import PlanRefused
from lockstep.plan import Computed, DType, Given, JoinKey, Moment, Plan, Stored, digest
from lockstep.stores.definition import DEFINITION_TAG, definition_of
from lockstep.stores.views import stored_view
from lockstep.times import DAY, HOUR, to_datetime
from training.plans import EVENT_TIMESTAMP, build_plan, input_names
from training.spec import Spec, Step
from training.specs.install import SPEC
from training.tables import TABLES, definition

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")


def asking(*names: str, **changes: Any) -> Spec:
    """The example's spec with one step that takes these columns."""
    return replace(SPEC, steps=(Step("it", SimpleImputer, names),), request_steps=("it",), **changes)


def names_of(plan: Plan, kind: type[Any]) -> list[str]:
    return [column.name for column in plan.columns if isinstance(column.source, kind)]


# The repository's own service.


def test_inputs_are_the_columns_of_the_steps_each_once_in_their_order(feast_store: FeatureStore) -> None:
    steps = (Step("a", SimpleImputer, ("hour_of_day", "app")), Step("b", SimpleImputer, ("app", "clicks_1h_by_ip")))
    spec = replace(SPEC, steps=steps, request_steps=("a",))
    assert input_names(spec) == ("hour_of_day", "app", "clicks_1h_by_ip")
    assert build_plan(feast_store, spec)[0].inputs == input_names(spec)


def test_the_example_needs_all_views_of_its_service_and_all_functions(feast_store: FeatureStore) -> None:
    plan, functions = build_plan(feast_store, SPEC)
    projections = feast_store.get_feature_service("install_v1").feature_view_projections
    assert {view.name for view in plan.views} == {one.name for one in projections} - {"click_context"}
    assert sorted(functions) == ["device_os", "hour_of_day", "seconds_since_last_by_ip", "seconds_since_last_by_ip_app"]
    assert (plan.project, plan.service) == ("lockstep", "install_v1")


def test_views_carry_their_join_keys_and_ttl(feast_store: FeatureStore) -> None:
    plan, _ = build_plan(feast_store, SPEC)
    views = {view.name: view for view in plan.views}
    assert views["ip_app_activity"].join_keys == (JoinKey("ip", "ip", DType.INT64), JoinKey("app", "app", DType.INT64))
    assert (views["ip_activity"].ttl_us, views["app_activity"].ttl_us) == (2 * DAY, 12 * HOUR)


def test_a_plan_holds_only_what_the_model_needs(feast_store: FeatureStore) -> None:
    plan, functions = build_plan(feast_store, asking("clicks_24h_by_ip"))
    assert [view.name for view in plan.views] == ["ip_activity"]
    assert [column.name for column in plan.columns] == ["ip", EVENT_TIMESTAMP, "clicks_24h_by_ip"]
    assert not functions


def test_a_model_on_request_data_reads_no_view(feast_store: FeatureStore) -> None:
    plan, functions = build_plan(feast_store, asking("device_os", "hour_of_day"))
    assert not plan.views
    assert names_of(plan, Given) == ["os", "device"]
    assert list(functions) == ["device_os", "hour_of_day"]


def test_a_function_brings_what_it_is_computed_from(feast_store: FeatureStore) -> None:
    plan, _ = build_plan(feast_store, asking("seconds_since_last_by_ip_app"))
    assert [view.name for view in plan.views] == ["ip_app_activity"]
    assert names_of(plan, Given) == ["ip", "app"]
    assert names_of(plan, Stored) == ["last_click_time_by_ip_app"]
    assert plan.by_name["last_click_time_by_ip_app"].dtype is DType.TIMESTAMP
    source = plan.by_name["seconds_since_last_by_ip_app"].source
    assert isinstance(source, Computed)
    assert source.arguments == (EVENT_TIMESTAMP, "last_click_time_by_ip_app")


def test_a_request_column_is_a_join_key_where_a_view_needs_it(feast_store: FeatureStore) -> None:
    plan, _ = build_plan(feast_store, asking("install_rate_24h_by_channel", "device_os"))
    assert plan.by_name["channel"].source == Given("join_key")
    assert plan.by_name["os"].source == Given("request")
    assert plan.by_name["device"].source == Given("request")
    assert isinstance(plan.by_name[EVENT_TIMESTAMP].source, Moment)


def test_numbers_are_served_as_float32_ids_as_int64_and_texts_as_texts(feast_store: FeatureStore) -> None:
    plan, _ = build_plan(feast_store, SPEC)
    dtypes = {name: plan.by_name[name].dtype for name in plan.inputs}
    assert dtypes["clicks_24h_by_ip"] is dtypes["install_rate_24h_by_app"] is dtypes["hour_of_day"] is DType.FLOAT32
    assert dtypes["device_os"] is dtypes["app"] is DType.INT64
    assert dtypes["recent_apps_by_ip"] is DType.STRING


def test_a_plan_survives_json(feast_store: FeatureStore) -> None:
    plan, _ = build_plan(feast_store, replace(SPEC, defaults={"clicks_24h_by_ip": 0.0, "recent_apps_by_ip": "none"}))
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.sha256() == plan.sha256()


def test_defaults_stand_beside_their_columns(feast_store: FeatureStore) -> None:
    spec = asking("clicks_24h_by_ip", "clicks_1h_by_ip", "device_os", defaults={"clicks_24h_by_ip": 0.0, "device": 1})
    plan, _ = build_plan(feast_store, spec)
    assert {column.name: column.default for column in plan.columns if column.default is not None} == spec.defaults


def test_the_repository_names_the_sql_of_each_table_in_its_view(feast_store: FeatureStore) -> None:
    for name in TABLES:
        assert feast_store.get_feature_view(name).tags[DEFINITION_TAG] == digest(definition(name))


REFUSED: dict[str, tuple[Spec, str]] = {
    "an unknown feature": (
        asking("click_24h_by_ip"),
        r"provide no 'click_24h_by_ip'. Did you mean 'clicks_24h_by_ip'\?",
    ),
    "a default of nothing": (
        asking("hour_of_day", defaults={"hour_of_dya": 0.0}),
        r"a default is given for 'hour_of_dya', which is no feature of .* Did you mean 'hour_of_day'\?",
    ),
    "a default of another type": (
        asking("recent_apps_by_ip", defaults={"recent_apps_by_ip": 0.0}),
        "'recent_apps_by_ip' is string, but its default is 0.0",
    ),
    "a join key of another type": (
        asking("clicks_24h_by_ip", request={"ip": DType.STRING}),
        "view 'ip_activity' takes 'ip' as int64, but column 'ip' is string",
    ),
    "a join key that does not come": (asking("clicks_24h_by_ip", request={"app": DType.INT64}), "takes column 'ip'"),
    "an unknown service": (
        asking("app", service="install_v2"),
        r"no feature service 'install_v2'; run `feast apply`.* Did you mean 'install_v1'\?",
    ),
    "a time itself": (asking("last_click_time_by_ip"), "the model takes the timestamp 'last_click_time_by_ip' itself"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_spec_that_does_not_fit_is_refused_and_the_name_told(case: str, feast_store: FeatureStore) -> None:
    spec, said = REFUSED[case]
    with pytest.raises(PlanRefused, match=said):
        build_plan(feast_store, spec)


# Repositories made for one case.

ip = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
Make = Callable[..., FeatureStore]


def double(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"double": (inputs["clicks"] * 2).astype("float32")}, index=inputs.index)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A function that applies a repository with one view over (ip), one on-demand view and functions by their text."""
    monkeypatch.setenv("LOCKSTEP_REPO", str(tmp_path / "repo"))

    def made(fields: Sequence[Field], on_demand: Sequence[OnDemandFeatureView] = (), **functions: str) -> FeatureStore:
        (tmp_path / "repo" / "functions").mkdir(parents=True)
        for name, text in functions.items():
            (tmp_path / "repo" / "functions" / f"{name}.py").write_text(text)
        service = FeatureService(name="install_v1", features=[view_of(tmp_path, fields), *on_demand])
        store = FeatureStore(config=config(tmp_path))
        store.apply([ip, view_of(tmp_path, fields), *on_demand, service])
        return store

    return made


def config(folder: Path) -> RepoConfig:
    online = {"type": "sqlite", "path": str(folder / "online.db")}
    settings: dict[str, Any] = {"registry": str(folder / "registry.db"), "online_store": online}
    return RepoConfig(
        project="own",
        provider="local",
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
        **settings,
    )


def view_of(folder: Path, fields: Sequence[Field]) -> FeatureView:
    path = folder / "mine.parquet"
    pd.DataFrame({"ip": [1], EVENT_TIMESTAMP: [to_datetime(0)]}).to_parquet(path)
    source = FileSource(name="mine_table", path=str(path), timestamp_field=EVENT_TIMESTAMP)
    return FeatureView(name="mine", entities=[ip], ttl=timedelta(0), schema=list(fields), source=source)


def computed(view: FeatureView, *fields: Field, udf: Callable[[pd.DataFrame], pd.DataFrame]) -> OnDemandFeatureView:
    made: OnDemandFeatureView = on_demand_feature_view(sources=[view], schema=list(fields), mode="pandas")(udf)
    return made


TYPES = {
    "whole": (Int64, DType.FLOAT32),
    "double": (Float64, DType.FLOAT32),
    "flag": (Bool, DType.FLOAT32),
    "text": (String, DType.STRING),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_stored_type_becomes_a_column_type(name: str, make: Make) -> None:
    feast_type, dtype = TYPES[name]
    store = make([Field(name="value", dtype=feast_type)])
    plan, _ = build_plan(store, asking("value", request={"ip": DType.INT64}))
    assert plan.by_name["value"].dtype is dtype
    assert plan.views[0].ttl_us is None, "Feast writes 0 for rows that never go stale"


def test_a_type_that_no_model_takes_is_refused_and_the_feature_named(make: Make) -> None:
    store = make([Field(name="many", dtype=Array(Int64))])
    with pytest.raises(PlanRefused, match=r"feature 'many' of view 'mine' is a .*Int64.*no model input can be"):
        build_plan(store, asking("many", request={"ip": DType.INT64}))


def test_an_on_demand_feature_without_a_function_file_is_refused(make: Make, tmp_path: Path) -> None:
    clicks = [Field(name="clicks", dtype=Int64)]
    view = computed(view_of(tmp_path, clicks), Field(name="double", dtype=Float32), udf=double)
    store = make(clicks, [view])
    with pytest.raises(PlanRefused, match=r"on-demand feature 'double' has no file functions/double.py"):
        build_plan(store, asking("double", request={"ip": DType.INT64}))


CHAIN = ("alpha", "beta", "gamma")


def chained(make: Make, folder: Path, **takes: str) -> FeatureStore:
    """On-demand features alpha, beta and gamma, each a function of what is said."""

    def chain(inputs: pd.DataFrame) -> pd.DataFrame:  # Feast changes it: a function is good for one view
        return pd.DataFrame({name: inputs["clicks"].astype("float32") for name in ("alpha", "beta", "gamma")})

    clicks = [Field(name="clicks", dtype=Int64)]
    fields = [Field(name=name, dtype=Float32) for name in CHAIN]
    texts = {name: f"def {name}({argument}):\n    return {argument} + 1\n" for name, argument in takes.items()}
    return make(clicks, [computed(view_of(folder, clicks), *fields, udf=chain)], **texts)


def test_functions_of_functions_come_after_what_they_take(make: Make, tmp_path: Path) -> None:
    store = chained(make, tmp_path, alpha="beta", beta="gamma", gamma="clicks")
    plan, functions = build_plan(store, asking("alpha", request={"ip": DType.INT64}))
    assert names_of(plan, Computed) == ["gamma", "beta", "alpha"]
    assert sorted(functions) == list(CHAIN)


def test_a_function_that_the_model_does_not_need_stays_out(make: Make, tmp_path: Path) -> None:
    store = chained(make, tmp_path, alpha="beta", beta="gamma", gamma="clicks")
    plan, functions = build_plan(store, asking("beta", request={"ip": DType.INT64}))
    assert (names_of(plan, Computed), sorted(functions)) == (["gamma", "beta"], ["beta", "gamma"])


def test_functions_that_need_each_other_are_refused(make: Make, tmp_path: Path) -> None:
    store = chained(make, tmp_path, alpha="beta", beta="alpha", gamma="clicks")
    with pytest.raises(PlanRefused, match="alpha, beta are computed from each other"):
        build_plan(store, asking("gamma", "alpha", request={"ip": DType.INT64}))


def test_a_key_that_cannot_be_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_REPO", str(tmp_path / "repo"))
    at = Entity(name="at", join_keys=["at"], value_type=ValueType.UNIX_TIMESTAMP)
    pd.DataFrame({"at": [to_datetime(0)], EVENT_TIMESTAMP: [to_datetime(0)]}).to_parquet(tmp_path / "at.parquet")
    source = FileSource(name="at_table", path=str(tmp_path / "at.parquet"), timestamp_field=EVENT_TIMESTAMP)
    fields = [Field(name="at", dtype=UnixTimestamp), Field(name="clicks", dtype=Int64)]
    view = FeatureView(name="by_time", entities=[at], schema=fields, source=source)
    store = FeatureStore(config=config(tmp_path))
    store.apply([at, view, FeatureService(name="install_v1", features=[view])])
    with pytest.raises(PlanRefused, match="view 'by_time': join key 'at' is a UnixTimestamp"):
        build_plan(store, asking("clicks", request={"at": DType.INT64}))


@pytest.mark.parametrize(
    "changed",
    [
        lambda view: view.with_name("sender_activity"),
        lambda view: view.with_join_key_map({"ip": "sender"}),
    ],
    ids=["another name", "other join keys"],
)
def test_a_view_under_an_alias_is_refused(feast_store: FeatureStore, changed: Callable[[FeatureView], Any]) -> None:
    view = feast_store.get_feature_view("ip_activity")
    feast_store.registry.apply_feature_service(
        FeatureService(name="aliased", features=[changed(view)]), feast_store.project
    )
    try:
        with pytest.raises(PlanRefused, match="view 'ip_activity' is in the service under another name"):
            build_plan(feast_store, asking("clicks_24h_by_ip", service="aliased"))
    finally:
        feast_store.registry.delete_feature_service("aliased", feast_store.project)


def test_a_plan_and_the_view_record_say_the_same_of_what_a_view_means(feast_store: FeatureStore) -> None:
    plan, _ = build_plan(feast_store, SPEC)
    for view in plan.views:
        applied = feast_store.get_feature_view(view.name)
        assert view.definition == stored_view(feast_store.project, view.name, applied).record.definition


def test_another_sql_is_another_definition(feast_store: FeatureStore) -> None:
    view = feast_store.get_feature_view("ip_activity")
    before = definition_of(view)
    view.tags = {**view.tags, DEFINITION_TAG: "another text"}
    assert definition_of(view) != before
