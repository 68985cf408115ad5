"""What every test shares: a clean environment, and one small project with a trained model, made once a session."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

# Two workers share the cores with the servers that tests start; OpenMP's threads would wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
for _name in [name for name in os.environ if name == "REDIS_URL" or name.startswith("LOCKSTEP_")]:
    del os.environ[_name]

if TYPE_CHECKING:
    import redis
    from feast import FeatureStore

    from lockstep.home import Home
    from training.train import Trained


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees a setting that another one, or the person who runs them, has made."""
    for name in [name for name in os.environ if name == "REDIS_URL" or name.startswith("LOCKSTEP_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis for the tests of one file."""
    from lockstep.redis_server import run_redis

    with run_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator["redis.Redis"]:
    """A connection to that Redis, which is empty when a test begins."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> "Home":
    """20,000 clicks over three days, their feature tables, and the repository applied."""
    from tests.homes import apply, make_log
    from training.tables import build

    made = make_log(tmp_path_factory.mktemp("home"))
    build(made)
    apply(made)
    return made


@pytest.fixture(scope="session")
def feast_store(home: "Home") -> Iterator["FeatureStore"]:
    """Feast on that home."""
    from lockstep.stores.repo import open_store

    with warnings.catch_warnings(action="ignore"):
        yield open_store(home)


@pytest.fixture(scope="session")
def trained(home: "Home", feast_store: "FeatureStore") -> "Trained":
    """The example's model on that home, version 1; so small a log cannot pass the gate on the mean score."""
    from training.gates import Gates
    from training.spec import load_spec
    from training.train import train

    with warnings.catch_warnings(action="ignore"):
        return train(feast_store, replace(load_spec("install"), gates=Gates(mean_score_within=0.5)), home)
