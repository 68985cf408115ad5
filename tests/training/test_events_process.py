"""The made-up click log keeps its promises, and what it hides can be found."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from lockstep.errors import BadRequest
from lockstep.times import DAY, SECOND, parse_time
from training.events import SCHEMA, generate, sort_log
from training.events.process import FARM_CLICKS

START = date(2017, 11, 6)
ORIGIN = parse_time("2017-11-06T00:00:00Z")
CLICK = ["ip", "app", "device", "os", "channel", "click_time"]


@pytest.fixture(scope="module")
def week() -> pd.DataFrame:
    """A week of 60,000 clicks; times as int64 µs, -1 where there was no install."""
    log = generate(60_000, 7, 7, START)
    frame: pd.DataFrame = log.drop_columns(["click_time", "attributed_time"]).to_pandas()
    frame["click_time"] = log["click_time"].cast(pa.int64()).to_numpy()
    frame["attributed_time"] = log["attributed_time"].cast(pa.int64()).to_pandas().fillna(-1).astype("int64").to_numpy()
    return frame


def test_equal_arguments_give_equal_bytes() -> None:
    one, other = (generate(3_000, 3, 11, START) for _ in range(2))
    assert one.equals(other)
    assert not generate(3_000, 3, 12, START).equals(one)


@pytest.mark.parametrize(("clicks", "days"), [(1, 1), (2, 1), (37, 1), (500, 30), (20_000, 2)])
def test_a_log_has_exactly_the_clicks_that_were_asked_for(clicks: int, days: int) -> None:
    log = generate(clicks, days, 5, START)
    assert log.num_rows == clicks
    assert log.schema.equals(SCHEMA)
    assert log.equals(sort_log(log))


@pytest.mark.parametrize(("clicks", "days"), [(0, 1), (1, 0), (-5, 7)])
def test_a_log_of_nothing_is_refused(clicks: int, days: int) -> None:
    with pytest.raises(BadRequest, match="at least one click and one day"):
        generate(clicks, days, 5, START)


def test_times_are_whole_seconds_within_the_days(week: pd.DataFrame) -> None:
    installed = week[week.is_attributed == 1]
    assert (week.click_time % SECOND == 0).all()
    assert (installed.attributed_time % SECOND == 0).all()
    assert week.click_time.between(ORIGIN, ORIGIN + 7 * DAY - 1).all()
    assert set(week.click_time // DAY) == {ORIGIN // DAY + day for day in range(7)}


def test_no_two_clicks_are_equal_and_none_is_installed_twice(week: pd.DataFrame) -> None:
    assert not week.duplicated(CLICK).any()
    assert not week[week.is_attributed == 1].duplicated(["ip", "app"]).any()


def test_installs_follow_their_clicks_by_seconds_to_hours(week: pd.DataFrame) -> None:
    assert ((week.attributed_time >= 0) == (week.is_attributed == 1)).all()
    installed = week[week.is_attributed == 1]
    delay_s = (installed.attributed_time - installed.click_time) / SECOND
    assert delay_s.min() >= 1
    assert delay_s.max() <= 12 * 3600
    assert 120 < delay_s.median() < 480
    assert installed.attributed_time.max() < ORIGIN + 7 * DAY


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_about_seven_clicks_in_a_thousand_lead_to_an_install(seed: int) -> None:
    log: Any = generate(60_000, 7, seed, START)["is_attributed"].to_numpy()
    assert 0.005 < log.mean() < 0.010


def test_no_ip_clicks_more_than_a_farm_may(week: pd.DataFrame) -> None:
    assert week.ip.value_counts().max() <= FARM_CLICKS


def test_ips_come_and_go(week: pd.DataFrame) -> None:
    seen = week.groupby("ip").click_time.agg(["min", "max"]) // DAY - ORIGIN // DAY
    assert (seen["min"].value_counts() > 100).all()
    assert (seen["max"] < 5).sum() > 500


def test_the_past_of_an_ip_tells_more_than_the_request(week: pd.DataFrame) -> None:
    late = week.click_time >= ORIGIN + 5 * DAY
    request = _rates(week, ~late, ["app"]) * _rates(week, ~late, ["channel"]) * _rates(week, ~late, ["os"])
    earlier = week.groupby("ip").cumcount()
    label = week.is_attributed[late]
    alone, with_past = (roc_auc_score(label, score[late]) for score in (request, request / (1.0 + earlier)))
    assert alone > 0.6
    assert with_past > alone + 0.1


def _rates(log: pd.DataFrame, learn: "pd.Series[bool]", keys: list[str]) -> "np.ndarray[Any, Any]":
    """Smoothed install rate of each row's key, learnt from some rows."""
    overall = log.is_attributed[learn].mean()
    seen = log[learn].groupby(keys).is_attributed.agg(["sum", "count"])
    rate = (seen["sum"] + 100 * overall) / (seen["count"] + 100)
    return np.asarray(log[keys[0]].map(rate).fillna(overall))
