"""`lockstep features show`: what a running scorer sees for a key, and why."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockstep.cli.features import features
from lockstep.errors import BadRequest, NoAnswer
from lockstep.model_store import ModelStore
from lockstep.redis_server import free_port
from lockstep.times import HOUR
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, PLAN, MemoryReader, publish, row


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """The tiny model; address 1 has two clicks at noon, 4 some from three hours before."""
    publish(ModelStore(tmp_path))
    reader = MemoryReader({1: row(), 4: row(event_us=NOON - 3 * HOUR)})
    async with running(Settings(port=0, models_url=str(tmp_path)), reader) as started:
        yield started


async def run(server: Server, *arguments: str) -> Result:
    """The command, asking this server about the tiny model at noon."""
    line = ["show", "--address", server.address, "--model", "tiny", "--at", "2017-11-09T12:00:00Z", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, features, line)


def shown(result: Result) -> list[list[str]]:
    """The cells of every row of every table."""
    assert result.exit_code == 0, result.output
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line]


async def test_a_key_alone_is_enough_to_see_what_is_stored(server: Server) -> None:
    result = await run(server, "--ip", "4")
    by_name = {cells[0]: cells[1:] for cells in shown(result)}
    assert "row 0: ip=4 (DEFAULTS)" in result.output
    assert by_name["clicks"] == [
        "-1", "STALE", "3h", "-1", "the newest row is older than the TTL of ip_activity, 1m",
    ]  # fmt: skip
    assert by_name["seconds_since"] == ["0", "", "", "", "seconds_since(event_timestamp, last_click)"]
    assert "bid" not in by_name  # nobody said it
    assert result.output.splitlines()[-1] == "tiny version 1"


async def test_features_that_are_named_come_in_that_order(server: Server) -> None:
    result = await run(server, "--ip", "1,9", "--bid", "2", "--feature", "seconds_since", "--feature", "clicks")
    assert [cells[0] for cells in shown(result)] == ["seconds_since", "clicks"] * 2


async def test_json_has_one_entry_per_row(server: Server) -> None:
    result = await run(server, "--ip", "1,9", "--json")
    answer: dict[str, Any] = json.loads(result.output)
    assert (answer["model"], answer["version"], answer["row_rungs"]) == ("tiny", "1", ["FRESH", "DEFAULTS"])
    assert list(answer["features"]) == [column.name for column in PLAN.columns if column.name != "bid"]
    assert answer["features"]["last_click"]["values"] == [None, None]


async def test_what_needs_a_left_out_request_feature_is_named(server: Server) -> None:
    result = await run(server, "--ip", "1", "--feature", "bid")
    assert isinstance(result.exception, BadRequest)
    assert str(result.exception) == "'bid' needs what comes with a request: add --bid VALUE."


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (["--ip", "1", "--feature", "click"], BadRequest, "the plan has no column 'click'. Did you mean 'clicks'?"),
        (["--ip", "x"], NoAnswer, "column 'ip': holds strings; expected int64"),
        (["--bid", "1"], NoAnswer, "column 'ip': missing; the model needs it as int64"),
        (["--ip", "1", "--version", "7"], NoAnswer, "model 'tiny' has no version or alias '7'"),
    ],
)
async def test_errors_are_sentences(server: Server, arguments: list[str], kind: type[Exception], sentence: str) -> None:
    result = await run(server, *arguments)
    assert isinstance(result.exception, kind)
    assert sentence in str(result.exception)


def test_without_a_server_it_says_how_to_start_one() -> None:
    result = CliRunner().invoke(features, ["show", "--address", f"127.0.0.1:{free_port()}", "--ip", "1"])
    assert isinstance(result.exception, NoAnswer)
    assert "Start a server with `lockstep serve`" in str(result.exception)
