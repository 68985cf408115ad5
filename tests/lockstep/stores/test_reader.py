"""Feast's SDK on a stock Redis, filled by a real materialize, read through FeastReader."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float32, Float64, Int64, String, UnixTimestamp

from lockstep.errors import PlanRefused
from lockstep.plan import Array, Column, DType, Given, JoinKey, Plan, Stored, View
from lockstep.redis_server import run_redis
from lockstep.resolve import ViewRows, resolve
from lockstep.status import Status
from lockstep.stores.reader import PATIENCE, FeastReader
from lockstep.stores.repo import connection_string
from lockstep.times import SECOND, parse_time, to_datetime

T = parse_time("2017-11-09T12:00:00.123457Z")
"""Not a whole second, and no float of seconds: whoever cuts or rounds is seen."""
LAST_CLICK = parse_time("2017-11-09T11:59:30Z")

PLAN = Plan(
    project="reader_test",
    service="reader_test_v1",
    views=(
        View("ip_activity", (JoinKey("ip", "ip", DType.INT64),), 60 * SECOND, ""),
        View("ip_flags", (JoinKey("ip", "ip", DType.INT64),), None, ""),
        View("site_activity", (JoinKey("site", "publisher", DType.STRING),), None, ""),
        View("all_clicks", (), None, ""),
    ),
    columns=(
        Column("ip", DType.INT64, Given("join_key")),
        Column("publisher", DType.STRING, Given("join_key")),
        Column("clicks", DType.INT64, Stored("ip_activity", "clicks"), default=-1),
        Column("rate", DType.FLOAT64, Stored("ip_activity", "rate")),
        Column("small", DType.FLOAT32, Stored("ip_activity", "small")),
        Column("recent", DType.STRING, Stored("ip_activity", "recent")),
        Column("last_click", DType.TIMESTAMP, Stored("ip_activity", "last_click")),
        Column("flag", DType.FLOAT32, Stored("ip_flags", "flag")),
        Column("site_clicks", DType.FLOAT32, Stored("site_activity", "clicks")),
        Column("total", DType.FLOAT64, Stored("all_clicks", "total")),
    ),
    inputs=("clicks", "rate", "small", "recent", "flag", "site_clicks", "total"),
)


def table(folder: Path, name: str, rows: dict[str, list[Any]], schema: dict[str, str]) -> FileSource:
    """A Parquet file with these columns, and the source that names it."""
    frame = pd.DataFrame({column: pd.Series(values, dtype=schema[column]) for column, values in rows.items()})
    path = folder / f"{name}.parquet"
    frame.to_parquet(path)
    return FileSource(name=f"{name}_table", path=str(path), timestamp_field="event_timestamp")


def feature_views(folder: Path) -> list[Any]:
    """Address 1 has a full row, 2 a row of NULLs a microsecond older, 3 none; only 1 has flags."""
    ip = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
    site = Entity(name="site", join_keys=["site"], value_type=ValueType.STRING)
    time = "datetime64[us, UTC]"
    activity = table(
        folder,
        "ip_activity",
        {
            "ip": [1, 2],
            "clicks": [7, None],
            "rate": [0.1, None],
            "small": [0.25, None],
            "recent": ["12 3", None],
            "last_click": [to_datetime(LAST_CLICK), None],
            "event_timestamp": [to_datetime(T), to_datetime(T - 1)],
        },
        {
            "ip": "int64",
            "clicks": "Int64",
            "rate": "float64",
            "small": "float32",
            "recent": "object",
            "last_click": time,
            "event_timestamp": time,
        },
    )
    at_t = {"event_timestamp": [to_datetime(T)]}
    floats = {"ip": "int64", "site": "object", "event_timestamp": time}
    flags = table(folder, "ip_flags", {"ip": [1], "flag": [1.0], **at_t}, {**floats, "flag": "float32"})
    sites = table(folder, "site_activity", {"site": ["news"], "clicks": [5.0], **at_t}, {**floats, "clicks": "float32"})
    total = table(folder, "all_clicks", {"total": [99.0], **at_t}, {**floats, "total": "float64"})
    ttl = timedelta(days=1)
    fields = {"clicks": Int64, "rate": Float64, "small": Float32, "recent": String, "last_click": UnixTimestamp}
    return [
        ip,
        site,
        FeatureView(
            name="ip_activity",
            entities=[ip],
            ttl=ttl,
            source=activity,
            schema=[Field(name=name, dtype=dtype) for name, dtype in fields.items()],
        ),
        FeatureView(name="ip_flags", entities=[ip], ttl=ttl, source=flags, schema=[Field(name="flag", dtype=Float32)]),
        FeatureView(
            name="site_activity", entities=[site], ttl=ttl, source=sites, schema=[Field(name="clicks", dtype=Float32)]
        ),
        FeatureView(name="all_clicks", entities=[], ttl=ttl, source=total, schema=[Field(name="total", dtype=Float64)]),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> FeatureStore:
    """A store whose views were materialized up to a second after T."""
    folder = tmp_path_factory.mktemp("repo")
    made = open_store(folder, redis_url)
    made.apply(feature_views(folder))
    made.materialize(to_datetime(T - 3600 * SECOND), to_datetime(T + SECOND))
    return made


def open_store(folder: Path, redis_url: str) -> FeatureStore:
    """The store of a folder's registry, with stock plug-ins."""
    config = RepoConfig(
        project="reader_test",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "dask"},  # the DuckDB one cannot materialize views without entities
        online_store={"type": "redis", "connection_string": connection_string(redis_url) + PATIENCE},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


@pytest.fixture
async def reader(store: FeatureStore) -> AsyncIterator[FeastReader]:
    opened = FeastReader(store)
    yield opened
    await opened.close()


def keys(*ips: int, publisher: str = "news") -> dict[str, Array]:
    """The given columns of some ips and one publisher."""
    return {"ip": np.array(ips, np.int64), "publisher": np.array([publisher] * len(ips), object)}


def usable(rows: ViewRows, field: str) -> list[Any]:
    """Values, None where NULL or not found."""
    states = rows.states[list(rows.values).index(field)]
    return [None if state else value for value, state in zip(rows.values[field], states, strict=True)]


async def test_values_come_back_in_the_types_of_the_plan(reader: FeastReader) -> None:
    found = (await reader.read(PLAN, keys(1), 1))["ip_activity"]
    assert {name: (values.dtype, values[0]) for name, values in found.values.items()} == {
        "clicks": (np.dtype("int64"), 7),
        "rate": (np.dtype("float64"), 0.1),
        "small": (np.dtype("float32"), 0.25),
        "recent": (np.dtype("object"), "12 3"),
        "last_click": (np.dtype("float64"), LAST_CLICK),
    }


async def test_rows_come_back_in_the_order_of_the_request(reader: FeastReader) -> None:
    found = (await reader.read(PLAN, keys(3, 1, 2, 1), 4))["ip_activity"]
    assert usable(found, "clicks") == [None, 7, None, 7]


async def test_a_key_that_redis_never_saw_is_not_found_and_a_null_is_null(reader: FeastReader) -> None:
    found = (await reader.read(PLAN, keys(1, 2, 3), 3))["ip_activity"]
    assert found.found.tolist() == [Status.PRESENT, Status.PRESENT, Status.NOT_FOUND]
    for field in found.values:
        assert [value is None for value in usable(found, field)] == [False, True, True], field


async def test_a_key_known_to_one_view_is_not_found_in_another_of_the_same_entity(reader: FeastReader) -> None:
    found = (await reader.read(PLAN, keys(1, 2), 2))["ip_flags"]
    assert found.found.tolist() == [Status.PRESENT, Status.NOT_FOUND]


async def test_event_timestamps_are_exact_to_the_microsecond(reader: FeastReader) -> None:
    found = (await reader.read(PLAN, keys(1, 2), 2))["ip_activity"]
    assert found.event_us.tolist() == [T, T - 1]


@pytest.mark.parametrize(
    ("t", "status"),
    [
        pytest.param(T - 1, Status.FUTURE, id="a microsecond before the row"),
        pytest.param(T, Status.PRESENT, id="at the row's time"),
        pytest.param(T + 60 * SECOND, Status.PRESENT, id="at the end of the TTL"),
        pytest.param(T + 60 * SECOND + 1, Status.STALE, id="a microsecond after the TTL"),
    ],
)
async def test_the_rule_for_time_holds_at_each_bound(reader: FeastReader, t: int, status: Status) -> None:
    given = keys(1)
    resolved = resolve(PLAN, await reader.read(PLAN, given, 1), given, np.array([t], np.int64))
    assert resolved.status["clicks"].tolist() == [status]


async def test_a_view_joined_under_an_alias_is_read_by_its_own_key(reader: FeastReader) -> None:
    found = (await reader.read(PLAN, keys(1, publisher="news"), 1))["site_activity"]
    assert usable(found, "clicks") == [5.0]


async def test_a_view_without_entities_has_one_row_for_all(reader: FeastReader) -> None:
    found = (await reader.read(PLAN, keys(1, 8), 2))["all_clicks"]
    assert usable(found, "total") == [99.0, 99.0]


async def test_a_plan_of_an_entityless_view_alone_can_be_read(reader: FeastReader) -> None:
    plan = replace(PLAN, views=PLAN.views[3:], columns=PLAN.columns[-1:], inputs=("total",))
    found = await reader.read(plan, {}, 3)
    assert usable(found["all_clicks"], "total") == [99.0, 99.0, 99.0]


async def test_a_value_of_another_type_than_the_plan_is_unreadable_and_named(
    reader: FeastReader, caplog: pytest.LogCaptureFixture
) -> None:
    columns = tuple(replace(one, dtype=DType.INT64, default=0) if one.name == "rate" else one for one in PLAN.columns)
    found = (await reader.read(replace(PLAN, columns=columns), keys(1, 3), 2))["ip_activity"]
    assert found.found.tolist() == [Status.UNREADABLE, Status.NOT_FOUND]
    assert "'ip_activity'" in caplog.text
    assert "'rate'" in caplog.text


async def test_a_view_that_the_registry_lacks_is_named(reader: FeastReader) -> None:
    views = (replace(PLAN.views[0], name="renamed"),)
    column = replace(PLAN.columns[2], source=Stored("renamed", "clicks"))
    plan = replace(PLAN, views=views, columns=(PLAN.columns[0], column), inputs=("clicks",))
    with pytest.raises(PlanRefused, match=r"renamed.*Run `feast apply`"):
        await reader.read(plan, keys(1), 1)


async def test_a_feature_that_its_view_lacks_is_named(reader: FeastReader) -> None:
    column = replace(PLAN.columns[2], source=Stored("ip_activity", "clocks"))
    plan = replace(PLAN, views=PLAN.views[:1], columns=(PLAN.columns[0], column), inputs=("clicks",))
    with pytest.raises(PlanRefused, match="clocks"):
        await reader.read(plan, keys(1), 1)


async def test_a_view_applied_while_the_reader_runs_is_found(tmp_path: Path, redis_url: str) -> None:
    views = feature_views(tmp_path)
    earlier, later = open_store(tmp_path, redis_url), open_store(tmp_path, redis_url)
    earlier.apply(views[:3])
    reader = FeastReader(earlier)
    plan = replace(PLAN, views=PLAN.views[:1], columns=PLAN.columns[:7], inputs=("clicks",))
    await reader.read(plan, keys(1), 1)
    later.apply(views)
    assert (await reader.read(PLAN, keys(9), 1))["ip_flags"].found.tolist() == [Status.NOT_FOUND]
    await reader.close()


def test_a_reader_of_this_project_has_patience_with_redis_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setenv("LOCKSTEP_HOME", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", redis_url)
    opened = FeastReader.open()
    assert opened.store.config.online_store.connection_string == connection_string(redis_url) + PATIENCE


async def test_a_redis_that_refuses_connections_is_unreachable_at_once(
    store: FeatureStore, tmp_path: Path, redis_url: str
) -> None:
    with run_redis(tmp_path) as other:
        gone = other
    reader = FeastReader(open_store(Path(store.config.registry.path).parent, gone))
    async with asyncio.timeout(2):
        found = await reader.read(PLAN, keys(1, 2), 2)
    await reader.close()
    assert {status for rows in found.values() for status in rows.found} == {Status.UNREACHABLE}


def server_pid(redis_url: str) -> int:
    """Process id of a Redis."""
    with redis.Redis.from_url(redis_url) as client:
        facts: Any = client.info("server")
        return int(facts["process_id"])


async def test_a_redis_that_hangs_is_unreachable_once_patience_ends_and_read_again_afterwards(
    store: FeatureStore, tmp_path: Path
) -> None:
    with run_redis(tmp_path) as hanging:
        pid = server_pid(hanging)
        reader = FeastReader(open_store(Path(store.config.registry.path).parent, hanging))
        assert (await reader.read(PLAN, keys(1), 1))["ip_activity"].found.tolist() == [Status.NOT_FOUND]
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(10):
            stopped = await reader.read(PLAN, keys(1), 1)
        os.kill(pid, signal.SIGCONT)
        again = await reader.read(PLAN, keys(1), 1)
        await reader.close()
    assert stopped["ip_activity"].found.tolist() == [Status.UNREACHABLE]
    assert again["ip_activity"].found.tolist() == [Status.NOT_FOUND]
