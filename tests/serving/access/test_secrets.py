"""A secret that is planted wherever one can stand appears in no log, no error and no repr."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from lockstep.cli.dial import Dial
from lockstep.errors import LockstepError
from lockstep.model_store import ModelStore
from lockstep.redis_server import free_port
from lockstep.redis_where import Where, nodes_and_options
from lockstep.stores.redis_connect import connect
from lockstep.stores.repo import connection_string
from lockstep_client import AsyncClient, ScorerError, Tls
from lockstep_client.connection import Connection
from serving.redis import open_client
from serving.redis.terms import Access as RedisAccess
from serving.settings import Settings
from tests.bundles import publish
from tests.serving.access.test_callers import hashed, table

SECRET = "hunter2hunter2"
URL = f"redis://scorer:{SECRET}@127.0.0.1:1"


def test_no_repr_shows_a_secret() -> None:
    shown: list[Any] = [
        Settings(redis=URL, callers=table("bidder", SECRET)),
        Where(URL, credentials={"password": SECRET}, sentinel_kwargs={"password": SECRET}),
        RedisAccess("scorer", SECRET),
        Tls(b"", b"", SECRET.encode()),
        Connection("localhost:1", None, SECRET, 1.0, 300.0, 1),
        Dial("localhost:1", 1.0, None, SECRET),
    ]
    for one in shown:
        assert SECRET not in repr(one)
        assert hashed(SECRET) not in repr(one)


WRONG: dict[str, Callable[[], Any]] = {
    "a setting of a wrong name": lambda: Settings.from_env({"LOCKSTEP_SERVE_REDIS_PASSWORD": SECRET}),
    "no host": lambda: nodes_and_options(Where(f"password={SECRET}")),
    "a password with a comma": lambda: nodes_and_options(Where(f"localhost:6379,password=a,{SECRET}")),
    "a URL of another kind": lambda: nodes_and_options(Where(f"http://u:{SECRET}@localhost")),
    "a slash in a password": lambda: nodes_and_options(Where(f"redis://u:{SECRET}/x@localhost:6379")),
    "a slash in a password, for Feast": lambda: connection_string(f"redis://u:{SECRET}/x@localhost:6379"),
    "another kind, for Feast": lambda: connection_string(f"http://u:{SECRET}@localhost"),
    "an unknown option": lambda: open_client(Where(f"localhost:6379,password={SECRET},colour=red")),
    "an unknown option, for training": lambda: connect(Where(f"localhost:6379,password={SECRET},colour=red")),
    "a slash in a password, for training": lambda: connect(Where(f"redis://u:{SECRET}/x@localhost:6379")),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG.keys())
def test_no_error_shows_a_secret(make: Callable[[], Any]) -> None:
    with pytest.raises(LockstepError) as raised:
        make()
    error: BaseException | None = raised.value
    while error is not None:
        assert SECRET not in f"{error} {error!r}"
        error = error.__cause__


async def test_a_server_that_fails_in_many_ways_logs_no_secret(tmp_path: Path) -> None:
    """Redis is not there, tokens are wrong, requests are wrong, the callers' file becomes unusable."""
    publish(ModelStore(tmp_path / "models"))
    callers, port = tmp_path / "callers.toml", free_port()
    callers.write_text(table("bidder", SECRET))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP")},
        "REDIS_URL": URL,
        "LOCKSTEP_SERVE_MODELS_URL": str(tmp_path / "models"),
        "LOCKSTEP_SERVE_PORT": str(port),
        "LOCKSTEP_SERVE_METRICS": "false",
        "LOCKSTEP_SERVE_POLL_S": "0.2",
        "LOCKSTEP_SERVE_CALLERS_FILE": str(callers),
    }
    command = [sys.executable, "-m", "serving"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        await _trouble(f"127.0.0.1:{port}", callers)
    finally:
        process.terminate()
        said, logged = process.communicate(timeout=30)
    printed = (said + logged).decode()
    assert "What was read before stays" in printed
    assert SECRET not in printed
    assert hashed(SECRET) not in printed


async def _trouble(address: str, callers: Path) -> None:
    """Ask rightly and wrongly, and spoil the file."""
    async with AsyncClient(address, token=SECRET, timeout_s=3, attempts=1) as client:
        assert (await client.predict("tiny", {"ip": 1, "bid": 0.5})).rung.name == "ALL_DEFAULTS"
        with pytest.raises(ScorerError):
            await client.predict("tiny", {"nobody": 1})
    async with grpc.aio.insecure_channel(address) as channel:
        for header in (f"Bearer {SECRET}x", f"Basic {SECRET}"):
            call = channel.unary_unary("/lockstep.v1.Scorer/ListModels")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(b"", metadata=(("authorization", header),), timeout=5)
            assert SECRET not in str(raised.value.details())
    callers.write_text(f'[bidder]\nsha256 = "{SECRET}"\nmodels = ["*"]')
    async with AsyncClient(address, token=SECRET, timeout_s=3) as client:
        for _ in range(8):
            await client.predict("tiny", {"ip": 1, "bid": 0.5})
            await asyncio.sleep(0.1)
