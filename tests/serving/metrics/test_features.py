import numpy as np
import pytest

from lockstep.bundle import build
from lockstep.resolve import resolve
from lockstep.status import Status
from serving.metrics.features import FeatureMeter, FoundRows
from serving.scoring import summaries
from tests.bundles import NOON, PLAN, TTL, MemoryReader, bundle_files, row

ROWS = {
    1: row(NOON - 2_000_000),
    2: row(NOON - TTL - 1),
    3: row(NOON, clicks=None),
    4: row(NOON + 1),
}
GIVEN = {"ip": np.array([1, 2, 3, 4, 5, 1]), "bid": np.ones(6, np.float32), "site": np.full(6, "", object)}
T = np.full(6, NOON)


@pytest.fixture
async def meter() -> FeatureMeter:
    """Six rows: usable, stale, NULL, of the future, missing, usable; added twice."""
    found = await MemoryReader(ROWS).read(PLAN, GIVEN, 6)
    made = FeatureMeter(PLAN)
    for _ in range(2):
        resolved = resolve(PLAN, found, GIVEN, T)
        made.add([FoundRows(resolved.found, resolved.event_us, T, summaries(resolved, [4, 1, 1]))])
    return made


async def test_values_are_counted_by_view_and_status(meter: FeatureMeter) -> None:
    counts = {status: count for _, status, count in meter.statuses() if count}
    assert counts == {
        Status.PRESENT: 4,  # clicks of address 1, whose last_click is NULL
        Status.NULL: 8,
        Status.STALE: 4,
        Status.FUTURE: 4,
        Status.NOT_FOUND: 4,
    }


async def test_all_statuses_of_stored_values_are_there_from_the_start() -> None:
    assert {status for _, status, _ in FeatureMeter(PLAN).statuses()} == set(Status) - {Status.REQUEST}


async def test_defaults_are_counted(meter: FeatureMeter) -> None:
    assert meter.defaults() == {"ip_activity": 2 * 4}  # of clicks, the one that has a default


async def test_rows_that_are_there_have_an_age_and_others_none(meter: FeatureMeter) -> None:
    ages = meter.ages()["ip_activity"]
    assert sum(ages.counts) == 2 * 4
    assert ages.total == pytest.approx(2 * (2 + 2 + 0 + (TTL + 1) / 1e6))


async def test_a_plan_without_views_counts_nothing() -> None:
    plan = build(bundle_files()).plan
    bare = type(plan)(plan.project, "bare", (), tuple(plan.given.values()), ("bid",))
    meter = FeatureMeter(bare)
    resolved = resolve(bare, {}, GIVEN, T)
    meter.add([FoundRows(resolved.found, resolved.event_us, T, summaries(resolved, [6]))])
    assert (list(meter.statuses()), dict(meter.ages())) == ([], {})
