"""`lockstep online import` as a team with a running Feast uses it."""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import redis
import yaml
from click.testing import CliRunner, Result

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast.types import Float32, Int64
    from feast.value_type import ValueType

from lockstep.cli.online_import import import_
from lockstep.errors import BadConnection, BadFile, BadRequest
from lockstep.redis_server import run_redis

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

IP = Entity(name="ip", join_keys=["ip"], value_type=ValueType.INT64)
CLICKS = FeatureView(
    name="clicks",
    entities=[IP],
    schema=[Field(name="ip", dtype=Int64), Field(name="n", dtype=Int64), Field(name="rate", dtype=Float32)],
    ttl=timedelta(hours=1),
    source=FileSource(name="clicks_file", path="clicks.parquet", timestamp_field="event_timestamp"),
)
IDLE = FeatureView(
    name="idle",
    entities=[IP],
    schema=[Field(name="ip", dtype=Int64), Field(name="n", dtype=Int64)],
    source=FileSource(name="idle_file", path="idle.parquet", timestamp_field="event_timestamp"),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url.removeprefix("redis://")


@pytest.fixture
def repo(tmp_path: Path, address: str) -> Path:
    """A Feast repository on stock Redis, its rows, and a copy of its YAML with our store."""
    redis.Redis.from_url(f"redis://{address}").flushall()
    settings = {
        "project": "shop",
        "provider": "local",
        "registry": "registry.db",
        "online_store": {"type": "redis", "connection_string": address},
        "offline_store": {"type": "duckdb"},
        "entity_key_serialization_version": 3,
    }
    ours = {"type": "lockstep.stores.online.LockstepOnlineStore", "connection_string": address}
    (tmp_path / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "lockstep.yaml").write_text(yaml.safe_dump({**settings, "online_store": ours}))
    stock = FeatureStore(repo_path=str(tmp_path))
    stock.apply([IP, CLICKS, IDLE])
    event = [datetime.now(UTC) - age for age in (timedelta(minutes=1), timedelta(hours=2), -timedelta(hours=2))]
    stock.write_to_online_store(
        "clicks", pd.DataFrame({"ip": [1, 2, 3], "n": [5, 6, 7], "rate": [0.5] * 3, "event_timestamp": event})
    )
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(import_, [str(each) for each in arguments], catch_exceptions=False)


def rows(result: Result) -> dict[str, list[str]]:
    """The printed table, by feature view."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    return {row[0]: row[1:] for row in cells}


def test_rows_are_written_counted_and_named(repo: Path) -> None:
    result = run("--repo", repo / "lockstep.yaml")
    assert result.exit_code == 0, result.output
    assert rows(result) == {"clicks": ["3", "2", "0", "0", "1", "1"], "idle": ["0", "0", "0", "0", "0", "0"]}
    assert "view 'clicks': 1 rows: dated after the clock" in result.stdout
    again = run("clicks", "--repo", repo / "lockstep.yaml")
    assert rows(again) == {"clicks": ["3", "0", "2", "0", "1", "1"]}
    ours = FeatureStore(repo_path=str(repo), fs_yaml_file=repo / "lockstep.yaml")
    assert ours.get_online_features(["clicks:n"], [{"ip": 1}]).to_dict()["n"] == [5]


def test_check_writes_nothing_and_fails_until_the_rows_are_there(repo: Path, address: str) -> None:
    before = run("clicks", "--repo", repo / "lockstep.yaml", "--check")
    assert before.exit_code == 1
    assert rows(before) == {"clicks": ["0", "0", "0", "3", "0", "0"]}
    assert "ip=1: missing" in before.stdout
    event = datetime.now(UTC) - timedelta(minutes=1)
    stock = FeatureStore(repo_path=str(repo))
    redis.Redis.from_url(f"redis://{address}").flushall()
    stock.write_to_online_store("clicks", pd.DataFrame([{"ip": 1, "n": 5, "rate": 0.5, "event_timestamp": event}]))
    run("--repo", repo / "lockstep.yaml")
    after = run("--repo", repo / "lockstep.yaml", "--check")
    assert after.exit_code == 0, after.output
    assert rows(after)["clicks"] == ["1", "0", "0", "0", "0", "0"]


def test_the_old_hashes_may_lie_in_another_redis(repo: Path, address: str, tmp_path: Path) -> None:
    with run_redis(tmp_path / "new") as url:
        settings = yaml.safe_load((repo / "lockstep.yaml").read_text())
        settings["online_store"]["connection_string"] = url.removeprefix("redis://")
        (repo / "lockstep.yaml").write_text(yaml.safe_dump(settings))
        result = run("--repo", repo / "lockstep.yaml", "--from", f"{address},db=0")
        assert rows(result)["clicks"][1] == "2"
        empty = run("--repo", repo / "lockstep.yaml", "--from", f"redis://{address}/1")
        assert empty.exit_code == 1
        assert "No row was found: is this the Redis" in empty.stdout


def test_what_is_wrong_is_said_in_a_sentence(repo: Path) -> None:
    with pytest.raises(BadRequest, match=r"no feature view 'click'\. Did you mean 'clicks'\?"):
        run("click", "--repo", repo / "lockstep.yaml")
    with pytest.raises(BadRequest, match=r"the online store of project 'shop' is RedisOnlineStore\. Write `type: lock"):
        run("--repo", repo)
    with pytest.raises(BadFile, match=r"feature_store\.yaml: there is no such file"):
        run("--repo", repo / "..")
    with pytest.raises(BadConnection, match=r"Redis does not answer .* run the command again"):
        run("--repo", repo / "lockstep.yaml", "--from", "127.0.0.1:1")
