"""The offline store behind a FeatureStore, beside Feast's own DuckDB store on the same tables."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, String, UnixTimestamp

from lockstep.errors import BadColumn, BadRequest, TablesRefused
from lockstep.stores.offline import LockstepOfflineStoreConfig
from lockstep.stores.point_in_time import AsServed
from lockstep.stores.retrieval import HistoricalJob
from lockstep.times import HOUR, MINUTE, from_datetime, to_datetime

pytestmark = [
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:(Saving|Retrieving) dataset:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),  # ibis under Feast's DuckDB store
]

START = datetime(2017, 11, 6, tzinfo=UTC)
T0 = from_datetime(START)
US = pa.timestamp("us", "UTC")


def times(random: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(T0 + random.permutation(48 * 3600)[:rows] * 1_000_000, US)


def ip_table(random: np.random.Generator, rows: int = 3000) -> pa.Table:
    values = random.integers(0, 100, rows)
    return pa.table(
        {
            "ip": random.integers(0, 20, rows),
            "app": pa.array(random.choice(["a", "b", "c"], rows)),
            "event_timestamp": times(random, rows),
            "clicks": pa.array([None if value < 5 else int(value) for value in values], pa.int64()),
            "rate": random.random(rows).astype(np.float32),
            "names": pa.array([[str(value), None] for value in values], pa.list_(pa.string())),
            "last_click": times(random, rows),
        }
    )


def corrected_table(random: np.random.Generator, rows: int = 1500) -> pa.Table:
    event = T0 + random.integers(0, 48, rows) * HOUR
    created = event + random.permutation(rows) * MINUTE
    return pa.table(
        {
            "ip_number": random.integers(0, 20, rows),
            "at": pa.array(event * 1000, pa.timestamp("ns")),
            "written": pa.array(created // 1000, pa.timestamp("ms", "UTC")),
            "raw_score": random.random(rows),
        }
    )


def global_table(random: np.random.Generator, rows: int = 200) -> pa.Table:
    return pa.table({"event_timestamp": times(random, rows), "total": random.integers(0, 10**15, rows)})


def write_tables(folder: Path) -> None:
    random = np.random.default_rng(7)
    by_ip = ip_table(random)
    (folder / "by_ip_app" / "deeper").mkdir(parents=True)
    pq.write_table(by_ip.slice(0, 1000), folder / "by_ip_app" / "a.parquet")
    pq.write_table(by_ip.slice(1000), folder / "by_ip_app" / "deeper" / "b.parquet")
    pq.write_table(corrected_table(random), folder / "corrected.parquet")
    total = global_table(random)
    pq.write_table(total.slice(0, 100), folder / "total_1.parquet")
    pq.write_table(total.slice(100), folder / "total_2.parquet")


def definitions(folder: Path, glob: bool) -> list[Any]:
    ip = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
    app = Entity(name="app", join_keys=["app"], value_type=ValueType.STRING)
    tables = FileSource(
        path=str(folder / "by_ip_app" / ("**/*.parquet" if glob else "")), timestamp_field="event_timestamp"
    )
    corrected = FileSource(
        path=str(folder / "corrected.parquet"),
        timestamp_field="at",
        created_timestamp_column="written",
        field_mapping={"ip_number": "ip", "raw_score": "score"},
    )
    totals = FileSource(path=str(folder / "total_*.parquet"), timestamp_field="event_timestamp")
    keys = [Field(name="ip", dtype=Int64), Field(name="app", dtype=String)]
    by_ip_app = FeatureView(
        name="by_ip_app",
        entities=[ip, app],
        ttl=timedelta(hours=3),
        source=tables,
        schema=[
            *keys,
            Field(name="clicks", dtype=Int64),
            Field(name="names", dtype=Array(String)),
            Field(name="last_click", dtype=UnixTimestamp),
        ],
    )
    forever = FeatureView(
        name="forever", entities=[ip, app], ttl=None, source=tables, schema=[*keys, Field(name="rate", dtype=Float32)]
    )
    late = FeatureView(
        name="late",
        entities=[ip],
        ttl=timedelta(days=1),
        source=corrected,
        schema=[keys[0], Field(name="score", dtype=Float64)],
    )
    overall = FeatureView(
        name="overall", entities=[], ttl=timedelta(hours=6), source=totals, schema=[Field(name="total", dtype=Int64)]
    )
    request = RequestSource(name="request", schema=[Field(name="bid", dtype=Float64)])

    @on_demand_feature_view(  # type: ignore[untyped-decorator]
        sources=[by_ip_app, request], schema=[Field(name="bid_per_click", dtype=Float64)], mode="pandas"
    )
    def priced(inputs: pd.DataFrame) -> pd.DataFrame:
        frame = pd.DataFrame()
        frame["bid_per_click"] = inputs["bid"] / (inputs["clicks"] + 1)
        return frame

    return [ip, app, by_ip_app, forever, late, overall, priced]


def store(folder: Path, name: str, offline: dict[str, Any], glob: bool = False) -> FeatureStore:
    config = RepoConfig(
        project="demo",
        provider="local",
        registry=str(folder / f"{name}.db"),
        online_store={"type": "sqlite", "path": str(folder / f"{name}.sqlite")},
        offline_store=offline,
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    made = FeatureStore(config=config)
    made.apply(definitions(folder, glob))
    return made


@dataclass(frozen=True)
class Stores:
    """One set of tables behind three stores."""

    folder: Path
    ours: FeatureStore
    as_feast: FeatureStore
    """Ours with Feast's rule for created timestamps."""
    stock: FeatureStore


OURS = "lockstep.stores.offline.LockstepOfflineStore"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    folder = tmp_path_factory.mktemp("stores")
    write_tables(folder)
    return Stores(
        folder=folder,
        ours=store(folder, "ours", {"type": OURS, "threads": 1, "memory_limit": "1GB"}),
        as_feast=store(folder, "as_feast", {"type": OURS, "threads": 1, "created": "stock"}),
        stock=store(folder, "stock", {"type": "duckdb"}, glob=True),
    )


def spine(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "ip": random.integers(0, 22, rows),
            "app": random.choice(["a", "b", "c", "d"], rows),
            "event_timestamp": pd.to_datetime(
                T0 + random.integers(0, 50 * 3600, rows) * 1_000_000, unit="us", utc=True
            ),
            "bid": random.random(rows),
            "row": np.arange(rows),
        }
    )


ALL = ["by_ip_app:clicks", "by_ip_app:names", "by_ip_app:last_click", "forever:rate", "late:score"]


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows in the order of `row`, NaN as None, arrays as lists."""
    table = pa.Table.from_pandas(frame.sort_values("row"), preserve_index=False)
    return [dict(sorted(row.items())) for row in table.to_pylist()]


def ask(made: FeatureStore, rows: Any = None, features: Any = (), **options: Any) -> HistoricalJob:
    """A retrieval from our store."""
    job = made.get_historical_features(rows, features, **options)
    assert isinstance(job, HistoricalJob)
    return job


def both(stores: Stores, frame: Any, features: Any, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same retrieval from ours, with Feast's rule for created timestamps, and from Feast's DuckDB store."""
    ours = stores.as_feast.get_historical_features(frame, features, **options).to_df()
    return ours, stores.stock.get_historical_features(frame, features, **options).to_df()


def assert_equal(ours: pd.DataFrame, stock: pd.DataFrame) -> None:
    assert list(ours.columns) == list(stock.columns)
    assert rows_of(ours) == rows_of(stock)


@pytest.mark.parametrize("full_names", [False, True], ids=["short names", "full names"])
def test_every_row_equals_feast_and_stays_in_order(stores: Stores, full_names: bool) -> None:
    ours, stock = both(stores, spine(), ALL, full_feature_names=full_names)
    assert_equal(ours, stock)
    assert ours["row"].tolist() == list(range(400))
    found = ours.drop(columns=spine().columns).notna().mean()
    assert ((found > 0.05) & (found < 0.95)).all(), "each feature should be both found and missing"


TIME_FORMS: dict[str, Callable[[Any], Any]] = {
    "aware ns": lambda column: column.astype("datetime64[ns, UTC]"),
    "aware us, Berlin": lambda column: column.dt.tz_convert("Europe/Berlin"),
    "naive us": lambda column: column.dt.tz_localize(None).astype("datetime64[us]"),
    "naive ms": lambda column: column.dt.tz_localize(None).astype("datetime64[ms]"),
    "naive s": lambda column: column.dt.tz_localize(None).astype("datetime64[s]"),
    "text with a zone": lambda column: column.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "text without": lambda column: column.dt.strftime("%Y-%m-%d %H:%M:%S"),
    "datetime objects": lambda column: pd.Series([time.to_pydatetime() for time in column], dtype=object),
}


@pytest.mark.parametrize("form", TIME_FORMS)
def test_a_spine_may_write_its_times_in_any_form(stores: Stores, form: str) -> None:
    frame = spine(120)
    written = frame.assign(event_timestamp=TIME_FORMS[form](frame["event_timestamp"]))
    expected = ask(stores.ours, frame, ALL).to_df()
    assert rows_of(ask(stores.ours, written, ALL).to_df()) == rows_of(expected)


def test_null_keys_and_duplicate_rows_are_kept_and_match_as_in_feast(stores: Stores) -> None:
    frame = spine(60).astype({"ip": "Int64"})
    frame.loc[frame["row"] % 3 == 0, "ip"] = pd.NA
    frame.loc[frame["row"] % 5 == 0, "app"] = None
    twice = pd.concat([frame, frame], ignore_index=True).assign(row=range(120))
    ours, stock = both(stores, twice, ALL)
    assert_equal(ours, stock)
    assert ours.loc[ours["ip"].isna(), "score"].isna().all()


def test_join_key_aliases_join_one_view_on_two_columns(stores: Stores) -> None:
    features = FeatureService(
        name="both_ips",
        features=[
            view.with_name(f"{name}_late").with_join_key_map({"ip": f"{name}_ip"})
            for view in [stores.ours.get_feature_view("late")]
            for name in ("payer", "seller")
        ],
    )
    for made in (stores.as_feast, stores.stock):
        made.apply(features)
    frame = spine(100).rename(columns={"ip": "payer_ip"}).assign(seller_ip=lambda rows: (rows["payer_ip"] + 3) % 20)
    ours, stock = both(stores, frame, features, full_feature_names=True)
    assert_equal(ours, stock)
    assert (ours["payer_late__score"] != ours["seller_late__score"]).any()


def test_a_view_without_entities_is_one_series_for_all_rows(stores: Stores) -> None:
    ours, stock = both(stores, spine(100), ["overall:total"])
    assert_equal(ours, stock)
    assert ours["total"].notna().any()


def test_by_default_a_correction_is_seen_from_its_arrival_on(stores: Stores) -> None:
    ours = ask(stores.ours, spine(), ["late:score"]).to_df()
    filtered = stores.stock.get_historical_features(spine(), ["late:score"], filter_by_created_timestamp=True).to_df()
    anytime = stores.stock.get_historical_features(spine(), ["late:score"]).to_df()
    assert_equal(ours, filtered)
    assert rows_of(ours) != rows_of(anytime), "the table should hold corrections that arrive after t"
    asked = stores.as_feast.get_historical_features(spine(), ["late:score"], filter_by_created_timestamp=True).to_df()
    assert rows_of(asked) == rows_of(ours)


def test_on_demand_features_are_feasts_own(stores: Stores) -> None:
    ours, stock = both(stores, spine(), ["late:score", "priced:bid_per_click"])
    assert set(ours.columns) == set(stock.columns)
    assert rows_of(ours) == rows_of(stock)
    assert ours["bid_per_click"].notna().any()


@pytest.fixture
def job(stores: Stores) -> HistoricalJob:
    return ask(stores.ours, spine(), [*ALL, "priced:bid_per_click"])


def test_a_stream_of_batches_is_the_whole_table(job: HistoricalJob) -> None:
    batches = list(job.to_batches(rows=2048))
    assert pa.Table.from_batches(batches).equals(job.to_arrow())


def test_batches_of_an_empty_spine_have_the_columns(stores: Stores) -> None:
    job = ask(stores.ours, spine().iloc[:0], ALL)
    table = job.to_batches().read_all()
    assert (table.num_rows, table.column_names) == (
        0,
        [*spine().columns, "clicks", "names", "last_click", "rate", "score"],
    )


def test_parquet_is_written_whole(job: HistoricalJob, tmp_path: Path) -> None:
    assert job.write_parquet(tmp_path / "frame.parquet") == 400
    assert pq.read_table(tmp_path / "frame.parquet").equals(job.to_arrow())
    assert [path.name for path in tmp_path.iterdir()] == ["frame.parquet"]


@pytest.mark.parametrize("kind", ["table", "path", "folder", "sql"])
def test_a_spine_need_not_be_a_data_frame(stores: Stores, tmp_path: Path, kind: str) -> None:
    table = pa.Table.from_pandas(spine(), preserve_index=False)
    pq.write_table(table, tmp_path / "spine.parquet")
    spines = {
        "table": table,
        "path": str(tmp_path / "spine.parquet"),
        "folder": str(tmp_path),
        "sql": f"SELECT * FROM '{tmp_path}/*.parquet' ORDER BY row;",
    }
    expected = ask(stores.ours, spine(), ALL).to_arrow()
    assert ask(stores.ours, spines[kind], ALL).to_arrow().equals(expected)


def test_sql_may_call_t_what_it_likes_where_there_is_one_time(stores: Stores) -> None:
    sql = "SELECT 3 AS ip, TIMESTAMP '2017-11-07 12:00:00' AS seen"
    assert ask(stores.ours, sql, ["late:score"]).to_arrow().column_names == ["ip", "seen", "score"]
    with pytest.raises(BadRequest, match="2 timestamp columns and none named 'event_timestamp'"):
        ask(stores.ours, sql + ", now() AS other", ["late:score"]).to_arrow()


def test_a_range_without_a_spine_has_each_time_a_row_began_to_count(stores: Stores) -> None:
    window = {"start_date": START + timedelta(hours=5), "end_date": START + timedelta(hours=7)}
    got = ask(stores.ours, features=["late:score"], **window).to_arrow()
    table = pq.read_table(stores.folder / "corrected.parquet").to_pylist()
    since = [(max(row["at"].tz_localize("UTC"), pd.Timestamp(row["written"])), row["ip_number"]) for row in table]
    expected = sorted({(time, ip) for time, ip in since if window["start_date"] <= time <= window["end_date"]})
    assert (
        list(zip(map(pd.Timestamp, got["event_timestamp"].to_pylist()), got["ip"].to_pylist(), strict=True)) == expected
    )
    assert got["score"].null_count == 0
    assert len(expected) > 5


def test_a_range_over_views_with_different_keys_asks_for_a_spine(stores: Stores) -> None:
    window = {"start_date": START, "end_date": START + timedelta(days=1)}
    with pytest.raises(BadRequest, match="forever, late join on different keys"):
        ask(stores.ours, features=["forever:rate", "late:score"], **window).to_arrow()
    together = ask(stores.ours, features=["late:score", "overall:total"], **window).to_arrow()
    assert together.column_names == ["event_timestamp", "ip", "score", "total"]


def test_as_served_sees_only_what_the_last_run_had_written(stores: Stores) -> None:
    job = ask(stores.ours, spine(), ["late:score", "overall:total"])
    frame = spine()
    at_the_run = frame.assign(event_timestamp=frame["event_timestamp"].dt.floor("6h"))
    served = job.as_served(AsServed.every(6 * HOUR, T0, T0 + 60 * HOUR)).with_event_timestamps().to_arrow()
    known = ask(stores.ours, at_the_run, ["late:score", "overall:total"]).with_event_timestamps().to_arrow()
    assert served["late__event_timestamp"].equals(known["late__event_timestamp"])
    assert served["overall__event_timestamp"].equals(known["overall__event_timestamp"])
    assert served["total"].null_count > known["total"].null_count, "the TTL is judged at t, not at the run"
    assert not served["score"].equals(job.to_arrow()["score"])


def test_the_metadata_knows_keys_and_bounds_of_a_spine_in_sql(stores: Stores) -> None:
    sql = "SELECT 3 AS ip, unnest(['2017-11-07 12:00:00', '2017-11-08']) AS event_timestamp"
    metadata = ask(stores.ours, sql, ["late:score"]).metadata
    assert metadata is not None
    assert (metadata.keys, metadata.features) == (["ip"], ["late:score"])
    assert metadata.min_event_timestamp == datetime(2017, 11, 7, 12, tzinfo=UTC)
    assert metadata.max_event_timestamp == datetime(2017, 11, 8, tzinfo=UTC)


@pytest.mark.parametrize("path", ["saved.parquet", "saved_folder"])
def test_a_saved_dataset_comes_back(stores: Stores, tmp_path: Path, path: str) -> None:
    storage = SavedDatasetFileStorage(path=str(tmp_path / path))
    job = ask(stores.ours, spine().drop(columns="bid"), ["late:score", "forever:rate"])
    stores.ours.create_saved_dataset(job, path.partition(".")[0], storage)
    back = stores.ours.get_saved_dataset(path.partition(".")[0]).to_df()
    expected = job.to_df()
    columns = ["ip", "app", "event_timestamp", "score", "rate"]
    assert back[columns].equals(expected[columns])
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)


PULLS = {
    "composite key": ("by_ip_app", ["ip", "app"], ["clicks", "names"], "event_timestamp", None),
    "created": ("late", ["ip_number"], ["raw_score"], "at", "written"),
}


def pulled(made: FeatureStore, pull: str, kind: str, **bounds: Any) -> list[tuple[Any, ...]]:
    view, keys, features, timestamp, created = PULLS[kind]
    run = getattr(made._get_provider().offline_store, f"pull_{pull}_from_table_or_query")
    source = made.get_feature_view(view).batch_source
    frame = run(made.config, source, keys, features, timestamp, created, **bounds).to_arrow().to_pandas()
    times = (
        frame[timestamp].dt.tz_localize(None)
        if frame[timestamp].dt.tz is None
        else frame[timestamp].dt.tz_convert(None)
    )
    rows = pa.Table.from_pandas(
        frame.assign(**{timestamp: times.astype("datetime64[us]")}), preserve_index=False
    ).to_pylist()
    return sorted((tuple(sorted(row.items(), key=lambda item: item[0])) for row in rows), key=str)


@pytest.mark.parametrize("kind", PULLS)
@pytest.mark.parametrize("pull", ["latest", "all"])
def test_pulls_equal_feasts(stores: Stores, pull: str, kind: str) -> None:
    bounds = {"start_date": START + timedelta(hours=10), "end_date": START + timedelta(hours=30)}
    ours = pulled(stores.as_feast, pull, kind, **bounds)
    assert ours == pulled(stores.stock, pull, kind, **bounds)
    assert ours


def test_the_latest_row_at_a_time_is_one_that_was_there(stores: Stores) -> None:
    bounds = {"start_date": START, "end_date": START + timedelta(hours=30)}
    rows = [dict(row) for row in pulled(stores.ours, "latest", "created", **bounds)]
    assert all(row["written"] <= bounds["end_date"] for row in rows)
    assert rows != [dict(row) for row in pulled(stores.stock, "latest", "created", **bounds)]


def test_an_open_side_pulls_everything(stores: Stores) -> None:
    assert len(pulled(stores.ours, "all", "created")) == 1500


def test_feasts_own_materialize_works_for_a_view_without_entities(stores: Stores) -> None:
    stores.ours.materialize(START, START + timedelta(days=3), feature_views=["overall"])
    newest = pa.concat_tables(pq.read_table(stores.folder / f"total_{part}.parquet") for part in (1, 2))
    expected = newest.sort_by([("event_timestamp", "descending")])["total"][0].as_py()
    assert stores.ours.get_online_features(["overall:total", "late:score"], [{"ip": 3}]).to_dict()["total"] == [
        expected
    ]


def one_view(folder: Path, table: pa.Table, path: str = "table.parquet", **offline: Any) -> FeatureStore:
    """A store with one view, `v`, of the feature `value` by `k`."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target)
    source = FileSource(
        path=str(target if path == "table.parquet" else target.parent), timestamp_field="event_timestamp"
    )
    return store_of(folder, source, **offline)


def store_of(folder: Path, source: FileSource, dtype: Any = Int64, **offline: Any) -> FeatureStore:
    made = FeatureStore(
        config=RepoConfig(
            project="one",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.sqlite")},
            offline_store={"type": OURS, "threads": 1, **offline},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )
    key = Entity(name="k", value_type=ValueType.INT64)
    schema = [Field(name="k", dtype=Int64), Field(name="value", dtype=dtype)]
    made.apply([key, FeatureView(name="v", entities=[key], source=source, schema=schema)])
    return made


def small(values: list[Any], keys: list[int] | None = None) -> pa.Table:
    numbers = keys or list(range(len(values)))
    return pa.table({"k": numbers, "value": values, "event_timestamp": pa.array([T0] * len(values), US)})


ONE = pd.DataFrame({"k": [0, 1], "event_timestamp": [to_datetime(T0 + 1)] * 2})


def test_ties_are_refused_unless_the_configuration_says_otherwise(tmp_path: Path) -> None:
    table = small([5, 6, 7], keys=[0, 1, 1])
    refusing = one_view(tmp_path / "refusing", table)
    with pytest.raises(TablesRefused, match=r"view 'v': .* k=1, event_timestamp=2017-11-06T00:00:00Z \(2 rows\)"):
        refusing.get_historical_features(ONE, ["v:value"]).to_df()
    taking = one_view(tmp_path / "taking", table, refuse_ties=False)
    assert taking.get_historical_features(ONE, ["v:value"]).to_df()["value"].tolist() in ([5, 6], [5, 7])


def test_values_take_their_declared_type(tmp_path: Path) -> None:
    one_view(tmp_path, small([0.1, 2.5]))
    made = store_of(tmp_path, FileSource(path="table.parquet", timestamp_field="event_timestamp"), dtype=Float32)
    column = ask(made, ONE, ["v:value"]).to_arrow()["value"]
    assert column.type == pa.float32()
    assert column.to_pylist() == [np.float32(0.1), 2.5]


def test_a_value_that_its_declared_type_cannot_hold_is_refused(tmp_path: Path) -> None:
    made = one_view(tmp_path, small([1.0, 2.5]))
    with pytest.raises(TablesRefused, match="feature 'value' is declared int64 and its table holds double"):
        ask(made, ONE, ["v:value"]).to_arrow()


@pytest.mark.parametrize("path", ["table.parquet", "folder/part.parquet"], ids=["file", "folder"])
def test_written_rows_are_joined(tmp_path: Path, path: str) -> None:
    made = one_view(tmp_path, small([5]), path)
    late = pd.DataFrame({"k": [0, 1], "value": [8, 9], "event_timestamp": [to_datetime(T0 + 1)] * 2})
    made.write_to_offline_store("v", late)
    assert ask(made, ONE, ["v:value"]).to_df()["value"].tolist() == [8, 9]
    everything = made._get_provider().offline_store.pull_all_from_table_or_query
    source = made.get_feature_view("v").batch_source
    assert source is not None
    assert everything(made.config, source, ["k"], ["value"], "event_timestamp").to_arrow().num_rows == 3


def test_rows_with_other_columns_are_not_written(tmp_path: Path) -> None:
    made = one_view(tmp_path, small([5]))
    provider = made._get_provider()
    with pytest.raises(
        BadRequest,
        match=r"the rows have the columns \['k', 'value'\] and the table \['k', 'value', 'event_timestamp'\]",
    ):
        provider.offline_store.offline_write_batch(
            made.config, made.get_feature_view("v"), small([6]).select(["k", "value"]), None
        )


@pytest.mark.parametrize("partitions", [None, ["__log_date"]], ids=["flat", "by day"])
def test_logged_features_come_back(stores: Stores, tmp_path: Path, partitions: list[str] | None) -> None:
    destination = FileLoggingDestination(path=str(tmp_path / "logs"), partition_by=partitions)
    service = FeatureService(
        name="logged",
        features=[stores.ours.get_feature_view("late")],
        logging_config=LoggingConfig(destination=destination),
    )
    logs = pa.table(
        {
            "ip": pa.array([1, 2]),
            "late__score": pa.array([0.5, None]),
            "late__score__timestamp": pa.array([T0, T0], US),
            "late__score__status": pa.array([2, 2], pa.int32()),
            "__log_timestamp": pa.array([T0, T0 + 1], US),
            "__log_date": pa.array([START.date()] * 2),
            "__request_id": pa.array(["a", "b"]),
        }
    )
    for part in (logs.slice(0, 1), logs.slice(1)):
        stores.ours.write_logged_features(part, service)
    provider = stores.ours._get_provider()
    back = provider.retrieve_feature_service_logs(
        service, START, START + timedelta(days=1), stores.ours.config, stores.ours.registry
    )
    assert (
        back.to_arrow().sort_by("__request_id").select(["ip", "late__score"]).equals(logs.select(["ip", "late__score"]))
    )


def test_a_url_is_read_and_written_through_its_file_system(tmp_path: Path) -> None:
    pq.write_table(small([5, 6]), tmp_path / "table.parquet")
    source = FileSource(path=f"file://{tmp_path}/table.parquet", timestamp_field="event_timestamp")
    made = store_of(tmp_path, source)
    job = ask(made, ONE, ["v:value"])
    assert job.to_df()["value"].tolist() == [5, 6]
    target = SavedDatasetFileStorage(path=f"file://{tmp_path}/saved.parquet")
    job.persist(target)
    assert pq.read_table(tmp_path / "saved.parquet").equals(job.to_arrow())
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(target)


def test_a_delta_table_is_a_source_and_a_saved_dataset(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake", reason="the extra feast[delta] is not installed")
    from feast.data_format import DeltaFormat

    deltalake.write_deltalake(str(tmp_path / "table"), small([5, 6]))
    source = FileSource(path=str(tmp_path / "table"), file_format=DeltaFormat(), timestamp_field="event_timestamp")
    made = store_of(tmp_path, source)
    job = ask(made, ONE, ["v:value"])
    assert job.to_df()["value"].tolist() == [5, 6]
    late = pd.DataFrame({"k": [1], "value": [9], "event_timestamp": [to_datetime(T0 + 1)]})
    made._get_provider().offline_store.offline_write_batch(
        made.config, made.get_feature_view("v"), pa.Table.from_pandas(late, preserve_index=False), None
    )
    assert job.to_df()["value"].tolist() == [5, 9]
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "saved"), file_format=DeltaFormat()))
    assert deltalake.DeltaTable(str(tmp_path / "saved")).to_pyarrow_table()["value"].to_pylist() == [5, 9]


def test_a_path_without_files_is_named(tmp_path: Path) -> None:
    made = one_view(tmp_path, small([5]))
    (tmp_path / "table.parquet").unlink()
    with pytest.raises(TablesRefused, match=r"no Parquet file at .*table\.parquet\. Build the table first"):
        ask(made, ONE, ["v:value"]).to_arrow()


def test_a_string_that_is_neither_query_nor_path_says_what_a_spine_is(stores: Stores) -> None:
    with pytest.raises(TablesRefused, match=r"no Parquet file at SELEC 1\. A spine is a path or a query"):
        ask(stores.ours, "SELEC 1", ["late:score"])


def test_text_that_is_no_time_is_named(stores: Stores) -> None:
    with pytest.raises(BadColumn, match=r"column 'event_timestamp': .*Write times as 2017-11-09T04:00:00Z"):
        ask(stores.ours, ONE.assign(k=1, event_timestamp="yesterday-ish"), ["late:score"])


def test_a_slow_retrieval_ends_at_its_timeout(stores: Stores) -> None:
    endless = (
        "SELECT 1 AS ip, make_timestamptz(a.range * b.range) AS event_timestamp FROM range(100000) a, range(100000) b"
    )
    with pytest.raises(TimeoutError, match="longer than 1 s"):
        ask(stores.ours, endless, ["late:score"]).to_arrow(timeout=1)


def test_the_limits_of_the_configuration_hold_for_a_retrieval(tmp_path: Path) -> None:
    made = one_view(tmp_path, small([5]), memory_limit="100MB", temp_directory=str(tmp_path / "spill"))
    job = ask(made, "SELECT 1 AS k, now() AS event_timestamp", ["v:value"])
    names = ("memory_limit", "temp_directory", "threads")
    found = job.result.open().execute(f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}").fetchone()
    assert found == ("95.3 MiB", str(tmp_path / "spill"), 1)


def test_the_configuration_refuses_words_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="refuse_tie\n"):
        LockstepOfflineStoreConfig.model_validate({"refuse_tie": False})
    with pytest.raises(ValueError, match="'available' or 'stock'"):
        LockstepOfflineStoreConfig.model_validate({"created": "sometimes"})


def test_the_sql_of_a_retrieval_can_be_read(job: HistoricalJob) -> None:
    assert job.to_sql().count("ASOF LEFT JOIN") == 3
