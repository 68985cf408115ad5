"""`lockstep online rewrite` as a person uses it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from click.testing import CliRunner

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast import types as ft
    from feast.value_type import ValueType

from lockstep.cli.online import online
from lockstep.errors import BadRequest, MaterializeFailed
from lockstep.redis_server import run_redis
from lockstep.times import DAY, HOUR, format_time, now_us, to_datetime

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

T = now_us() - HOUR
YAML = """
project: shop
provider: local
registry: {folder}/registry.db
online_store: {{type: {online}, connection_string: "{url}"}}
offline_store: {{type: {offline}}}
batch_engine: {{type: lockstep.stores.engine.LockstepEngine}}
entity_key_serialization_version: 3
"""
ONLINE, OFFLINE = "lockstep.stores.online.LockstepOnlineStore", "lockstep.stores.offline.LockstepOfflineStore"


@dataclass
class Repo:
    """A team's own Feast repository."""

    folder: Path
    url: str

    def configure(self, online_store: str = ONLINE, offline_store: str = OFFLINE) -> FeatureStore:
        """Write feature_store.yaml, and open it."""
        text = YAML.format(folder=self.folder, url=self.url, online=online_store, offline=offline_store)
        (self.folder / "feature_store.yaml").write_text(text)
        return FeatureStore(repo_path=str(self.folder))

    def write(self, rows: list[tuple[int, int, int]]) -> None:
        """The table's rows, as (ip, n, event µs)."""
        ips, numbers, times = zip(*rows, strict=True)
        at = pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC"))
        pq.write_table(pa.table({"ip": ips, "n": numbers, "at": at}), self.folder / "table.parquet")

    def apply(self) -> None:
        """One view, n by ip."""
        ip = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
        source = FileSource(path=str(self.folder / "table.parquet"), timestamp_field="at")
        schema = [Field(name="ip", dtype=ft.Int64), Field(name="n", dtype=ft.Int64)]
        view = FeatureView(name="clicks", entities=[ip], ttl=timedelta(days=1), source=source, schema=schema)
        self.configure().apply([ip, view])

    def numbers(self) -> dict[int, int]:
        """N by ip, of those that have a row."""
        asked = [{"ip": ip} for ip in range(10)]
        found = self.configure().get_online_features(["clicks:n"], asked).to_dict()["n"]
        return {ip: n for ip, n in enumerate(found) if n is not None}

    def rewrite(self, *arguments: str) -> str:
        """`lockstep online rewrite`; its standard output."""
        command = ["rewrite", *arguments, "--repo", str(self.folder)]
        return CliRunner().invoke(online, command, catch_exceptions=False).stdout


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repo]:
    """Two rows materialized up to T, and then the table built again with other values."""
    with run_redis(tmp_path / "redis") as url:
        made = Repo(tmp_path, url)
        made.write([(1, 10, T - HOUR), (2, 20, T - 2 * HOUR)])
        made.apply()
        made.configure().materialize(to_datetime(T - DAY), to_datetime(T))
        made.write([(1, -10, T - HOUR), (2, -20, T - 3 * HOUR)])
        yield made


def test_rows_with_equal_timestamps_are_replaced(repo: Repo) -> None:
    repo.configure().materialize(to_datetime(T - DAY), to_datetime(T))
    assert repo.numbers() == {1: 10, 2: 20}
    said = repo.rewrite("clicks", "--until", format_time(T))
    assert said.startswith(f"clicks: 1 written, 0 same, 1 older, 0 future, 0 keyless (whole up to {format_time(T)};")
    assert repo.numbers() == {1: -10, 2: 20}


def test_newer_rows_are_replaced_only_when_asked(repo: Repo) -> None:
    assert repo.rewrite("clicks", "--newer-too").startswith("clicks: 2 written")
    assert repo.numbers() == {1: -10, 2: -20}


def test_old_rows_that_redis_may_still_hold_are_rewritten_too(repo: Repo) -> None:
    with redis.Redis.from_url(repo.url) as client:
        client.flushall()
    long_ago = T - 90 * DAY
    repo.write([(1, 10, long_ago - HOUR)])
    repo.configure().materialize(to_datetime(long_ago - DAY), to_datetime(long_ago))
    repo.write([(1, -10, long_ago - HOUR)])
    assert repo.rewrite("clicks").startswith("clicks: 1 written")


def test_a_view_that_there_is_not_is_named(repo: Repo) -> None:
    with pytest.raises(BadRequest, match=r"no feature view 'click' to rewrite. Did you mean 'clicks'\?"):
        repo.rewrite("click")


def test_a_time_that_is_none_is_named(repo: Repo) -> None:
    with pytest.raises(BadRequest, match="'yesterday' is not a time"):
        repo.rewrite("clicks", "--until", "yesterday")


@pytest.mark.parametrize(
    ("stores", "said"),
    [
        ({"offline_store": "duckdb"}, "filled by Feast's own engine .the offline store is DuckDBOfflineStore"),
        ({"online_store": "redis"}, "the online store is RedisOnlineStore"),
    ],
)
def test_what_feast_fills_itself_is_refused(repo: Repo, stores: dict[str, str], said: str) -> None:
    repo.configure(**stores)
    with pytest.raises(BadRequest, match=said):
        repo.rewrite("clicks")


def test_without_redis_the_command_to_go_on_is_named(repo: Repo) -> None:
    with redis.Redis.from_url(repo.url) as client:
        client.shutdown(nosave=True)
    with pytest.raises(MaterializeFailed, match=r"Go on with: lockstep online rewrite clicks --repo .* --newer-too"):
        repo.rewrite("clicks", "--newer-too")


def test_the_commands_are_listed_and_found(repo: Repo) -> None:
    listed = CliRunner().invoke(online, ["--help"]).stdout
    assert "import" in listed
    assert "rewrite" in listed
    assert "hashes" in CliRunner().invoke(online, ["import", "--help"]).stdout
