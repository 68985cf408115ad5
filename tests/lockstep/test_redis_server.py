"""The Redis of one's own."""

from pathlib import Path

import pytest
import redis

from lockstep.errors import MissingTool
from lockstep.redis_server import find_redis_server, run_redis


@pytest.fixture(params=["on the PATH", "from the wheel"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Which redis-server is run: another version each, where both are there."""
    if request.param == "from the wheel":
        monkeypatch.setenv("PATH", "")
    try:
        found = find_redis_server()
    except MissingTool as error:
        pytest.skip(str(error))
    return found


@pytest.mark.parametrize("keep", [True, False])
def test_only_data_that_are_to_be_kept_are_there_at_the_next_start(server: Path, tmp_path: Path, keep: bool) -> None:
    assert server.exists()
    for before in (None, b"value" if keep else None):
        with run_redis(tmp_path, keep=keep) as url, redis.Redis.from_url(url) as client:
            assert client.get("key") == before
            client.set("key", "value")


def test_one_that_does_not_start_is_told_with_the_last_lines_of_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(MissingTool, match=r"(?s)did not start on port \d+.*no-such-option"),
        run_redis(tmp_path, options=["--no-such-option", "1"]),
    ):
        pass
