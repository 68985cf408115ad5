"""`lockstep bench` against a real server, and its search for the highest rate on made-up ones."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockstep.cli.bench import Bench, bench, doubled, highest_sustained, narrowed
from lockstep.cli.latency_curve import Point, draw
from lockstep.cli.load import Spacing, Step
from lockstep.errors import BadRequest, NoAnswer
from lockstep.model_store import ModelStore
from lockstep.redis_server import free_port
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import MemoryReader, publish, row
from tests.lockstep.cli.test_load import step

SETTINGS = Bench(
    rates=(),
    seconds=1.0,
    rows=1,
    shared=frozenset(),
    spacing=Spacing.FIXED,
    p99_ms=math.inf,
    processes=1,
    connections=1,
    seed=7,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """The tiny model; address 1 has two clicks at noon."""
    publish(ModelStore(tmp_path / "models"))
    async with running(Settings(port=0, models_url=str(tmp_path / "models")), MemoryReader({1: row()})) as started:
        yield started


async def run(address: str, *arguments: str) -> Result:
    """The command, asking this server for the tiny model."""
    line = ["--address", address, "--model", "tiny", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, bench, line)


async def test_it_loads_a_server_prints_a_table_and_draws_the_curve(server: Server, tmp_path: Path) -> None:
    picture, at = tmp_path / "curve.svg", "2017-11-09T12:00:00Z"
    result = await run(
        server.address,
        "--ip",
        "1,9",
        "--bid",
        "0.5",
        "--at",
        at,
        "--rates",
        "20,60",
        "--seconds",
        "0.5",
        "--out",
        str(picture),
    )
    assert result.exit_code == 0, result.output
    rates = [line.split("│")[1].strip() for line in result.output.splitlines() if line.startswith("│")]
    assert rates[0] == "20"
    assert rates[-1] == "60"
    assert "FRESH" in result.output
    assert "DEFAULTS" in result.output  # address 9 has no row
    assert f"The curve is in {picture}" in result.output.replace("\n", "")
    assert "tiny 1: latency of a call with 1 row" in picture.read_text()


async def test_json_has_every_step_and_counts_what_fails(server: Server, tmp_path: Path) -> None:
    arguments = ["--ip", "1", "--bid", "0.5,1", "--rows", "3", "--shared", "ip", "--rates", "40", "--seconds", "0.5"]
    result = await run(server.address, *arguments, "--out", str(tmp_path / "curve.png"), "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert (answer["model"], answer["rows"], answer["spacing"]) == ("tiny", 3, "poisson")
    first = answer["steps"][0]
    assert (first["rate"], first["failed"]) == (40, {})
    assert 0 < first["p50_ms"] <= first["max_ms"]
    assert sum(first["rungs"].values()) == first["requests"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--rates", "1,x"], "--rates: 'x' is no number"),
        (["--rates", "0"], "--rates: 0 is no rate"),
        (["--seconds", "0"], "--seconds is 0.0; expected a number above 0"),
        (["--rows", "0"], "--rows is 0"),
        (["--p99-ms", "-1"], "--p99-ms is -1.0"),
        (["--out", "curve.pdf"], "--out is 'curve.pdf'; expected a name that ends in .png or .svg"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_sent(arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(bench, ["--address", "localhost:1", *arguments])
    assert isinstance(result.exception, BadRequest)
    assert str(result.exception).startswith(problem)


async def test_columns_beside_a_spine_are_refused(server: Server, tmp_path: Path) -> None:
    result = await run(server.address, "--ip", "1", "--spine", str(tmp_path / "rows.parquet"))
    assert isinstance(result.exception, BadRequest)
    assert "leave out --ip" in str(result.exception)


async def test_a_request_that_the_server_refuses_is_its_own_sentence(server: Server) -> None:
    result = await run(server.address, "--ip", "1", "--bed", "1")
    assert isinstance(result.exception, NoAnswer)
    assert "Did you mean 'bid'" in str(result.exception)


async def test_without_a_server_it_says_how_to_start_one() -> None:
    result = await run(f"127.0.0.1:{free_port()}", "--ip", "1")
    assert isinstance(result.exception, NoAnswer)
    assert "Start a server with `lockstep serve`" in str(result.exception)


def up_to(limit: float, **seen: float) -> Callable[[float], Step]:
    """A made-up server that keeps pace up to a rate."""

    def run(rate: float) -> Step:
        answered = 100
        return step([1.0] * answered, rate=rate, lasted_s=1.0 if rate <= limit else 2.0, **seen)  # type: ignore[arg-type]

    return run


def test_rates_are_doubled_until_one_is_not_sustained_and_the_gap_is_narrowed() -> None:
    run = up_to(1700)
    steps = doubled(SETTINGS, run)
    assert [one.rate for one in steps] == [250, 500, 1000, 2000]
    between = narrowed(SETTINGS, steps, run)
    assert [one.rate for one in between] == [1500, 1750, 1625]
    assert highest_sustained(SETTINGS, [*steps, *between]) == 1625


def test_doubling_ends_where_the_generator_is_the_limit() -> None:
    assert [one.rate for one in doubled(SETTINGS, up_to(1e9, cpu=0.99))] == [250]


def test_nothing_is_narrowed_where_no_rate_failed_or_none_was_sustained() -> None:
    assert narrowed(SETTINGS, [up_to(1e9)(100)], up_to(1e9)) == []
    assert narrowed(SETTINGS, [up_to(1)(100)], up_to(1)) == []
    assert highest_sustained(SETTINGS, [up_to(1)(100)]) is None


@pytest.mark.parametrize(
    ("seen", "p99_ms", "sustained"),
    [
        (step([1.0] * 100), math.inf, True),
        (step([1.0] * 100, lasted_s=1.05), math.inf, False),  # fell behind
        (step([1.0] * 99, failed=1), math.inf, False),
        (step([1.0] * 2000, failed=1, lasted_s=1.0), math.inf, True),
        (step([9.0] * 100), 5.0, False),
        (step([3.0] * 100), 5.0, True),
    ],
)
def test_sustained_means_in_pace_without_failures_and_fast_enough(seen: Step, p99_ms: float, sustained: bool) -> None:
    settings = Bench(**{**vars(SETTINGS), "p99_ms": p99_ms})
    assert settings.sustained(seen) == sustained


@pytest.mark.parametrize("highest", [None, 100.0])
def test_the_picture_shows_what_is_known(tmp_path: Path, highest: float | None) -> None:
    nan = float("nan")
    points = [Point(100, [1.0, 2.0, nan], True), Point(2000, [5.0, 50.0, nan], False)]
    draw(tmp_path / "curve.svg", "a model", "how it was loaded", points, highest)
    text = (tmp_path / "curve.svg").read_text()
    assert "p99" in text
    assert "p99.9" not in text  # nothing is known of it
    assert ("100/s sustained" in text) == (highest is not None)
