"""The reason of each status, said to a person."""

import numpy as np
import pytest

from lockstep.cli.explanation import Explanation, age, plain_features
from lockstep.times import DAY, HOUR, MINUTE, SECOND
from lockstep_client import Feature, Status
from tests.bundles import NOON, PLAN


def feature(
    name: str, status: Status | None, *, event_us: int = 0, value: float = -1.0, defaulted: bool = False
) -> Feature:
    """One row of a column; a computed one has no status."""
    read = status is not None and name in ("clicks", "last_click")
    return Feature(
        name=name,
        view="ip_activity" if read else "",
        values=np.array([value]),
        status=() if status is None else (status,),
        defaulted=np.array([] if status is None else [defaulted]),
        event_us=np.array([event_us] if read else [], np.int64),
    )


def explained(*features: Feature) -> Explanation:
    """Those features at noon."""
    return Explanation(PLAN, {one.name: one for one in features}, {"ip": [7]}, np.array([NOON]))


@pytest.mark.parametrize(
    ("name", "status", "event_us", "why"),
    [
        ("clicks", Status.PRESENT, NOON - 5, "the row of ip=7 in ip_activity"),
        ("clicks", Status.NULL, NOON, "the row of ip=7 in ip_activity holds NULL"),
        ("clicks", Status.NOT_FOUND, 0, "no row of ip=7 in ip_activity: never written, or expired"),
        ("clicks", Status.STALE, NOON - HOUR, "the newest row is older than the TTL of ip_activity, 1m"),
        ("clicks", Status.FUTURE, NOON + SECOND, "the row of ip_activity is dated 2017-11-09T12:00:01Z, after t"),
        ("clicks", Status.FUTURE, NOON - SECOND, "the row of ip_activity was created after t"),
        (
            "clicks",
            Status.UNREADABLE,
            0,
            "what ip_activity stores is of no schema or meaning that the model knows; the server's log says more",
        ),
        ("clicks", Status.UNREACHABLE, 0, "the online store did not answer in its share of the deadline"),
        ("bid", Status.REQUEST, 0, "came with the request"),
        ("site", Status.NULL, 0, "left out of the request"),
        ("seconds_since", None, 0, "seconds_since(event_timestamp, last_click)"),
        ("event_timestamp", None, 0, "t, the time of the row"),
    ],
)
def test_each_status_has_its_reason(name: str, status: Status | None, event_us: int, why: str) -> None:
    one = feature(name, status, event_us=event_us)
    assert explained(one).why(one, 0) == why


def test_a_field_that_its_row_lacks_is_told_from_a_row_that_is_not_there() -> None:
    missing, found = feature("clicks", Status.NOT_FOUND), feature("last_click", Status.PRESENT, event_us=NOON)
    assert explained(missing, found).why(missing, 0).endswith("is of an older schema, without 'clicks'")


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0s"),
        (1500, "0.0015s"),
        (59 * SECOND, "59s"),
        (MINUTE, "1m"),
        (90 * SECOND, "1m 30s"),
        (2 * HOUR + 59 * MINUTE + 59 * SECOND, "2h 59m"),
        (26 * HOUR, "1d 2h"),
        (800 * DAY, "800d"),
        (-5 * SECOND, "-5s"),
    ],
)
def test_an_age_is_said_in_its_two_largest_units(us: int, text: str) -> None:
    assert age(us) == text


def test_plain_data_have_null_for_nan() -> None:
    one = feature("clicks", Status.NULL, value=float("nan"), defaulted=False)
    assert plain_features({"clicks": one})["clicks"]["values"] == [None]
