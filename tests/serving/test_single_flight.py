"""Rows that are being scored: who joins whom, and what is left when scoring or storing fails."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serving.single_flight import Missing, Scored, SingleFlight

TTL = 100


class Model:
    """Scores a row with its t, when it is told to go on."""

    def __init__(self) -> None:
        self.asked: list[Missing] = []
        self.kept: list[Missing] = []
        self.go_on = asyncio.Event()
        self.fails: Exception | None = None
        self.storing_fails: Exception | None = None

    async def score(self, rows: Missing, read_by_s: float) -> Scored:
        self.asked.append(rows)
        await self.go_on.wait()
        if self.fails:
            raise self.fails
        return Scored(rows.t.astype(np.float64), np.zeros(len(rows.t), np.int8))

    async def keep(self, rows: Missing, made: Scored) -> None:
        if self.storing_fails:
            raise self.storing_fails
        self.kept.append(rows)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def flights(model: Model) -> SingleFlight:
    return SingleFlight(model.score, model.keep, TTL)


def rows(*pairs: tuple[bytes, int], version: str = "1") -> Missing:
    """Requests and their t."""
    t = np.array([t for _, t in pairs])
    return Missing(version, [request for request, _ in pairs], {"t": t}, t)


async def scores(flights: list[Any]) -> list[float]:
    return [(await flight.done).scores[flight.place] for flight in flights]


async def settled(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


async def test_each_request_is_scored_once_whoever_asks(flights: SingleFlight, model: Model) -> None:
    first = flights.join(rows((b"a", 1), (b"b", 1), (b"a", 1)), 0.0)
    second = flights.join(rows((b"b", 5), (b"c", 5)), 0.0)
    await asyncio.sleep(0)
    model.go_on.set()
    assert await scores(first) == [1, 1, 1]
    assert await scores(second) == [1, 5]
    assert [batch.requests for batch in model.asked] == [[b"a", b"b"], [b"c"]]
    assert [flight.t_us for flight in second] == [1, 5]


@pytest.mark.parametrize(
    ("t", "joins"),
    [(9, False), (10, True), (10 + TTL, True), (11 + TTL, False)],
    ids=["before", "at", "old", "too old"],
)
async def test_a_score_on_its_way_is_joined_where_it_may_be_used(
    flights: SingleFlight, model: Model, t: int, joins: bool
) -> None:
    flights.join(rows((b"a", 10)), 0.0)
    late = flights.join(rows((b"a", t)), 0.0)
    await asyncio.sleep(0)
    model.go_on.set()
    assert await scores(late) == [10 if joins else t]
    assert len(model.asked) == (1 if joins else 2)


async def test_versions_never_share_a_score(flights: SingleFlight, model: Model) -> None:
    for version in ("1", "2"):
        flights.join(rows((b"a", 1), version=version), 0.0)
    await asyncio.sleep(0)
    assert [batch.version for batch in model.asked] == ["1", "2"]
    model.go_on.set()
    await settled(lambda: len(model.kept) == 2)


async def test_a_request_that_was_stored_is_scored_anew_the_next_time(flights: SingleFlight, model: Model) -> None:
    model.go_on.set()
    await scores(flights.join(rows((b"a", 1)), 0.0))
    await settled(lambda: model.kept)
    await asyncio.sleep(0)
    await scores(flights.join(rows((b"a", 1)), 0.0))
    assert len(model.asked) == 2


async def test_scoring_that_fails_leaves_nobody_waiting_and_is_said(
    flights: SingleFlight, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    model.fails = ValueError("no such column")
    model.go_on.set()
    (flight,) = flights.join(rows((b"a", 1)), 0.0)
    with pytest.raises(asyncio.CancelledError):
        await flight.done
    await settled(lambda: "no such column" in caplog.text)
    model.fails = None
    assert await scores(flights.join(rows((b"a", 2)), 0.0)) == [2]


async def test_storing_that_fails_costs_nobody_the_answer(
    flights: SingleFlight, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    model.storing_fails = ValueError("full")
    model.go_on.set()
    assert await scores(flights.join(rows((b"a", 1)), 0.0)) == [1]
    await settled(lambda: "live scoring failed" in caplog.text)
