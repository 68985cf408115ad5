"""The training frame against a lookup in the raw log by plain loops, and features as served against both."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import FeatureStore
from numpy.typing import NDArray

from lockstep.functions import Function
from lockstep.home import Home
from lockstep.plan import Array, Column, DType, Given, Plan
from lockstep.status import Status
from lockstep.times import DAY, HOUR, parse_time
from training.events import read_log
from training.frame import Frame, as_column, assemble, fetch, fetch_as_served
from training.given import micros
from training.plans import EVENT_TIMESTAMP, build_plan
from training.specs.install import SPEC, spine
from training.tables.specs import TICK

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")

Mask = NDArray[np.bool_]
MIDNIGHT = parse_time("2017-11-08T00:00:00Z")


@dataclass(frozen=True)
class Log:
    """The raw log by column; times in µs, `installed` the greatest int64 where no install is known."""

    at: NDArray[np.int64]
    installed: NDArray[np.int64]
    ids: dict[str, NDArray[np.int64]]

    def within(self, mine: Mask, t: int, width: int) -> Mask:
        """Clicks in [t - width, t)."""
        return mine & (self.at >= t - width) & (self.at < t)


@pytest.fixture(scope="module")
def log(home: Home) -> Log:
    table = read_log(home.events)
    never = np.iinfo(np.int64).max
    installed = table["attributed_time"].cast(pa.int64()).fill_null(never).to_numpy()
    names = ("ip", "app", "channel", "os", "device")
    return Log(
        micros(table["click_time"]), installed, {name: table[name].to_numpy().astype(np.int64) for name in names}
    )


@pytest.fixture(scope="module")
def planned(feast_store: FeatureStore) -> tuple[Plan, dict[str, Function]]:
    return build_plan(feast_store, SPEC)


@pytest.fixture(scope="module")
def rows(home: Home) -> pa.Table:
    """Some clicks of the whole log, first and last days too, in its order."""
    every = spine(home)
    chosen = np.sort(np.random.default_rng(3).choice(len(every), 400, replace=False))
    return every.take(pa.array(chosen))


@pytest.fixture(scope="module")
def frame(feast_store: FeatureStore, planned: tuple[Plan, dict[str, Function]], rows: pa.Table) -> Frame:
    plan, functions = planned
    return assemble(plan, functions, fetch(feast_store, plan, rows), rows)


# The lookup: what a model may know of a click, from the raw log alone. None is missing.


def of_address(log: Log, row: dict[str, int]) -> dict[str, Any]:
    t, mine = row[EVENT_TIMESTAMP], log.ids["ip"] == row["ip"]
    day = np.flatnonzero(log.within(mine, t, DAY))
    seen = bool((mine & (log.at < t)).any())
    order = day[np.lexsort([log.ids[name][day] for name in ("device", "os", "channel", "app")] + [log.at[day]])]
    counts = {f"clicks_{h}h_by_ip": int(log.within(mine, t, h * HOUR).sum()) for h in (1, 6, 24)}
    return {
        **{name: count if seen else None for name, count in counts.items()},
        "distinct_apps_24h_by_ip": len(set(log.ids["app"][day].tolist())) if seen else None,
        "recent_apps_by_ip": " ".join(f"a{log.ids['app'][one]}" for one in order[-10:]),
        "seconds_since_last_by_ip": (t - int(log.at[day].max())) / 1e6 if len(day) else None,
    }


def of_address_and_app(log: Log, row: dict[str, int]) -> dict[str, Any]:
    t, mine = row[EVENT_TIMESTAMP], (log.ids["ip"] == row["ip"]) & (log.ids["app"] == row["app"])
    day, seen = log.at[log.within(mine, t, DAY)], bool((mine & (log.at < t)).any())
    return {
        **{f"clicks_{h}h_by_ip_app": int(log.within(mine, t, h * HOUR).sum()) if seen else None for h in (1, 24)},
        "seconds_since_last_by_ip_app": (t - int(day.max())) / 1e6 if len(day) else None,
    }


def of_id(log: Log, row: dict[str, int], name: str) -> dict[str, Any]:
    """At the newest tick; a log of three days is shorter than what would make a key's row stale."""
    tick, mine = row[EVENT_TIMESTAMP] // TICK * TICK, log.ids[name] == row[name]
    return {f"install_rate_{h}h_by_{name}": install_rate(log, mine, tick, h * HOUR) for h in (24, 72)}


def install_rate(log: Log, mine: Mask, t: int, width: int) -> float | None:
    near, installed = log.within(np.ones_like(mine), t, width), log.installed < t
    known = near & (installed | (log.at < t - 6 * HOUR))
    if not (known & mine).any():
        return None
    everyone = int((near & installed).sum()) / int(known.sum())
    return (int((near & installed & mine).sum()) + 50.0 * everyone) / (int((known & mine).sum()) + 50.0)


def of_request(row: dict[str, int]) -> dict[str, Any]:
    when = datetime.fromtimestamp(row[EVENT_TIMESTAMP] / 1e6, UTC)
    hour = when.hour + when.minute / 60 + (when.second + when.microsecond / 1e6) / 3600
    ids = {name: row[name] for name in ("app", "channel", "os")}
    return {**ids, "device_os": row["device"] * 10_000 + row["os"], "hour_of_day": hour}


def looked_up(log: Log, rows: pa.Table) -> dict[str, list[Any]]:
    """Every input of the example's model for some rows."""
    columns = {name: rows[name].to_pylist() for name in SPEC.request} | {EVENT_TIMESTAMP: micros(rows[EVENT_TIMESTAMP])}
    found = []
    for at in range(len(rows)):
        row = {name: int(values[at]) for name, values in columns.items()}
        dense = [of_id(log, row, name) for name in ("app", "channel", "os")]
        parts = [of_address(log, row), of_address_and_app(log, row), *dense, of_request(row)]
        found.append({name: value for part in parts for name, value in part.items()})
    return {name: [row[name] for row in found] for name in found[0]}


def test_every_input_equals_a_lookup_in_the_raw_log(frame: Frame, rows: pa.Table, log: Log) -> None:
    wanted = looked_up(log, rows)
    assert set(frame.inputs) <= set(wanted)
    for name, values in frame.inputs.items():
        if values.dtype.kind == "f":
            expected = np.array([np.nan if one is None else one for one in wanted[name]], values.dtype)
            np.testing.assert_array_max_ulp(np.nan_to_num(values, nan=-1), np.nan_to_num(expected, nan=-1), 1)
        else:
            assert values.tolist() == wanted[name], name


def test_the_sample_has_rows_of_every_kind(frame: Frame) -> None:
    for name in ("clicks_24h_by_ip", "clicks_24h_by_ip_app", "seconds_since_last_by_ip", "install_rate_24h_by_app"):
        missing = np.isnan(frame.inputs[name]).mean()
        assert 0 < missing < 1, name


@pytest.mark.parametrize("how", ["fetch", "as served"])
def test_a_shuffled_spine_gives_the_same_rows_shuffled(
    how: str, feast_store: FeatureStore, planned: tuple[Plan, dict[str, Function]], rows: pa.Table
) -> None:
    plan, functions = planned
    order = np.random.default_rng(4).permutation(len(rows))
    mixed = rows.take(pa.array(order))

    def made(spine: pa.Table) -> Frame:
        served = [MIDNIGHT] if how == "as served" else None
        found = fetch_as_served(feast_store, plan, spine, served) if served else fetch(feast_store, plan, spine)
        return assemble(plan, functions, found, spine)

    check_same(made(rows).take(order), made(mixed))


def check_same(one: Frame, other: Frame) -> None:
    np.testing.assert_array_equal(one.t, other.t)
    assert one.inputs.keys() == other.inputs.keys()
    for name, values in one.inputs.items():
        np.testing.assert_array_equal(values, other.inputs[name], err_msg=name)


def test_as_served_by_a_run_at_every_t_is_the_point_in_time_join(
    feast_store: FeatureStore, planned: tuple[Plan, dict[str, Function]], rows: pa.Table, frame: Frame
) -> None:
    plan, functions = planned
    runs = np.unique(micros(rows[EVENT_TIMESTAMP])).tolist()
    check_same(assemble(plan, functions, fetch_as_served(feast_store, plan, rows, runs), rows), frame)


def test_as_served_is_the_join_at_the_last_run_with_the_ttl_and_the_functions_at_t(
    feast_store: FeatureStore, planned: tuple[Plan, dict[str, Function]], rows: pa.Table
) -> None:
    plan, functions = planned
    late = rows.filter(pa.array(micros(rows[EVENT_TIMESTAMP]) >= MIDNIGHT))
    found = fetch_as_served(feast_store, plan, late, [MIDNIGHT - DAY, MIDNIGHT])
    served = assemble(plan, functions, found, late)
    at = late.column_names.index(EVENT_TIMESTAMP)
    midnight = pa.array([MIDNIGHT] * len(late)).cast(late.schema.field(EVENT_TIMESTAMP).type)
    then = assemble(plan, functions, fetch(feast_store, plan, late.set_column(at, EVENT_TIMESTAMP, midnight)), late)
    stale = served.resolved.status["install_rate_24h_by_app"] == Status.STALE
    assert 0 < stale.sum() < len(late), "views of 12 h grow stale in the afternoon"
    for name in ("clicks_24h_by_ip", "seconds_since_last_by_ip", "hour_of_day", "recent_apps_by_ip"):
        np.testing.assert_array_equal(served.inputs[name], then.inputs[name], err_msg=name)
    rates, rates_then = (one.inputs["install_rate_24h_by_app"] for one in (served, then))
    np.testing.assert_array_equal(rates[~stale], rates_then[~stale])
    assert np.isnan(rates[stale]).all()


def test_before_the_first_run_the_store_is_empty(
    feast_store: FeatureStore, planned: tuple[Plan, dict[str, Function]], rows: pa.Table
) -> None:
    plan, functions = planned
    first = int(micros(rows[EVENT_TIMESTAMP]).max()) + 1
    served = assemble(plan, functions, fetch_as_served(feast_store, plan, rows, [first]), rows)
    for name in served.resolved.stored:
        assert (served.resolved.status[name] == Status.NOT_FOUND).all()


# Columns of Arrow.

TIME = pa.timestamp("ns", tz="UTC")
CASES: dict[str, tuple[DType, pa.Array, list[Any], list[bool]]] = {
    "whole numbers with NULL": (DType.FLOAT32, pa.array([1, None, 2**24]), [1.0, None, 2.0**24], [True, False, True]),
    "floats with NaN": (DType.FLOAT32, pa.array([0.5, float("nan"), None]), [0.5, None, None], [True, False, False]),
    "flags": (DType.FLOAT32, pa.array([True, None, False]), [1.0, None, 0.0], [True, False, True]),
    "texts": (DType.STRING, pa.array(["a", None, ""]), ["a", None, ""], [True, False, True]),
    "ids": (DType.INT64, pa.array([2**62, 1], pa.int64()), [2**62, 1], [True, True]),
    "small ids": (DType.INT64, pa.array([7, 1], pa.int8()), [7, 1], [True, True]),
    "times of ns": (DType.TIMESTAMP, pa.array([1_999, None], TIME), [1.0, None], [True, False]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES)
def test_a_column_of_arrow_becomes_the_plans_dtype(case: str) -> None:
    dtype, array, wanted, valid = CASES[case]
    values, found = as_column(Column("it", dtype, Given("request")), pa.chunked_array([array]))
    assert values.dtype == dtype.numpy
    assert found.tolist() == valid
    assert values[valid].tolist() == [one for one in wanted if one is not None]


def test_some_rows_of_a_frame_are_all_their_columns(frame: Frame) -> None:
    rows: Array = np.array([5, 1])
    few = frame.take(rows)
    assert len(few) == 2
    np.testing.assert_array_equal(few.t, frame.t[rows])
    np.testing.assert_array_equal(few.inputs["app"], frame.inputs["app"][rows])
    np.testing.assert_array_equal(few.resolved.status["ip"], frame.resolved.status["ip"][rows])
