"""A lane waits for those who come back at once, and for nobody else."""

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest

from lockstep.bundle import Bundle, build
from lockstep.plan import Array, Plan
from serving.company import LONGEST_S, Company
from serving.lane import Lane
from tests.bundles import bundle_files
from tests.serving.test_lane import Shop, ask, lane_of, opened

TOOK_S = 0.001


class Hands:
    """A clock that stands still between two looks."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Hands:
    return Hands()


def batches(company: Company, clock: Hands, *, callers: int, back: int, after_s: float, times: int = 10) -> None:
    """Some batches after each of which so many of its callers come back, so long after it."""
    for _ in range(times):
        company.answered(callers, TOOK_S)
        clock.now_s += after_s
        for _ in range(back):
            company.came()
        clock.now_s += 0.1


def test_who_never_came_back_is_not_waited_for(clock: Hands) -> None:
    company = Company(clock)
    assert not company.expected
    company.answered(4, TOOK_S)
    assert not company.expected


@pytest.mark.parametrize(
    ("back", "after_s", "waits"),
    [
        pytest.param(4, 0.0003, True, id="all of them"),
        pytest.param(7, 0.0003, True, id="and others"),
        pytest.param(3, 0.0003, False, id="too few of them"),
        pytest.param(4, 0.0006, False, id="too late: longer than half of the batch"),
    ],
)
def test_who_came_back_at_once_is_waited_for(clock: Hands, back: int, after_s: float, waits: bool) -> None:
    company = Company(clock)
    batches(company, clock, callers=4, back=back, after_s=after_s)
    company.answered(4, TOOK_S)
    assert company.expected is waits


def test_the_wait_ends_with_the_last_of_them_or_with_its_time(clock: Hands) -> None:
    company = Company(clock)
    batches(company, clock, callers=2, back=2, after_s=0.0)
    company.answered(2, TOOK_S)
    company.came()
    assert company.expected
    company.came()
    assert not company.expected
    company.answered(2, TOOK_S)
    clock.now_s += 0.49 * TOOK_S
    assert company.expected
    clock.now_s += 0.02 * TOOK_S
    assert not company.expected
    company.answered(2, 50.0)
    clock.now_s += 0.99 * LONGEST_S
    assert company.expected
    clock.now_s += 0.02 * LONGEST_S
    assert not company.expected


def test_who_comes_back_no_more_is_soon_forgotten(clock: Hands) -> None:
    company = Company(clock)
    batches(company, clock, callers=8, back=8, after_s=0.0, times=1000)
    batches(company, clock, callers=8, back=0, after_s=0.0, times=3)
    company.answered(8, TOOK_S)
    assert not company.expected


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build(bundle_files())


def ticking(lane: Lane) -> Lane:
    """With a clock on which every look takes a microsecond: the machine's pauses are none of it."""
    looks = count()
    lane._company = Company(lambda: next(looks) * 1e-6)
    return lane


class Distant(Shop):
    """A store that is some turns of the loop away."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Any:
        """As its base class, later."""
        await turns(20)
        return await super().read(plan, given, rows)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_two_halves_that_take_turns_become_one(bundle: Bundle) -> None:
    shop = Distant()
    shop.gate.set()
    lane = ticking(lane_of(bundle, shop))

    async def caller(number: int) -> None:
        await turns(10 * (number % 2))  # the odd ones find the even ones under way
        for _ in range(12):
            await ask(lane, number)
            await turns(8)  # the way to the caller and back

    await asyncio.gather(*map(caller, range(8)))
    assert [len(ips) for ips in shop.reads] == [4, 4, *[8] * 11]


async def test_a_lane_does_not_wait_for_ever(bundle: Bundle) -> None:
    shop = opened()
    lane = ticking(lane_of(bundle, shop))
    for _ in range(9):
        await asyncio.gather(ask(lane, 1), ask(lane, 2))
    await asyncio.wait_for(ask(lane, 1), 5)
    assert [len(ips) for ips in shop.reads] == [2] * 9 + [1]
