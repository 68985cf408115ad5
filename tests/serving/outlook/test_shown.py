"""Where the page is, and who may try predictions on it."""

import socket
from dataclasses import replace
from typing import Any

import pytest

from lockstep.errors import BadSetting
from serving.outlook.shown import shown
from serving.server import running
from serving.settings import METRICS_PORT, Settings
from tests.bundles import MemoryReader


@pytest.mark.parametrize(
    ("changes", "port"),
    [
        ({}, METRICS_PORT),
        ({"port": 0}, 0),
        ({"port": 0, "metrics_port": 1234}, 1234),
        ({"metrics_port": 0}, 0),
        ({"metrics": False, "metrics_port": 1234}, None),
    ],
)
def test_the_port_is_the_one_that_was_named_or_follows_the_other_one(changes: dict[str, Any], port: int | None) -> None:
    assert Settings(**changes).metrics_at == port


@pytest.mark.parametrize(
    ("who", "host", "may"),
    [
        ("local", "127.0.0.1", True),
        ("local", "[::1]", True),
        ("local", "localhost", True),
        ("local", "0.0.0.0", False),
        ("local", "scorer", False),
        ("always", "0.0.0.0", True),
        ("never", "127.0.0.1", False),
    ],
)
def test_features_are_shown_to_this_machine_alone_unless_somebody_says_so(who: str, host: str, may: bool) -> None:
    assert Settings(page_try=who, metrics_host=host).may_try is may


@pytest.mark.parametrize(("who", "may"), [("local", False), ("always", True)])
def test_the_page_is_no_way_around_tokens_unless_somebody_says_so(who: str, may: bool) -> None:
    assert Settings(page_try=who, callers_file="callers.toml").may_try is may


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [("METRICS_PORT", "ninety", "a whole number"), ("METRICS_PORT", "70000", "65,535"), ("PAGE_TRY", "yes", "always")],
)
def test_what_cannot_work_is_refused(variable: str, value: str, expected: str) -> None:
    with pytest.raises(BadSetting, match=expected):
        Settings.from_env({f"LOCKSTEP_SERVE_{variable}": value})


def test_the_port_is_read_from_the_environment() -> None:
    assert Settings.from_env({"LOCKSTEP_SERVE_METRICS_PORT": "9000"}).metrics_at == 9000


async def test_a_port_that_is_taken_stops_the_start_and_is_named(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = replace(settings, metrics_port=taken.getsockname()[1])
        async with running(busy, MemoryReader()) as server:
            with pytest.raises(BadSetting, match="is another server there"):
                async with shown(server, busy):
                    raise AssertionError("it started")
