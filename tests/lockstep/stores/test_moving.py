"""Rows that Feast's own Redis store wrote, moved into packed rows, and read through both stores."""

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast import types as ft
    from feast.infra.online_stores.helpers import _mmh3, _redis_key
    from feast.infra.online_stores.redis import RedisOnlineStore
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.value_type import ValueType

from lockstep.errors import BadRequest
from lockstep.redis_server import run_redis
from lockstep.stores.moving import Compared, Moved, compare_rows, count_keys, import_rows
from lockstep.stores.redis_connect import RedisType, Where, connect
from lockstep.times import SECOND, now_us, to_datetime

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

OURS, STOCK = "lockstep.stores.online.LockstepOnlineStore", "redis"
IP = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
SITE = Entity(name="site", join_keys=["site"], value_type=ValueType.STRING)
PLACE = Entity(name="place", join_keys=["place"], value_type=ValueType.INT32)


def view(name: str, entities: list[Entity], fields: dict[str, Any], *, created: bool = False) -> FeatureView:
    source = FileSource(
        name=f"{name}_file",
        path=f"{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created" if created else "",
    )
    types = {IP.name: ft.Int64, SITE.name: ft.String, PLACE.name: ft.Int32}
    keys = [Field(name=each.name, dtype=types[each.name]) for each in entities]
    schema = keys + [Field(name=field, dtype=dtype) for field, dtype in fields.items()]
    return FeatureView(name=name, entities=entities, schema=schema, ttl=timedelta(days=1), source=source)


CLICKS = view("clicks", [IP], {"n": ft.Int64, "rate": ft.Float32, "apps": ft.Array(ft.String)})
FACTS = view("facts", [IP], {"seen": ft.UnixTimestamp, "labels": ft.Set(ft.String), "blob": ft.Bytes})
PAIRS = view("pairs", [SITE, IP], {"n": ft.Int64}, created=True)
PLACES = view("places", [PLACE], {"n": ft.Int64})
TOTAL = view("total", [], {"n": ft.Int64})
VIEWS = [CLICKS, FACTS, PAIRS, PLACES, TOTAL]

Make = Callable[..., FeatureStore]


def made(folder: Path, kind: str, connection: str, views: list[FeatureView] = VIEWS, **online: Any) -> FeatureStore:
    """A store of project shop: two of them share its registry, as in a team that moves."""
    folder.mkdir(exist_ok=True)
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": kind, "connection_string": connection, **online},
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(repo_path=str(folder), config=config)
    store.apply([IP, SITE, PLACE, *views])
    return store


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url.removeprefix("redis://")


@pytest.fixture
def client(address: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(f"redis://{address}") as found:
        found.flushall()
        yield found


@pytest.fixture
def stock(client: redis.Redis, address: str, tmp_path: Path) -> FeatureStore:
    return made(tmp_path / "repo", STOCK, address)


@pytest.fixture
def ours(stock: FeatureStore, address: str, tmp_path: Path) -> FeatureStore:
    return made(tmp_path / "repo", OURS, address)


def ago(seconds: float) -> datetime:
    return to_datetime(now_us() - round(seconds * SECOND)).replace(microsecond=123457)


def fill(store: FeatureStore, keys: int = 40) -> None:
    """Rows of every view."""
    ips, event = list(range(keys)), [ago(60 + i) for i in range(keys)]
    clicks = {"n": [2**53 + i for i in ips], "rate": [i / 7 for i in ips], "apps": [["a"] * (i % 3) for i in ips]}
    facts = {"seen": event, "labels": [{"x", str(i)} for i in ips], "blob": [bytes([i % 256]) for i in ips]}
    pairs = {"site": ["é" * (i % 3) for i in ips], "n": ips, "created": event}
    for name, columns in {"clicks": clicks, "facts": facts, "pairs": pairs}.items():
        store.write_to_online_store(name, pd.DataFrame({"ip": ips, "event_timestamp": event, **columns}))
    places = pd.DataFrame({"place": [-(2**31), 7], "n": pd.array([1, None], "Int64"), "event_timestamp": ago(9)})
    store.write_to_online_store("places", places)
    # Feast's write_to_online_store puts a view without entities where its own reads do not look; an engine does not.
    entityless = EntityKey(join_keys=["__dummy_id"], entity_values=[Value(string_val="")])
    total: list[Any] = [(entityless, {"n": Value(int64_val=99)}, ago(9), None)]
    store._get_provider().online_write_batch(store.config, store.get_feature_view("total"), total, None)


REQUESTS = [{"ip": ip, "site": "é" * (ip % 3), "place": 7 if ip % 2 else -(2**31)} for ip in range(40)]
FEATURES = [f"{each.name}:{field.name}" for each in VIEWS for field in each.features]


def read(store: FeatureStore) -> tuple[dict[str, list[Any]], list[list[str]]]:
    """Values and event timestamps of all features of all keys."""
    response = store.get_online_features(FEATURES, REQUESTS, full_feature_names=True)
    return response.to_dict(), [[str(each) for each in one.event_timestamps] for one in response.proto.results]


def by_name(moved: list[Moved]) -> dict[str, Moved]:
    return {one.view: one for one in moved}


def test_every_row_reads_the_same_through_both_stores(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis
) -> None:
    fill(stock)
    expected = read(stock)
    moved = by_name(import_rows(ours, client))
    assert {name: one.counts.written for name, one in moved.items()} == {
        "clicks": 40,
        "facts": 40,
        "pairs": 40,
        "places": 2,
        "total": 1,
    }
    assert all(one.found == one.counts.total and not one.refused for one in moved.values())
    assert read(ours) == expected
    assert read(stock) == expected, "the old store goes on as before"


def test_only_the_views_that_are_named_are_moved(stock: FeatureStore, ours: FeatureStore, client: redis.Redis) -> None:
    fill(stock)
    moved = import_rows(ours, client, ["pairs", "total"])
    assert [(one.view, one.counts.written) for one in moved] == [("pairs", 40), ("total", 1)]
    assert compare_rows(ours, client, ["clicks"])[0].missing == 40


def test_a_second_run_writes_nothing_and_newer_rows_stay(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis
) -> None:
    fill(stock)
    import_rows(ours, client)
    ours.write_to_online_store(
        "clicks", pd.DataFrame([{"ip": 3, "n": 1, "rate": 0.5, "apps": ["new"], "event_timestamp": ago(5)}])
    )
    again = by_name(import_rows(ours, client))
    assert (again["clicks"].counts.same, again["clicks"].counts.older, again["clicks"].counts.written) == (39, 1, 0)
    assert read(ours)[0]["clicks__n"][3] == 1


def test_a_run_that_was_killed_is_finished_by_the_next(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockstep.stores.moving._AT_ONCE", 10)
    fill(stock, 300)

    class Killed(Exception):
        pass

    steps = count()

    def die(_: float) -> None:
        if next(steps) == 4:
            raise Killed

    with pytest.raises(Killed):
        import_rows(ours, client, ["clicks"], die)
    counts = by_name(import_rows(ours, client, ["clicks"]))["clicks"].counts
    assert counts.same > 0
    assert counts.written > 0
    compared = compare_rows(ours, client, ["clicks"])[0]
    assert (compared.agrees, compared.missing) == (True, 0)
    assert compared.equal >= 300, "SCAN may give a key twice"


def test_a_later_write_of_the_same_row_with_a_created_timestamp_wins(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis
) -> None:
    event = ago(60)
    row = {"ip": 1, "site": "x", "n": 1, "event_timestamp": event, "created": event}
    stock.write_to_online_store("pairs", pd.DataFrame([row]))
    import_rows(ours, client)
    ours.write_to_online_store("pairs", pd.DataFrame([{**row, "n": 2}]))
    assert ours.get_online_features(["pairs:n"], [{"ip": 1, "site": "x"}]).to_dict()["n"] == [2]
    assert compare_rows(ours, client, ["pairs"])[0].newer == 1


def hash_of(ip: int, project: str = "shop") -> bytes:
    key = EntityKey(join_keys=["ip"], entity_values=[Value(int64_val=ip)])
    return _redis_key(project, key)


def test_what_cannot_be_read_is_named_and_counted_and_the_rest_is_moved(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis
) -> None:
    fill(stock, 10)
    client.hdel(hash_of(1), "_ts:clicks")
    client.hdel(hash_of(2), _mmh3("clicks:n"))
    client.hset(hash_of(3), _mmh3("clicks:n"), b"\xff\xff\xff")
    client.hset(hash_of(4), _mmh3("clicks:n"), Value(string_val="many").SerializeToString())
    client.hset(hash_of(5), "_ts:clicks", b"\xff\xff")
    client.hset(hash_of(6), "_ts:clicks", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
    client.hset(hash_of(7)[:-12] + b"shop", mapping={"_ts:clicks": b""})  # a key that is cut short
    client.hset(
        _redis_key("shop", EntityKey(join_keys=["ip"], entity_values=[Value(string_val="8")])), "_ts:clicks", b""
    )
    moved = by_name(import_rows(ours, client, ["clicks"]))["clicks"]
    assert moved.counts.written == 4
    assert moved.refused == {
        "no event timestamp": 1,
        "a feature is missing": 2,
        "a value cannot be read": 2,
        "a value does not fit its type": 1,
        "the event timestamp is out of range": 1,
        "the key cannot be read": 1,
    }
    named = "\n".join(moved.named)
    assert "ip=2: a feature is missing (n)" in named
    assert "ip=4: a value does not fit its type (column 'n'" in named
    assert ours.get_online_features(["clicks:n"], [{"ip": ip} for ip in (0, 2)]).to_dict()["n"] == [2**53, None]


def test_a_join_key_of_another_type_is_named(stock: FeatureStore, ours: FeatureStore, client: redis.Redis) -> None:
    fill(stock, 1)
    mapping = client.hgetall(hash_of(0))
    client.flushall()
    client.hset(_redis_key("shop", EntityKey(join_keys=["ip"], entity_values=[Value(int32_val=0)])), mapping=mapping)
    moved = by_name(import_rows(ours, client, ["clicks"]))["clicks"]
    assert moved.refused == {"a join key has another type": 1}
    assert moved.named == ["ip=0: a join key has another type (ip is int32, declared int64)"]


def test_other_projects_and_other_keys_are_left_alone(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis
) -> None:
    fill(stock, 3)
    client.rename(hash_of(0), hash_of(0, "bigshop"))
    client.rename(hash_of(1), hash_of(1, "shop2"))
    client.hset("shop", "_ts:clicks", b"")
    client.hset(b"\xff\xff\xff\xffshop", "_ts:clicks", b"")
    client.set(hash_of(9), "a string")
    moved = by_name(import_rows(ours, client, ["clicks"]))["clicks"]
    assert (moved.found, moved.counts.written, moved.refused) == (1, 1, {})


def test_hashes_that_expire_while_they_are_read_are_counted(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis
) -> None:
    fill(stock, 5)

    class Expiring(redis.Redis):  # type: ignore[misc] # redis-py has no types here
        """After each SCAN one of the keys that it gave expires."""

        def scan(self, *arguments: Any, **options: Any) -> Any:
            cursor, keys = super().scan(*arguments, **options)
            client.delete(hash_of(3))
            return cursor, keys

    with Expiring(connection_pool=client.connection_pool) as source:
        moved = by_name(import_rows(ours, source, ["clicks"]))["clicks"]
    assert (moved.counts.written, moved.refused) == (4, {"the hash expired before it was read": 1})
    assert moved.named == ["ip=3: the hash expired before it was read"]


def test_rows_past_their_ttl_are_moved_and_counted_and_rows_of_the_future_refused(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis
) -> None:
    events = [datetime.now(UTC) - timedelta(days=3), datetime.now(UTC) + timedelta(days=1)]
    stock.write_to_online_store("places", pd.DataFrame({"place": [1, 2], "n": [1, 2], "event_timestamp": events}))
    moved = by_name(import_rows(ours, client, ["places"]))["places"]
    assert (moved.found, moved.stale, moved.counts.written, moved.counts.future) == (2, 1, 1, 1)


def test_another_redis_may_hold_the_hashes(
    stock: FeatureStore, client: redis.Redis, address: str, tmp_path: Path
) -> None:
    fill(stock)
    expected = read(stock)
    with run_redis(tmp_path / "other") as url:
        ours = made(tmp_path / "repo", OURS, url.removeprefix("redis://"))
        source = connect(Where(address))
        import_rows(ours, source)
        assert read(ours) == expected
        assert redis.Redis.from_url(url).dbsize() == 123 + len(VIEWS), "rows and records"


def test_a_cluster_gives_and_takes(redis_cluster: str, tmp_path: Path) -> None:
    source = connect(Where(redis_cluster, RedisType.CLUSTER))
    source.flushall(target_nodes="primaries")
    stock = made(tmp_path / "repo", STOCK, redis_cluster, redis_type="redis_cluster")
    fill(stock)
    expected = read(stock)
    ours = made(tmp_path / "repo", OURS, redis_cluster, redis_type="redis_cluster")
    assert count_keys(source) == 83 + len(VIEWS)
    import_rows(ours, source)
    assert read(ours) == expected
    assert all(isinstance(one, Compared) and one.agrees for one in compare_rows(ours, source))


def test_the_way_back_is_the_old_store_as_it_was(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis, address: str
) -> None:
    fill(stock)
    expected = read(stock)
    import_rows(ours, client)
    # The snippet of docs/moving-in-and-out.md that frees the old hashes and leaves the registry as it is.
    RedisOnlineStore().teardown(stock.config, stock.list_batch_feature_views(), [])
    assert read(ours)[0] == expected[0]
    left = [key for key in client.scan_iter(_type="HASH") if not key.startswith(b"lockstep:")]
    assert [b"__dummy_id" in key for key in left] == [True], "Feast forgets a view without entities"
    assert client.dbsize() == 123 + len(VIEWS) + 1


def test_no_command_that_blocks_redis_is_sent(stock: FeatureStore, ours: FeatureStore, client: redis.Redis) -> None:
    fill(stock)
    client.config_resetstat()
    import_rows(ours, client)
    compare_rows(ours, client)
    sent = {name.removeprefix("cmdstat_").split("|")[0] for name in client.info("commandstats")}
    assert "scan" in sent
    assert not sent & {"keys", "hgetall", "hkeys", "flushall", "flushdb", "del", "smembers", "sort"}


def test_a_changed_row_of_the_same_time_is_different_and_named(
    stock: FeatureStore, ours: FeatureStore, client: redis.Redis
) -> None:
    fill(stock, 5)
    import_rows(ours, client)
    client.hset(hash_of(2), _mmh3("clicks:n"), Value(int64_val=5).SerializeToString())
    found = compare_rows(ours, client, ["clicks"])[0]
    assert (found.equal, found.different, found.agrees) == (4, 1, False)
    assert found.named == ["ip=2: different"]


def test_a_view_that_the_registry_lacks_is_said_by_name(ours: FeatureStore, client: redis.Redis) -> None:
    with pytest.raises(BadRequest, match=r"project 'shop' has no feature view 'click'\. Did you mean 'clicks'\?"):
        import_rows(ours, client, ["click"])


def test_a_store_that_is_not_ours_is_said_by_name(stock: FeatureStore, client: redis.Redis) -> None:
    with pytest.raises(BadRequest, match=r"is RedisOnlineStore\. Write `type: lockstep"):
        import_rows(stock, client)


def test_two_features_under_one_field_of_a_hash_are_refused(
    ours: FeatureStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockstep.stores.moving._mmh3", lambda name: name[-1].encode())
    with pytest.raises(
        BadRequest, match=r"(clicks:n and facts:seen|facts:seen and clicks:n) share a field of Feast's hashes"
    ):
        import_rows(ours, client)
