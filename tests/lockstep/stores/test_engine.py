"""Materialize through Feast's SDK into a real Redis, row by row beside what the table holds."""

import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from click.testing import CliRunner
from pydantic import ValidationError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast import BatchFeatureView, Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast import types as ft
    from feast.cli.cli import cli
    from feast.infra.common.materialization_job import MaterializationTask
    from feast.repo_config import RegistryConfig
    from feast.value_type import ValueType

from lockstep.errors import BadRequest, MaterializeFailed, TablesRefused
from lockstep.redis_server import run_redis
from lockstep.rows import pack
from lockstep.stores import materialize as module
from lockstep.stores.engine import LockstepEngine
from lockstep.stores.materialize import Job, Report, materialize
from lockstep.stores.online import LockstepOnlineStore
from lockstep.stores.records import watermark
from lockstep.stores.values import opaque
from lockstep.stores.views import StoredView, stored_view
from lockstep.times import DAY, HOUR, MINUTE, SECOND, format_time, now_us, to_datetime

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

ONLINE, OFFLINE = "lockstep.stores.online.LockstepOnlineStore", "lockstep.stores.offline.LockstepOfflineStore"
ENGINE = "lockstep.stores.engine.LockstepEngine"
T = (now_us() - 6 * HOUR) // SECOND * SECOND
"""Up to here the first run takes rows; recent, so that the SDK finds no row stale."""
IP = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
SITE = Entity(name="site", join_keys=["site"], value_type=ValueType.STRING)

Rows = Sequence[dict[str, Any]]


def stamps(times_us: Sequence[int | None]) -> pa.Array:
    return pa.array(times_us, pa.int64()).cast(pa.timestamp("us", "UTC"))


def clicks(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """A table of (ip, n, event µs) or (ip, n, event µs, created µs)."""
    names = ["ip", "n", "at", "written"][: len(rows[0])]
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    times = {name: stamps(columns.pop(name)) for name in names[2:]}
    return pa.table({**{name: pa.array(values, pa.int64()) for name, values in columns.items()}, **times})


@dataclass
class Shop:
    """One view over one Parquet file, and the Redis it fills."""

    store: FeatureStore
    view: FeatureView
    client: redis.Redis
    folder: Path

    def write(self, rows: pa.Table | Sequence[tuple[Any, ...]]) -> pa.Table:
        """Replace the table."""
        table = rows if isinstance(rows, pa.Table) else clicks(rows)
        pq.write_table(table, self.folder / "table.parquet.new")
        (self.folder / "table.parquet.new").rename(self.folder / "table.parquet")
        return table

    def materialize(self, end_us: int = T, start_us: int = T - DAY) -> str:
        """`feast materialize`; what it printed."""
        with redirect_stdout(StringIO()) as out:
            self.store.materialize(to_datetime(start_us), to_datetime(end_us))
        return out.getvalue()

    def incremental(self, end_us: int = T) -> str:
        """`feast materialize-incremental`; what it printed."""
        with redirect_stdout(StringIO()) as out:
            self.store.materialize_incremental(to_datetime(end_us))
        return out.getvalue()

    def refresh(self) -> None:
        """Read the registry again, as a feature server does every now and then.

        Feast writes its file in place: a reader in that moment sees nothing, and looks once more.
        """
        refresh: Any = self.store.refresh_registry
        give_up = time.monotonic() + 5
        refresh()
        while not self.store.list_feature_views():
            assert time.monotonic() < give_up, "the registry stays empty"
            refresh()

    @property
    def engine(self) -> Any:
        """What batch_engine names."""
        provider: Any = self.store._get_provider()
        return provider.batch_engine

    @property
    def stored(self) -> StoredView:
        return stored_view(self.store.project, self.view.name, self.store.get_feature_view(self.view.name))

    @property
    def watermark(self) -> int | None:
        return watermark(self.client, self.stored.record)

    def rows(self) -> dict[bytes, bytes]:
        """All rows of the view in Redis."""
        keys = list(self.client.scan_iter(match=self.stored.record.key_space.prefix.replace(b"\\", b"\\\\") + b"*"))
        return dict(zip(keys, self.client.mget(keys), strict=True)) if keys else {}

    def numbers(self) -> dict[int, int]:
        """Ip -> n, as the SDK reads it, of the ips that have a row."""
        found = self.store.get_online_features([f"{self.view.name}:n"], [{"ip": ip} for ip in range(20)]).to_dict()
        return {ip: n for ip, n in enumerate(found["n"]) if n is not None}

    def job(self, **given: Any) -> Job:
        """A run without Feast's SDK around it."""
        config, table = self.store.config, self.store.get_feature_view(self.view.name)
        return Job(
            config, LockstepOnlineStore(), table, **{"start_us": T - DAY, "end_us": T, "command": "again", **given}
        )


Open = Callable[..., Shop]


@pytest.fixture
def open_shop(redis_url: str, tmp_path: Path) -> Iterator[Open]:
    """Open a shop of one view."""

    def opened(url: str = redis_url, **given: Any) -> Shop:
        view = click_view(tmp_path, **given.pop("view", {}))
        view = given.pop("made", view)
        stores = {
            "online_store": {"type": ONLINE, "connection_string": url, "patience_s": 0.3},
            "offline_store": {"type": OFFLINE},
            "batch_engine": {"type": ENGINE},
            **given,
        }
        registry = RegistryConfig(path=str(tmp_path / "registry.db"), serve_features_while_materializing=True)
        config = RepoConfig(
            project="shop", provider="local", registry=registry, entity_key_serialization_version=3, **stores
        )
        store = FeatureStore(config=config)
        store.apply([IP, SITE, view])
        return Shop(store, view, client, tmp_path)

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield opened


def click_view(folder: Path, **given: Any) -> FeatureView:
    """N by ip, TTL 1 day."""
    kind = given.pop("kind", FeatureView)
    source = FileSource(
        name="clicks_file",
        path=str(folder / "table.parquet"),
        timestamp_field=given.pop("timestamp", "at"),
        created_timestamp_column=given.pop("created", ""),
        field_mapping=given.pop("mapping", {}),
    )
    entities = given.get("entities", [IP])
    keys = [Field(name=each.join_key, dtype=ft.Int64 if each is IP else ft.String) for each in entities]
    fields = given.pop("fields", {"n": ft.Int64})
    view: FeatureView = kind(
        **{
            "name": "clicks",
            "entities": [IP],
            "ttl": timedelta(days=1),
            "source": source,
            "schema": [*keys, *(Field(name=name, dtype=dtype) for name, dtype in fields.items())],
            **given,
        }
    )
    return view


@pytest.fixture
def shop(open_shop: Open) -> Shop:
    return open_shop()


@pytest.fixture
def dated(open_shop: Open) -> Shop:
    """Its rows have a created timestamp."""
    return open_shop(view={"created": "written"})


# --- every row equals the table's


FIELDS: dict[str, tuple[Any, list[Any]]] = {
    "count": (ft.Int64, [2**62 + 1, None, -7]),
    "small": (ft.Int32, [2**31 - 1, None, 0]),
    "rate": (ft.Float64, [0.1, None, float("inf")]),
    "score": (ft.Float32, [0.1, None, -0.0]),
    "fresh": (ft.Bool, [True, None, False]),
    "name": (ft.String, ["é", None, ""]),
    "blob": (ft.Bytes, [b"\x00\xff", None, b""]),
    "seen": (ft.UnixTimestamp, [datetime(2020, 1, 1, 0, 0, 0, 123456, UTC), None, datetime(1969, 1, 1, tzinfo=UTC)]),
    "vector": (ft.Array(ft.Float32), [[0.5, None], None, []]),
    "tags": (ft.Array(ft.String), [["a", None, ""], None, []]),
    "stamps": (ft.Array(ft.UnixTimestamp), [[datetime(2020, 1, 1, tzinfo=UTC), None], None, []]),
    "facts": (ft.Map, [{"a": "b"}, None, {}]),
    "labels": (ft.Set(ft.String), [["a"], None, ["b"]]),
}
MAPS = pa.map_(pa.string(), pa.string())
ARROW = {"small": pa.int32(), "score": pa.float32(), "vector": pa.list_(pa.float32()), "facts": MAPS}
CASES: dict[str, dict[str, Any]] = {
    "one key": {},
    "composite key": {"entities": [IP, SITE]},
    "no key": {"entities": []},
    "created": {"created": "written"},
    "mapped": {
        "timestamp": "when",
        "created": "made",
        "mapping": {"address": "ip", "c0": "count", "at": "when", "written": "made"},
    },
    "no ttl": {"ttl": timedelta(0), "entities": [IP, SITE], "created": "written"},
}


def drawn(rows: int) -> pa.Table:
    """Rows of a few keys, times in any order, some created after T."""
    values = {
        name: pa.array([values[i % 3] for i in range(rows)], ARROW.get(name)) for name, (_, values) in FIELDS.items()
    }
    at = [T - (i * 7919 % rows) * MINUTE for i in range(rows)]
    keys = {"ip": [i % 11 for i in range(rows)], "site": [f"s{i % 3}" for i in range(rows)]}
    return pa.table(
        {**keys, **values, "at": stamps(at), "written": stamps([us + i % 5 * HOUR for i, us in enumerate(at)])}
    )


def newest(table: pa.Table, keys: Sequence[str], created: bool) -> pa.Table:
    """Of each key the row with the greatest (event, created) among those that were there at T."""
    order = ["at", "written"] if created else ["at"]
    times = {name: table[name].cast(pa.int64()).to_pylist() for name in order}
    best: dict[tuple[Any, ...], int] = {}
    for i, key in enumerate(
        zip(*(table[name].to_pylist() for name in keys), strict=True) if keys else [()] * len(table)
    ):
        known = max(times[name][i] for name in order) <= T
        if known and (
            key not in best or [times[name][i] for name in order] > [times[name][best[key]] for name in order]
        ):
            best[key] = i
    return table.take(list(best.values()))


@pytest.mark.parametrize("case", CASES)
def test_every_row_equals_the_tables(open_shop: Open, case: str) -> None:
    given = CASES[case]
    shop = open_shop(view={"fields": {name: dtype for name, (dtype, _) in FIELDS.items()}, **given})
    table = drawn(300)
    renamed = {"ip": "address", "count": "c0"} if case == "mapped" else {}
    shop.write(table.rename_columns([renamed.get(name, name) for name in table.column_names]))
    shop.materialize()
    record = shop.stored.record
    expected = newest(table, [field.name for field in record.join_keys], record.created)
    for name in ("facts", "labels"):
        value_type = FIELDS[name][0].to_value_type()
        expected = expected.set_column(expected.column_names.index(name), name, opaque(expected[name], value_type))
    packed = pack(expected, record.schema, event="at", created="written" if record.created else None)
    keys = record.key_space.encode(expected)
    assert shop.rows() == dict(zip(keys.to_pylist(), packed.to_pylist(), strict=True))
    assert shop.watermark == T


def test_many_batches_arrive_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 64)
    shop.write([(ip, ip * 3, T - ip) for ip in range(1_000)])
    assert "1,000 written, 0 same, 0 older, 0 future, 0 keyless" in shop.materialize()
    assert len(shop.rows()) == 1_000


# --- which rows a run takes


def test_a_row_created_after_the_end_is_not_taken(dated: Shop) -> None:
    dated.write([(1, 10, T - HOUR, T), (1, 11, T - MINUTE, T + 1), (2, 20, T - HOUR, T + 1), (3, 30, T + 1, T)])
    dated.materialize()
    assert dated.numbers() == {1: 10}
    dated.incremental(T + HOUR)
    assert dated.numbers() == {1: 11, 2: 20, 3: 30}


def test_late_rows_and_corrections_arrive_with_the_next_run(dated: Shop) -> None:
    first = [(1, 10, T - HOUR, T - HOUR), (2, 20, T - HOUR, T - HOUR)]
    dated.write(first)
    dated.materialize()
    late = [(3, 30, T - 2 * HOUR, T + MINUTE), (1, 11, T - HOUR, T + MINUTE), (2, 19, T - 3 * HOUR, T + MINUTE)]
    dated.write([*first, *late])
    assert "2 written, 0 same, 1 older" in dated.incremental(T + HOUR)
    assert dated.numbers() == {1: 11, 2: 20, 3: 30}


def test_a_plain_run_takes_what_came_since_the_last_one_too(dated: Shop) -> None:
    dated.write([(1, 10, T - HOUR, T - HOUR)])
    dated.materialize()
    dated.write([(1, 11, T - HOUR, T + MINUTE)])
    dated.materialize(T + HOUR, start_us=T + MINUTE)
    assert dated.numbers() == {1: 11}


@pytest.mark.parametrize(("lateness", "expected"), [(None, {1: 10}), ("2h", {1: 10, 2: 20})])
def test_late_rows_without_created_arrive_within_the_lateness(
    open_shop: Open, lateness: str | None, expected: dict[int, int]
) -> None:
    shop = open_shop(view={"tags": {"lockstep.lateness": lateness} if lateness else {}})
    shop.write([(1, 10, T - MINUTE)])
    shop.materialize()
    shop.write([(1, 10, T - MINUTE), (2, 20, T - HOUR), (3, 30, T - 3 * HOUR)])
    shop.incremental(T + MINUTE)
    assert shop.numbers() == expected


def test_a_lateness_that_is_no_duration_is_said(open_shop: Open) -> None:
    shop = open_shop(view={"tags": {"lockstep.lateness": "soon"}})
    shop.write([(1, 10, T)])
    shop.materialize()
    with pytest.raises(BadRequest, match=r"view 'clicks', tag lockstep.lateness: 'soon'"):
        shop.materialize()


@pytest.mark.parametrize("empty", [lambda client: None, lambda client: client.flushall()], ids=["new", "emptied"])
@pytest.mark.parametrize("kind", ["materialize", "materialize-incremental"])
def test_an_empty_redis_is_filled_whole(shop: Shop, kind: str, empty: Callable[[redis.Redis], Any]) -> None:
    shop.write([(1, 10, T - 5 * HOUR), (2, 20, T - 23 * HOUR), (3, 30, T - 47 * HOUR), (4, 40, T - 49 * HOUR)])
    if empty(shop.client) is not None:
        shop.materialize()
        shop.client.flushall()
    said = shop.incremental() if kind == "materialize-incremental" else shop.materialize(start_us=T - MINUTE)
    assert "3 written" in said  # the last has expired: its TTL of a day, and a day of grace
    assert "whole up to" in said
    assert set(shop.numbers()) == {1}
    assert shop.watermark == T


def test_rows_that_were_pushed_into_an_emptied_redis_do_not_hide_that_it_was_emptied(shop: Shop) -> None:
    shop.write([(1, 10, T - HOUR), (2, 20, T - HOUR)])
    shop.materialize()
    shop.client.flushall()
    other = FeatureStore(config=shop.store.config)
    pushed = clicks([(5, 50, T)]).rename_columns(["ip", "n", "at"]).to_pandas()
    other.write_to_online_store("clicks", df=pushed)
    shop.incremental()
    assert shop.numbers() == {1: 10, 2: 20, 5: 50}


def test_the_watermark_never_passes_the_clock(shop: Shop) -> None:
    shop.write([(1, 10, T), (1, 11, now_us() + HOUR), (2, 20, now_us() + HOUR)])
    assert "1 written, 0 same, 0 older, 2 future" in shop.materialize(now_us() + DAY)
    assert shop.numbers() == {1: 10}
    assert shop.watermark is not None
    assert T < shop.watermark <= now_us()


def test_rows_without_a_key_are_counted(shop: Shop) -> None:
    shop.write([(None, 1, T), (None, 2, T - 1), (1, 10, T)])
    assert "1 written, 0 same, 0 older, 0 future, 2 keyless" in shop.materialize()


def test_ties_are_refused_before_anything_is_written(shop: Shop) -> None:
    shop.write([(1, 10, T), (1, 11, T), (2, 20, T)])
    with pytest.raises(TablesRefused, match="ip=1"):
        shop.materialize()
    assert shop.rows() == {}
    assert shop.watermark is None


def test_a_changed_definition_is_rewritten_whole(open_shop: Open) -> None:
    shop = open_shop(view={"tags": {"lockstep.definition": "one"}})
    shop.write([(1, 10, T - 3 * HOUR), (2, 20, T - HOUR)])
    shop.materialize()
    shop.write([(1, -10, T - 3 * HOUR), (2, -20, T - HOUR)])
    assert "0 written" in shop.incremental()
    shop.store.apply([click_view(shop.folder, tags={"lockstep.definition": "two"})])
    assert "2 written, 0 same, 0 older, 0 future, 0 keyless (its definition changed: whole" in shop.incremental()
    assert shop.numbers() == {1: -10, 2: -20}
    assert "0 written" in shop.incremental()


# --- at any moment


def test_two_runs_at_once_leave_what_one_leaves(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 500)
    shop.write([(ip, ip * 3, T - ip) for ip in range(5_000)])
    reports: list[Report] = []
    runs = [
        threading.Thread(target=lambda end: reports.append(materialize(shop.job(end_us=end))), args=(end,))
        for end in (T, T + HOUR)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    both = shop.rows()
    shop.client.flushall()
    shop.materialize()
    assert both == shop.rows()
    assert sum(report.counts.written for report in reports) == len(both) == 5_000
    assert all(report.counts.total == 5_000 for report in reports)


CHILD = """
import sys
from datetime import UTC, datetime, timedelta
from feast import FeatureStore
store = FeatureStore(repo_path=sys.argv[1])
store.materialize(*(datetime.fromtimestamp(int(us) / 1e6, UTC) for us in sys.argv[2:]))
"""


def yaml(shop: Shop, url: str) -> Path:
    """feature_store.yaml of a shop."""
    (shop.folder / "feature_store.yaml").write_text(
        f"""
project: shop
provider: local
registry: {{path: {shop.folder / "registry.db"}, serve_features_while_materializing: true}}
online_store: {{type: {ONLINE}, connection_string: "{url}"}}
offline_store: {{type: {OFFLINE}}}
batch_engine: {{type: {ENGINE}}}
entity_key_serialization_version: 3
"""
    )
    return shop.folder


def test_a_killed_run_is_run_again_and_reads_go_on(shop: Shop, redis_url: str) -> None:
    shop.write([(1, 10, T - HOUR)])
    shop.materialize()
    shop.write([(1, 10, T - HOUR), *((ip, ip * 3, T - HOUR + ip) for ip in range(2, 100_002))])
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(yaml(shop, redis_url)), str(T - DAY), str(T + HOUR)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        reads = 0
        while shop.client.dbsize() < 2_000 and run.poll() is None:
            shop.refresh()
            assert shop.numbers()[1] == 10
            reads += 1
            time.sleep(0.05)
        run.kill()
    assert reads > 0
    assert 2_000 <= len(shop.rows()) < 100_001
    assert shop.watermark == T
    shop.refresh()
    assert shop.numbers()[1] == 10
    shop.materialize(T + HOUR)
    killed = shop.rows()
    shop.client.flushall()
    shop.materialize(T + HOUR)
    assert len(killed) == 100_001
    assert killed == shop.rows()


@dataclass
class Tripwire:
    """A bar that does something when the first rows are there."""

    act: Callable[[], Any]
    done: int = 0
    closed: bool = False

    def update(self, n: int) -> None:
        if not self.done:
            self.act()
        self.done += n

    def close(self) -> None:
        self.closed = True


def test_a_failure_halfway_says_how_far_it_came_and_how_to_go_on(
    open_shop: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 100)
    with run_redis(tmp_path / "mortal") as url, redis.Redis.from_url(url) as mortal:
        shop = open_shop(url)
        shop.write([(ip, ip, T - ip) for ip in range(1_000)])
        engine, view = shop.engine, shop.store.get_feature_view("clicks")
        task = MaterializationTask("shop", view, to_datetime(T - DAY), to_datetime(T))
        wire = Tripwire(lambda: mortal.shutdown(nosave=True))
        with pytest.raises(MaterializeFailed) as failed:
            engine.materialize(shop.store.registry, replace(task, tqdm_builder=lambda total: wire))
    assert "view 'clicks': 100 of 1,000 rows were confirmed, then: " in str(failed.value)
    times = f"{format_time(T - DAY)} {format_time(T)}"
    assert str(failed.value).endswith(f"Go on with: feast materialize {times} --views clicks")
    assert (failed.value.confirmed, failed.value.total) == (100, 1_000)
    assert wire.closed


def test_after_a_failure_halfway_each_key_has_its_old_value_or_its_new_one_and_the_same_run_brings_the_rest(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write([(ip, ip, T - HOUR) for ip in range(20)])
    shop.materialize()
    shop.write([(ip, ip + 100, T - HOUR + SECOND) for ip in range(20)])
    monkeypatch.setattr(module, "BATCH_ROWS", 4)

    def fail() -> None:
        raise redis.ConnectionError("the line is cut")

    with pytest.raises(MaterializeFailed, match=r"of 20 rows were confirmed, then: .*the line is cut") as failed:
        materialize(shop.job(end_us=T + HOUR, bar=lambda total: Tripwire(fail)))
    found = shop.numbers()
    new = [ip for ip in range(20) if found[ip] == ip + 100]
    assert failed.value.confirmed <= len(new) < 20
    assert [found[ip] for ip in range(20) if ip not in new] == [ip for ip in range(20) if ip not in new]
    assert (failed.value.command, shop.watermark) == ("again", T)
    shop.materialize(T + HOUR)
    assert shop.numbers() == {ip: ip + 100 for ip in range(20)}


def test_without_redis_nothing_is_read(open_shop: Open, tmp_path: Path) -> None:
    with run_redis(tmp_path / "gone") as url:
        shop = open_shop(url)
    with pytest.raises(MaterializeFailed, match=r"0 rows were confirmed, then: Error .* Go on with: feast materialize"):
        shop.materialize()


def test_a_bad_value_halfway_names_its_column(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 1)
    shop.write(pa.table({"ip": [1, 2, 3], "n": [1.0, 2.5, 3.0], "at": stamps([T, T, T])}))
    with pytest.raises(MaterializeFailed, match="of 3 rows were confirmed, then: column 'n': double does not fit"):
        shop.materialize()
    assert shop.watermark is None


def test_a_redis_that_is_emptied_meanwhile_does_not_count_as_filled(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 100)
    shop.write([(ip, ip, T - ip) for ip in range(1_000)])
    wire = Tripwire(shop.client.flushall)
    with pytest.raises(MaterializeFailed, match="Redis was emptied"):
        materialize(shop.job(bar=lambda total: wire))
    assert shop.watermark is None
    assert len(shop.rows()) == 900
    shop.incremental()
    assert len(shop.rows()) == 1_000


# --- Feast's own way


def test_an_online_store_of_another_goes_feasts_own_way(open_shop: Open, tmp_path: Path) -> None:
    shop = open_shop(online_store={"type": "sqlite", "path": str(tmp_path / "online.db")})
    shop.write([(1, 10, T - HOUR), (1, 11, T - MINUTE), (2, 20, T - HOUR)])
    shop.materialize()
    assert shop.numbers() == {1: 11, 2: 20}
    assert shop.client.dbsize() == 0


@pytest.mark.parametrize(
    "parts",
    [{"offline_store": {"type": "duckdb"}}, {"batch_engine": {"type": "local"}}],
    ids=["Feast's offline store", "Feast's engine"],
)
def test_others_write_through_our_online_store(open_shop: Open, parts: dict[str, Any]) -> None:
    shop = open_shop(**parts)
    shop.write([(1, 10, T - HOUR), (1, 11, T - MINUTE), (2, 20, T - HOUR)])
    shop.materialize()
    assert shop.numbers() == {1: 11, 2: 20}
    assert shop.watermark is None  # so our engine, when it comes, fills the view whole


@pytest.mark.filterwarnings("ignore:Batch feature views are experimental")
def test_a_view_that_transforms_its_table_goes_feasts_own_way(open_shop: Open, tmp_path: Path) -> None:
    def doubled(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(n=frame["n"] * 2)

    view = click_view(tmp_path, kind=BatchFeatureView, online=True, mode="pandas", udf=doubled, udf_string="doubled")
    shop = open_shop(made=view)
    shop.write([(1, 10, T - HOUR), (2, 20, T - HOUR)])
    shop.materialize()
    found = shop.store.get_online_features(["clicks:n"], [{"ip": 1}, {"ip": 2}]).to_dict()
    assert found["n"] == [20, 40]
    assert shop.watermark is None


# --- as Feast calls it


def test_feasts_command_line_materializes_both_ways(
    shop: Shop, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write([(1, 10, T - HOUR)])
    repo = ["-c", str(yaml(shop, redis_url))]
    plain = ["materialize", (to_datetime(T - DAY)).isoformat(), to_datetime(T).isoformat()]
    first = CliRunner().invoke(cli, [*repo, *plain], catch_exceptions=False)
    assert "clicks: 1 written, 0 same, 0 older, 0 future, 0 keyless (whole up to" in first.output
    assert "1.00/1.00 [" in first.output  # Feast's bar
    assert "rows/s" in first.output
    shop.write([(1, 10, T - HOUR), (2, 20, T + MINUTE)])
    then = ["materialize-incremental", to_datetime(T + HOUR).isoformat()]
    second = CliRunner().invoke(cli, [*repo, *then], catch_exceptions=False)
    assert "clicks: 1 written" in second.output
    assert shop.numbers() == {1: 10, 2: 20}


def test_an_unknown_option_of_the_engine_is_refused(open_shop: Open) -> None:
    with pytest.raises(ValidationError, match="threads"):
        open_shop(batch_engine={"type": ENGINE, "threads": 3})


def test_the_engine_is_found_by_name_alone(open_shop: Open) -> None:
    shop = open_shop(batch_engine=ENGINE)
    assert isinstance(shop.engine, LockstepEngine)
