"""`lockstep predict` against a real server: what it sends, what it prints, what it says when something is wrong."""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockstep.cli.columns import read_columns
from lockstep.cli.predict import predict
from lockstep.errors import BadColumn, BadRequest, NoAnswer
from lockstep.model_store import ModelStore
from lockstep.redis_server import free_port
from lockstep_client.requests import predict as make_request
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import PLAN, MemoryReader, publish, row

NOON = "2017-11-09T12:00:00Z"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """The tiny model; address 1 has two clicks at noon."""
    publish(ModelStore(tmp_path))
    async with running(Settings(port=0, models_url=str(tmp_path)), MemoryReader({1: row()})) as started:
        yield started


async def run(server: Server, *arguments: str) -> Result:
    """The command, asking this server for the tiny model."""
    line = ["--address", server.address, "--model", "tiny", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, predict, line)


async def test_scores_and_statuses_are_printed_by_row(server: Server) -> None:
    result = await run(server, "--ip", "1,9", "--bid=0.5", "--site", "ab", "--at", NOON)
    assert result.exit_code == 0, result.output
    assert [cells(line) for line in result.output.splitlines() if "│" in line] == [
        ["0", "1", "0.5", "ab", "0.989013"],
        ["1", "9", "0.5", "ab", "0.817574"],
        ["ip_activity", "1 PRESENT, 1 NULL, 2 NOT_FOUND", "1"],
    ]
    assert result.output.splitlines()[-1].startswith("tiny version 1; DEFAULTS: ")


async def test_strict_prints_no_score_that_stands_on_a_default(server: Server) -> None:
    fresh = await run(server, "--ip", "1", "--bid", "0.5", "--at", NOON, "--strict", "--json")
    assert json.loads(fresh.output)["rung"] == "FRESH"
    missing = await run(server, "--ip", "1,9", "--bid", "0.5", "--at", NOON, "--strict")
    assert missing.output == ""
    assert isinstance(missing.exception, NoAnswer)
    assert "FAILED_PRECONDITION: row 1: feature 'clicks' of view 'ip_activity' is NOT_FOUND" in str(missing.exception)
    assert "ask without `strict`" in str(missing.exception)


async def test_json_is_one_object_with_names_in_place_of_numbers(server: Server) -> None:
    result = await run(server, "--ip", "1,9", "--bid", "0.5", "--at", f"{NOON},{NOON}", "--json")
    answer: dict[str, Any] = json.loads(result.output)
    assert answer.pop("scores") == pytest.approx([0.924142, 0.377541], abs=1e-6)
    assert answer == {
        "model": "tiny",
        "version": "1",
        "rung": "DEFAULTS",
        "views": {"ip_activity": {"counts": {"PRESENT": 1, "NULL": 1, "NOT_FOUND": 2}, "defaulted": 1}},
    }


def cells(line: str) -> list[str]:
    """The cells of a row of a table."""
    return [cell.strip() for cell in line.split("│")[1:-1]]


async def test_explain_shows_each_feature_with_its_status_age_default_and_reason(server: Server) -> None:
    result = await run(server, "--ip", "1,9", "--bid", "0.5", "--at", "2017-11-09T12:00:10Z", "--explain")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    titles = [line.strip() for line in lines if line.startswith("row ")]
    assert titles == ["row 0: score 0.924142, FRESH", "row 1: score 0.377541, DEFAULTS"]
    clicks = [cells(line) for line in lines if cells(line)[:1] == ["clicks"]]
    assert clicks == [
        ["clicks", "2", "PRESENT", "10s", "", "the row of ip=1 in ip_activity"],
        ["clicks", "-1", "NOT_FOUND", "", "-1", "no row of ip=9 in ip_activity: never written, or expired"],
    ]
    (first, _) = [cells(line) for line in lines if cells(line)[:1] == ["last_click"]]
    assert first == ["last_click", "NULL", "NULL", "10s", "none: NULL", "the row of ip=1 in ip_activity holds NULL"]


async def test_explained_json_has_every_column_of_the_plan(server: Server) -> None:
    result = await run(server, "--ip", "1,9", "--bid", "0.5", "--at", NOON, "--explain", "--json")
    answer: dict[str, Any] = json.loads(result.output)
    assert answer["row_rungs"] == ["FRESH", "DEFAULTS"]
    assert list(answer["features"]) == [column.name for column in PLAN.columns]
    assert answer["features"]["clicks"] == {
        "view": "ip_activity",
        "values": [2.0, -1.0],
        "status": ["PRESENT", "NOT_FOUND"],
        "defaulted": [False, True],
        "event_timestamp_us": [1510228800000000, 0],
    }


async def test_only_the_first_rows_are_explained_in_tables(server: Server) -> None:
    result = await run(server, "--ip", ",".join(map(str, range(12))), "--bid", "0.5", "--explain")
    assert result.output.count("default used") == 10
    assert "2 more rows are not explained here; --json explains them all." in result.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--ip", "1,2", "--bid", "1,2,3"], "column 'bid': has 3 values, but 'ip' has 2"),
        (["--ip", "1", "--timeout", "0"], "--timeout is 0; expected seconds above 0"),
        (["--ip", "1", "--at", "noon"], "'noon' is not a time"),
    ],
)
async def test_what_can_be_seen_here_is_said_here(server: Server, arguments: list[str], problem: str) -> None:
    result = await run(server, *arguments)
    assert isinstance(result.exception, BadRequest)
    assert str(result.exception).startswith(problem)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ip", "1", "--bed", "1"], "INVALID_ARGUMENT: column 'bed'.*Did you mean 'bid'"),
        (["--ip", "one", "--bid", "1"], "INVALID_ARGUMENT: column 'ip': holds strings; expected int64"),
        (["--ip", "1", "--bid", "1", "--version", "7"], "NOT_FOUND: model 'tiny' has no version or alias '7'"),
    ],
)
async def test_a_refusal_is_the_servers_own_sentence(server: Server, arguments: list[str], sentence: str) -> None:
    result = await run(server, *arguments)
    assert isinstance(result.exception, NoAnswer)
    with pytest.raises(NoAnswer, match=sentence):
        raise result.exception


def test_without_a_server_it_says_how_to_start_one() -> None:
    address = f"127.0.0.1:{free_port()}"
    result = CliRunner().invoke(predict, ["--address", address, "--ip", "1"])
    assert isinstance(result.exception, NoAnswer)
    assert str(result.exception).startswith(f"{address} answered UNAVAILABLE: nothing listens there. Start a server")


def test_a_server_that_resets_the_connection_is_asked_for_tls() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def reset() -> None:
            with suppress(OSError):  # shut down: the test is over
                while True:
                    taken, _ = listening.accept()
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    taken.close()

        resetting = threading.Thread(target=reset)
        resetting.start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        result = CliRunner().invoke(predict, ["--address", address, "--ip", "1"])
        listening.shutdown(socket.SHUT_RDWR)
        resetting.join()
    assert isinstance(result.exception, NoAnswer)
    assert "found no common TLS" in str(result.exception)


def test_help_teaches_by_example() -> None:
    output = CliRunner().invoke(predict, ["--help"]).output
    assert "lockstep predict --ip 1 --app 2 --device 1 --os 13 --channel 477" in output


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        (["--ip", "1"], {"ip": [1]}),
        (["--ip=1,-2", "--app", "3"], {"ip": [1, -2], "app": [3]}),
        (["--bid", "1,2.5"], {"bid": [1.0, 2.5]}),
        (["--bid:float64", "1"], {"bid": [1.0]}),
        (["--site", "1,a"], {"site": ["1", "a"]}),
        (["--zip:string=01234"], {"zip": ["01234"]}),
        (["--name", "-x=y"], {"name": ["-x=y"]}),
        (["--name="], {"name": [""]}),
        (["--big", str(2**63)], {"big": [float(2**63)]}),
        (["--my-column", "1"], {"my-column": [1]}),
    ],
)
def test_columns_are_read_in_the_narrowest_type_that_takes_them(
    arguments: list[str], columns: dict[str, list[Any]]
) -> None:
    read = read_columns(arguments)
    assert read == columns
    assert {name: type(values[0]) for name, values in read.items()} == {
        name: type(values[0]) for name, values in columns.items()
    }


def test_a_missing_number_is_nan() -> None:
    (value,) = read_columns(["--bid", "nan"])["bid"]
    assert isinstance(value, float)
    assert value != value


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["1"], "'1' is not a column"),
        (["--ip"], "'ip': has no value"),
        (["--ip", "1", "--ip", "2"], "'ip': given twice"),
        (["--ip:int32", "1"], "no type 'int32'"),
        (["--ip:int64", "1.5"], "'1.5' cannot be read as int64"),
        (["--ip:int64", str(2**63)], "cannot be read as int64"),
        (["--", "1"], "'--' is not a column"),
    ],
)
def test_arguments_that_are_no_columns_are_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(BadRequest, match=problem):
        read_columns(arguments)


def test_a_column_named_as_an_option_is_sent_by_name() -> None:
    result = CliRunner().invoke(predict, ["--column", "version", "--ip", "1"])
    assert isinstance(result.exception, BadColumn)
    request = make_request("m", read_columns(["--version=3"]), "", None, explain=False)
    assert request.columns[0] == pb.Column(name="version", int64s=pb.Int64s(values=[3]))
