"""The store through Feast's own SDK, beside Feast's own Redis store on the same rows."""

import asyncio
import logging
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import redis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    import feast
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
    from feast import types as ft
    from feast.data_source import PushMode
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.value_type import ValueType

from lockstep.keys import KeySpace
from lockstep.rows import pack
from lockstep.stores.online import LockstepOnlineStore, LockstepOnlineStoreConfig
from lockstep.times import SECOND, now_us, to_datetime

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

OURS = "lockstep.stores.online.LockstepOnlineStore"
IP = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
SITE = Entity(name="site", join_keys=["site"], value_type=ValueType.STRING)

TYPES: dict[str, tuple[Any, list[Any]]] = {
    "count": (ft.Int64, [7, -(2**62), None]),
    "small": (ft.Int32, [7, -(2**31), None]),
    "rate": (ft.Float64, [0.1, float("inf"), None]),
    "score": (ft.Float32, [0.1, -0.0, None]),
    "fresh": (ft.Bool, [True, False, None]),
    "name": (ft.String, ["é", "", None]),
    "blob": (ft.Bytes, [b"\x00\xff", b"", None]),
    "seen": (ft.UnixTimestamp, [datetime(2020, 1, 1, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC), None]),
    "counts": (ft.Array(ft.Int64), [[1, 2], [2**62], None]),
    "vector": (ft.Array(ft.Float32), [[0.5, 0.25], [1.0], None]),
    "rates": (ft.Array(ft.Float64), [[0.1], [0.2, 0.3], None]),
    "smalls": (ft.Array(ft.Int32), [[1], [2, 3], None]),
    "flags": (ft.Array(ft.Bool), [[True, False], [False], None]),
    "tags": (ft.Array(ft.String), [["a", ""], ["é"], None]),
    "blobs": (ft.Array(ft.Bytes), [[b"a"], [b"", b"\xff"], None]),
    "stamps": (
        ft.Array(ft.UnixTimestamp),
        [[datetime(2020, 1, 1, tzinfo=UTC)], [datetime(2021, 1, 1, tzinfo=UTC)], None],
    ),
    "facts": (ft.Map, [{"a": "b"}, {"a": "d"}, None]),
    "labels": (ft.Set(ft.String), [{"a", "b"}, {"c"}, None]),
}


def view(
    name: str, fields: dict[str, Any], entities: list[Entity], ttl: timedelta | None, created: bool = False
) -> FeatureView:
    """A view that is pushed to; its file never needs to exist."""
    source = FileSource(
        name=f"{name}_file",
        path=f"{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created" if created else "",
    )
    keys = [Field(name=each.join_key, dtype=ft.Int64 if each is IP else ft.String) for each in entities]
    schema = keys + [Field(name=field, dtype=dtype) for field, dtype in fields.items()]
    return FeatureView(
        name=name,
        entities=entities,
        schema=schema,
        ttl=ttl,
        source=PushSource(name=f"{name}_push", batch_source=source),
    )


ALL_TYPES = view("all_types", {name: dtype for name, (dtype, _) in TYPES.items()}, [IP], timedelta(days=1))
CLICKS = view("clicks", {"n": ft.Int64, "apps": ft.String}, [IP], timedelta(hours=1))
PAIRS = view("pairs", {"n": ft.Int64}, [IP, SITE], timedelta(hours=1))
TOTAL = view("total", {"n": ft.Int64}, [], None)
CORRECTED = view("corrected", {"n": ft.Int64}, [IP], timedelta(hours=1), created=True)
VIEWS = [ALL_TYPES, CLICKS, PAIRS, TOTAL, CORRECTED]

Make = Callable[..., FeatureStore]


@pytest.fixture(scope="module")
def make(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make a FeatureStore of a project, on our store or on another."""

    def made(project: str, **online: Any) -> FeatureStore:
        folder = tmp_path_factory.mktemp(project)
        connection = redis_url.removeprefix("redis://")
        config = RepoConfig(
            project=project,
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": OURS, "connection_string": connection, **online},
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
        return FeatureStore(repo_path=str(folder), config=config)

    return made


@pytest.fixture(scope="module")
def applied(make: Make) -> FeatureStore:
    store = make("shop")
    store.apply([IP, SITE, *VIEWS])
    return store


@pytest.fixture
def store(applied: FeatureStore, redis_client: redis.Redis) -> FeatureStore:
    return applied


def ago(seconds: float) -> datetime:
    return to_datetime(now_us() - round(seconds * SECOND))


def write(store: FeatureStore, name: str, rows: list[dict[str, Any]]) -> None:
    store.write_to_online_store(name, pd.DataFrame(rows))


def read(store: FeatureStore, features: list[str], rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = store.get_online_features(features, rows).to_dict()
    return found


def statuses(response: Any, name: str) -> list[str]:
    place = list(response.proto.metadata.feature_names.val).index(name)
    return [FieldStatus.Name(status) for status in response.proto.results[place].statuses]


def online(store: FeatureStore) -> LockstepOnlineStore:
    found = store._get_provider().online_store
    assert isinstance(found, LockstepOnlineStore)
    return found


def all_types_rows() -> pd.DataFrame:
    frame = pd.DataFrame({"ip": [1, 2, 3], "event_timestamp": [ago(60)] * 3})
    for name, (_, found) in TYPES.items():
        frame[name] = pd.array(found, dtype="Int64") if name in ("count", "small") else pd.Series(found, dtype=object)
    return frame


@pytest.mark.parametrize("name", list(TYPES))
def test_every_type_is_read_as_it_was_written_and_as_stock_feast_reads_it(
    store: FeatureStore, make: Make, name: str, request: pytest.FixtureRequest
) -> None:
    ours, stock = request.getfixturevalue("all_types_read")
    expected = TYPES[name][1]
    if name == "score":
        expected = [None if value is None else float(np.float32(value)) for value in expected]
    assert repr(ours[name]) == repr(expected) or ours[name] == expected
    assert repr(ours[name]) == repr(stock[name]) or ours[name] == stock[name]


@pytest.fixture(scope="module")
def all_types_read(applied: FeatureStore, make: Make) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """All types through our store and through Feast's own."""
    found = []
    stock = make("stock", type="redis")
    stock.apply([IP, ALL_TYPES])
    for each in (applied, stock):
        each.write_to_online_store("all_types", all_types_rows())
        features = [f"all_types:{name}" for name in TYPES]
        found.append(each.get_online_features(features, [{"ip": ip} for ip in (1, 2, 3)]).to_dict())
    return found[0], found[1]


def arrow_row(table: dict[str, Any], store: FeatureStore, name: str) -> None:
    """Rows as an engine writes them: from Arrow, past Feast's Value messages."""
    stored = online(store).stored_view(store.config, store.get_feature_view(name))
    found = pa.table(table)
    rows = pack(found, stored.schema, event="event")
    online(store).writer(store.config, stored).write(stored.record.key_space.encode(found), rows)


def test_null_among_the_elements_of_a_list_stays_null(store: FeatureStore) -> None:
    columns = {
        field.name: pa.nulls(1, field.dtype.arrow)
        for field in online(store).stored_view(store.config, store.get_feature_view("all_types")).schema.fields
    }
    columns["count"] = pa.array([2**63 - 1])
    columns["counts"] = pa.array([[1, None, 3]])
    columns["tags"] = pa.array([["a", None, ""]])
    columns["vector"] = pa.array([[None, 0.5]], pa.list_(pa.float32()))
    columns["stamps"] = pa.array([[None, ago(5)]], pa.list_(pa.timestamp("us", "UTC")))
    arrow_row({"ip": [9], "event": pa.array([ago(5)], pa.timestamp("us", "UTC")), **columns}, store, "all_types")
    found = read(
        store,
        [
            "all_types:count",
            "all_types:small",
            "all_types:counts",
            "all_types:tags",
            "all_types:vector",
            "all_types:stamps",
        ],
        [{"ip": 9}],
    )
    assert (found["count"], found["small"]) == ([2**63 - 1], [None])
    assert found["counts"] == [[1, None, 3]]
    assert found["tags"] == [["a", None, ""]]
    assert found["vector"] == [[None, 0.5]]
    assert found["stamps"][0][0] is None


def test_event_timestamps_keep_their_microseconds(store: FeatureStore) -> None:
    event = ago(10).replace(microsecond=123457)
    write(store, "clicks", [{"ip": 1, "n": 1, "apps": "a", "event_timestamp": event}])
    response = store.get_online_features(["clicks:n"], [{"ip": 1}])
    stamp = response.proto.results[-1].event_timestamps[0]
    assert stamp.seconds * SECOND + stamp.nanos // 1000 == round(event.timestamp() * SECOND)


def test_several_views_and_keys_are_one_round_trip(store: FeatureStore, redis_client: redis.Redis) -> None:
    event = ago(10)
    write(store, "clicks", [{"ip": ip, "n": ip, "apps": str(ip), "event_timestamp": event} for ip in range(5)])
    write(store, "pairs", [{"ip": ip, "site": "x", "n": -ip, "event_timestamp": event} for ip in range(5)])
    write(store, "total", [{"n": 99, "event_timestamp": event}])
    features = ["clicks:n", "clicks:apps", "pairs:n", "total:n"]
    rows = [{"ip": ip, "site": "x"} for ip in (3, 1, 3, 77)]
    store.get_online_features(features, rows, full_feature_names=True)
    before = redis_client.info("commandstats")["cmdstat_mget"]["calls"]
    found = store.get_online_features(features, rows, full_feature_names=True).to_dict()
    assert redis_client.info("commandstats")["cmdstat_mget"]["calls"] == before + 1
    assert found["clicks__n"] == [3, 1, 3, None]
    assert found["clicks__apps"] == ["3", "1", "3", None]
    assert found["pairs__n"] == [-3, -1, -3, None]
    assert found["total__n"] == [99] * 4


async def test_async_reads_and_pushes_give_the_same(store: FeatureStore) -> None:
    await store.push_async("clicks_push", pd.DataFrame([{"ip": 1, "n": 5, "apps": "a", "event_timestamp": ago(5)}]))
    for _ in range(2):
        found = await store.get_online_features_async(["clicks:n", "clicks:apps"], [{"ip": 1}, {"ip": 2}])
        assert found.to_dict() == read(store, ["clicks:n", "clicks:apps"], [{"ip": 1}, {"ip": 2}])
    await online(store).close()


def test_each_event_loop_has_connections_of_its_own(store: FeatureStore) -> None:
    write(store, "clicks", [{"ip": 1, "n": 5, "apps": "a", "event_timestamp": ago(5)}])

    async def once() -> Any:
        found = await store.get_online_features_async(["clicks:n"], [{"ip": 1}])
        await online(store).close()
        return found.to_dict()["n"]

    assert [asyncio.run(once()) for _ in range(2)] == [[5], [5]]


def test_a_push_reaches_the_view(store: FeatureStore) -> None:
    store.push(
        "clicks_push", pd.DataFrame([{"ip": 4, "n": 5, "apps": "a", "event_timestamp": ago(5)}]), to=PushMode.ONLINE
    )
    assert read(store, ["clicks:n"], [{"ip": 4}])["n"] == [5]


def test_an_older_row_and_an_equal_one_are_left_out_and_a_correction_is_taken(store: FeatureStore) -> None:
    event = ago(100)
    rows = [
        {"ip": 1, "n": 1, "event_timestamp": event, "created": ago(50)},
        {"ip": 1, "n": 2, "event_timestamp": event, "created": ago(40)},
        {"ip": 1, "n": 3, "event_timestamp": event, "created": ago(45)},
        {"ip": 1, "n": 4, "event_timestamp": ago(200), "created": ago(1)},
    ]
    for row in rows:
        write(store, "corrected", [row])
    assert read(store, ["corrected:n"], [{"ip": 1}])["n"] == [2]


@pytest.mark.parametrize(
    ("age_us", "usable"), [(3600 * SECOND, True), (3600 * SECOND + 1, False), (0, True), (-1, False)]
)
def test_the_ttl_is_judged_to_the_microsecond(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, age_us: int, usable: bool
) -> None:
    event = now_us() - SECOND
    write(store, "clicks", [{"ip": 1, "n": 5, "apps": "a", "event_timestamp": to_datetime(event)}])
    monkeypatch.setattr("lockstep.stores.online.now_us", lambda: event + age_us)
    response = store.get_online_features(["clicks:n"], [{"ip": 1}, {"ip": 2}])
    assert response.to_dict()["n"] == ([5] if usable else [None]) + [None]
    expected = "PRESENT" if usable else "OUTSIDE_MAX_AGE" if age_us > 0 else "NOT_FOUND"
    assert statuses(response, "n") == [expected, "NOT_FOUND"]


def test_rows_dated_after_the_clock_are_refused_and_counted(
    store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        store, "clicks", [{"ip": ip, "n": 5, "apps": "a", "event_timestamp": ago(-60 if ip else 60)} for ip in range(3)]
    )
    assert read(store, ["clicks:n"], [{"ip": 0}, {"ip": 1}])["n"] == [5, None]
    assert "2 rows are dated after the clock" in caplog.text


@pytest.mark.parametrize(
    ("grace", "expected_s"), [({}, 7200), ({"expire_grace_s": 60}, 3660), ({"expire_grace_s": 0}, 3600)]
)
def test_expiry_is_ttl_and_grace_from_the_write(
    make: Make, redis_client: redis.Redis, grace: dict[str, int], expected_s: int
) -> None:
    store = make(f"expiry{expected_s}", **grace)
    store.apply([IP, CLICKS, TOTAL])
    write(store, "clicks", [{"ip": 1, "n": 5, "apps": "a", "event_timestamp": ago(5)}])
    write(store, "total", [{"n": 5, "event_timestamp": ago(5)}])
    left = sorted(redis_client.ttl(key) for key in redis_client.scan_iter() if not key.startswith(b"lockstep:"))
    assert left[0] == -1
    assert expected_s - 5 <= left[1] <= expected_s


def test_rows_of_an_older_schema_are_read_by_a_process_that_never_saw_it(make: Make, redis_client: redis.Redis) -> None:
    old = view("evolving", {"n": ft.Int32, "gone": ft.String, "kind": ft.Int64}, [IP], timedelta(hours=1))
    new = view("evolving", {"n": ft.Int64, "added": ft.Float64, "kind": ft.String}, [IP], timedelta(hours=1))
    store = make("evolving")
    store.apply([IP, old])
    write(store, "evolving", [{"ip": 1, "n": 5, "gone": "x", "kind": 1, "event_timestamp": ago(5)}])
    store.apply([IP, new])
    write(store, "evolving", [{"ip": 2, "n": 6, "added": 0.5, "kind": "k", "event_timestamp": ago(5)}])
    fresh = FeatureStore(repo_path=str(store.repo_path), config=store.config)
    response = fresh.get_online_features(["evolving:n", "evolving:added", "evolving:kind"], [{"ip": 1}, {"ip": 2}])
    found = response.to_dict()
    assert found["n"] == [5, 6]
    assert found["added"] == [None, 0.5]
    assert found["kind"] == [None, "k"]
    assert statuses(response, "added") == ["NOT_FOUND", "PRESENT"]


def test_bytes_that_nobody_wrote_count_as_not_found_and_are_named(
    store: FeatureStore, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, "clicks", [{"ip": ip, "n": 5, "apps": "a", "event_timestamp": ago(5)} for ip in (1, 2)])
    stored = online(store).stored_view(store.config, store.get_feature_view("clicks"))
    key = stored.record.key_space.encode_one({"ip": 1})
    redis_client.setrange(key, 30, b"\xff")
    assert read(store, ["clicks:n"], [{"ip": 1}, {"ip": 2}])["n"] == [None, 5]
    assert "'clicks': 1 rows are unreadable" in caplog.text


def test_apply_writes_the_record_and_dropping_a_view_deletes_its_rows_alone(
    make: Make, redis_client: redis.Redis
) -> None:
    store = make("dropping")
    store.apply([IP, SITE, CLICKS, PAIRS])
    assert sorted(redis_client.keys()) == [b"lockstep:view:dropping:clicks", b"lockstep:view:dropping:pairs"]
    write(store, "clicks", [{"ip": ip, "n": 5, "apps": "a", "event_timestamp": ago(5)} for ip in range(50)])
    write(store, "pairs", [{"ip": ip, "site": "x", "n": 5, "event_timestamp": ago(5)} for ip in range(50)])
    store.apply([], objects_to_delete=[CLICKS], partial=False)
    assert redis_client.dbsize() == 51
    assert read(store, ["pairs:n"], [{"ip": 7, "site": "x"}])["n"] == [5]
    store.teardown()  # type: ignore[no-untyped-call] # Feast's own gap
    assert redis_client.dbsize() == 0


def test_two_projects_on_one_redis_do_not_meet(make: Make, store: FeatureStore) -> None:
    other = make("other")
    other.apply([IP, CLICKS])
    write(store, "clicks", [{"ip": 1, "n": 5, "apps": "a", "event_timestamp": ago(5)}])
    assert read(other, ["clicks:n"], [{"ip": 1}])["n"] == [None]


def test_apply_works_while_redis_is_down(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    store = make("offline", connection_string="127.0.0.1:1")
    with caplog.at_level(logging.WARNING, logger="lockstep.stores.online"):
        store.apply([IP, CLICKS])
    assert "Redis does not answer" in caplog.text


def test_a_null_join_key_is_refused_and_counted(store: FeatureStore, caplog: pytest.LogCaptureFixture) -> None:
    rows = pd.DataFrame(
        {"ip": pd.array([1, None], "Int64"), "n": [1, 2], "apps": ["a", "b"], "event_timestamp": [ago(5)] * 2}
    )
    store.write_to_online_store("clicks", rows)
    assert read(store, ["clicks:n"], [{"ip": 1}])["n"] == [1]
    assert "1 rows have a NULL join key" in caplog.text


def test_keys_written_from_arrow_are_those_that_feast_asks_for(store: FeatureStore) -> None:
    event = pa.array([ago(5)] * 2, pa.timestamp("us", "UTC"))
    arrow_row({"ip": [5, 6], "site": ["é", ""], "n": [1, 2], "event": event}, store, "pairs")
    assert read(store, ["pairs:n"], [{"ip": 5, "site": "é"}, {"ip": 6, "site": ""}])["n"] == [1, 2]


def test_feast_reads_and_writes_on_a_cluster(make: Make, redis_cluster: str) -> None:
    store = make("clustered", redis_type="redis_cluster", connection_string=redis_cluster)
    client = online(store).client(store.config)
    client.flushall(target_nodes="primaries")
    store.apply([IP, SITE, CLICKS, PAIRS])
    write(store, "clicks", [{"ip": ip, "n": ip, "apps": "a", "event_timestamp": ago(5)} for ip in range(200)])
    write(store, "pairs", [{"ip": ip, "site": "x", "n": -ip, "event_timestamp": ago(5)} for ip in range(200)])
    rows = [{"ip": ip, "site": "x"} for ip in range(200)]
    features = ["clicks:n", "pairs:n"]
    found = store.get_online_features(features, rows, full_feature_names=True).to_dict()
    assert found["clicks__n"] == list(range(200))
    assert found["pairs__n"] == [-ip for ip in range(200)]

    async def read_async() -> Any:
        answer = await store.get_online_features_async(features, rows, full_feature_names=True)
        await online(store).close()
        return answer.to_dict()

    assert asyncio.run(read_async()) == found
    store.teardown()  # type: ignore[no-untyped-call] # Feast's own gap
    client = online(store).client(store.config)
    assert sum(node.redis_connection.dbsize() for node in client.get_primaries()) == 0


def test_the_vectors_that_feast_precomputes_are_kept(store: FeatureStore) -> None:
    keys = [EntityKey(join_keys=["ip"], entity_values=[Value(int64_val=ip)]) for ip in (1, 2)]
    online(store).write_precomputed_vector(store.config, "service", "shop", keys[0], b"vector")
    assert online(store).read_precomputed_vectors(store.config, "service", "shop", keys) == [b"vector", None]


def test_no_command_that_blocks_redis_is_ever_sent(make: Make, redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()
    store = make("commands")
    store.apply([IP, CLICKS])
    write(store, "clicks", [{"ip": ip, "n": 5, "apps": "a", "event_timestamp": ago(5)} for ip in range(300)])
    read(store, ["clicks:n"], [{"ip": 1}])
    store.teardown()  # type: ignore[no-untyped-call] # Feast's own gap
    sent = {name.removeprefix("cmdstat_").split("|")[0] for name in redis_client.info("commandstats")}
    assert not sent & {"keys", "flushall", "flushdb", "del", "hkeys", "smembers", "sort"}


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValueError, match="key_ttl_seconds"):
        LockstepOnlineStoreConfig(key_ttl_seconds=5)  # type: ignore[call-arg] # that is the point


def test_a_key_space_is_that_of_the_declared_join_keys(store: FeatureStore) -> None:
    stored = online(store).stored_view(store.config, store.get_feature_view("pairs"))
    assert isinstance(stored.record.key_space, KeySpace)
    assert [field.name for field in stored.record.key_space.in_order] == ["ip", "site"]
    assert feast.__version__.startswith("0.67")
