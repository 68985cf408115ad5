"""The feature tables against a reference computed from the raw log by plain loops, never from a table."""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockstep.errors import BadFile, TablesRefused
from lockstep.home import Home
from lockstep.times import DAY, HOUR, MINUTE, parse_time
from training.events import SCHEMA, write_log
from training.events.log import date_of, times_us
from training.tables import TABLES, build, check_unique, definition, table_files
from training.tables.specs import TICK

START = parse_time("2017-11-07T00:00:00Z")
SLOW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@dataclass(frozen=True)
class Click:
    """One row of the log; times in µs, `installed` None where no install is known."""

    at: int
    ip: int
    app: int
    device: int
    os: int
    channel: int
    installed: int | None


Row = dict[str, Any]
Rows = dict[tuple[int, ...], list[tuple[int, Row]]]
Reference = Callable[[list[Click], tuple[int, ...], int], Row]


# The reference. A window feature at t counts the clicks in [t - w, t).


def within(clicks: Iterable[Click], t: int, width: int) -> list[Click]:
    return [click for click in clicks if t - width <= click.at < t]


def ip_activity(clicks: list[Click], key: tuple[int, ...], t: int) -> Row:
    mine = [click for click in clicks if (click.ip,) == key]
    day = sorted(within(mine, t, DAY), key=lambda click: (click.at, click.app, click.channel, click.os, click.device))
    return {
        "clicks_1h_by_ip": len(within(mine, t, HOUR)),
        "clicks_6h_by_ip": len(within(mine, t, 6 * HOUR)),
        "clicks_24h_by_ip": len(day),
        "distinct_apps_24h_by_ip": len({click.app for click in day}),
        "last_click_time_by_ip": day[-1].at if day else None,
        "recent_apps_by_ip": " ".join(f"a{click.app}" for click in day[-10:]) if day else None,
    }


def ip_app_activity(clicks: list[Click], key: tuple[int, ...], t: int) -> Row:
    mine = [click for click in clicks if (click.ip, click.app) == key]
    day = within(mine, t, DAY)
    return {
        "clicks_1h_by_ip_app": len(within(mine, t, HOUR)),
        "clicks_24h_by_ip_app": len(day),
        "last_click_time_by_ip_app": max(click.at for click in day) if day else None,
    }


def install_rate(clicks: list[Click], mine: list[Click], t: int, width: int) -> float | None:
    n, installs = known_labels(mine, t, width)
    every_n, every_installs = known_labels(clicks, t, width)
    return (installs + 50.0 * (every_installs / every_n)) / (n + 50.0) if n else None


def known_labels(clicks: list[Click], t: int, width: int) -> tuple[int, int]:
    """Clicks of the window whose label is known at t, and those of them that were installed before t."""
    near = within(clicks, t, width)
    installed = [click.installed is not None and click.installed < t for click in near]
    mature = [click.at < t - 6 * HOUR for click in near]
    return sum(map(max, installed, mature)), sum(installed)


def key_activity(name: str) -> Reference:
    def at(clicks: list[Click], key: tuple[int, ...], t: int) -> Row:
        mine = [click for click in clicks if (getattr(click, name),) == key]
        counts = {f"clicks_{h}h_by_{name}": len(within(mine, t, h * HOUR)) for h in (1, 6, 24)}
        rates = {f"install_rate_{h}h_by_{name}": install_rate(clicks, mine, t, h * HOUR) for h in (24, 72)}
        return counts | rates

    return at


SPARSE: dict[str, Reference] = {"ip_activity": ip_activity, "ip_app_activity": ip_app_activity}
DENSE: dict[str, Reference] = {f"{name}_activity": key_activity(name) for name in ("app", "channel", "os")}


# Random logs, dense in coincidences: clicks meet at bounds of windows, ticks and days, a microsecond off or exactly.

JUMPS = st.sampled_from([0, 0, 0, 0, 0, 0, TICK, HOUR, HOUR, 6 * HOUR, DAY, 3 * DAY])
NUDGES = st.sampled_from([-TICK, -1, 0, 0, 1, 500_000, 3 * MINUTE])
DELAYS = st.none() | st.sampled_from([0, 1, TICK, 6 * HOUR - 1, 6 * HOUR, 6 * HOUR + 1, DAY, 3 * DAY])


@st.composite
def logs(draw: st.DrawFn) -> list[Click]:
    clicks, at = [], START + draw(st.integers(0, 8)) * 3 * HOUR
    for _ in range(draw(st.integers(1, 14))):
        at = min(at + draw(JUMPS), START + 5 * DAY)
        when = at + draw(NUDGES)
        ip, app, device, os, channel = (draw(st.integers(1, most)) for most in (2, 3, 2, 2, 2))
        delay = draw(DELAYS)
        clicks.append(Click(when, ip, app, device, os, channel, None if delay is None else when + delay))
    return clicks


def busy_log(clicks: int = 120, seed: int = 3) -> list[Click]:
    """A log of two and a half days in which keys are busy enough for every branch."""
    rng, steps = random.Random(seed), [1, 500_000, MINUTE, 7 * MINUTE, TICK, HOUR]
    log, at = [], START + 5 * HOUR
    for _ in range(clicks):
        at += rng.choice(steps) - rng.choice([0, 0, 1])
        delay = rng.choice([None, None, 0, 1, HOUR, 6 * HOUR, 6 * HOUR + 1, 30 * HOUR])
        ids = (rng.randint(1, 3), rng.randint(1, 4), rng.randint(1, 2), rng.randint(1, 3), rng.randint(1, 3))
        log.append(Click(at, *ids, None if delay is None else at + delay))
    return log


def as_table(clicks: list[Click]) -> pa.Table:
    columns: dict[str, list[Any]] = {
        **{name: [getattr(click, name) for click in clicks] for name in ("ip", "app", "device", "os", "channel")},
        "click_time": [click.at for click in clicks],
        "attributed_time": [click.installed for click in clicks],
        "is_attributed": [int(click.installed is not None) for click in clicks],
    }
    arrays = [pa.array(columns[field.name], pa.int64()).cast(field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def written(home: Home, clicks: list[Click]) -> Home:
    write_log(as_table(clicks), home.events)
    return home


@pytest.fixture
def new_home(tmp_path: Path) -> Callable[[], Home]:
    """A function that makes an empty home; hypothesis runs many examples in one test."""
    numbers = iter(range(1_000_000))
    return lambda: Home(tmp_path / str(next(numbers)))


def read(home: Home, table: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in table_files(home, table).values()])


def rows_of(home: Home, table: str) -> Rows:
    """The rows of a table by key, each with its event_timestamp, in order of time; times in µs."""
    found = read(home, table)
    for place, field in enumerate(found.schema):
        if pa.types.is_timestamp(field.type):
            found = found.set_column(place, field.name, found[field.name].cast(pa.int64()))
    rows: Rows = {}
    for row in found.to_pylist():
        key = tuple(row.pop(name) for name in TABLES[table].keys)
        rows.setdefault(key, []).append((row.pop("event_timestamp"), row))
    return {key: sorted(each, key=lambda pair: pair[0]) for key, each in rows.items()}


def horizon(clicks: list[Click]) -> int:
    return max(click.at for click in clicks) + 1


def telling_instants(clicks: list[Click]) -> list[int]:
    """Every instant at which something can change, and the microseconds around it, up to the log's horizon."""
    bounds = {click.at + width for click in clicks for width in (0, HOUR, 6 * HOUR, DAY)} | {START, START + DAY}
    end = horizon(clicks)
    return sorted(t for t in {bound + nudge for bound in bounds for nudge in (-1, 0, 1, 2)} if t <= end)


# The checks, each applied to every table it is meant for.


def check_lookups_equal_the_log(home: Home, clicks: list[Click], table: str) -> None:
    """At any t the newest row of a key dated up to t holds what the log says at t; no row means nothing happened."""
    rows, reference, unseen = rows_of(home, table), SPARSE[table], (99,) * len(TABLES[table].keys)
    instants = telling_instants(clicks)
    for key in {tuple(getattr(click, name) for name in TABLES[table].keys) for click in clicks} | {unseen}:
        for t in instants:
            usable = bisect_right(rows.get(key, []), t, key=itemgetter(0))
            found = rows[key][usable - 1][1] if usable else reference([], key, t)
            assert found == reference(clicks, key, t), f"{table} {key} at {t - START} µs after the start"


def check_ticks_equal_the_log(home: Home, clicks: list[Click], table: str) -> None:
    """There is a row at every tick at which a key has a click in 72 h, one more after the last, and no other."""
    rows, reference, name = rows_of(home, table), DENSE[table], TABLES[table].keys[0]
    for key in {(getattr(click, name),) for click in clicks}:
        mine = [click for click in clicks if (getattr(click, name),) == key]
        first = min(click.at for click in clicks) // TICK
        ticks = [tick * TICK for tick in range(first, horizon(clicks) // TICK + 1)]
        alive = [t for t in ticks if within(mine, t, 3 * DAY) or within(mine, t - TICK, 3 * DAY)]
        assert rows.get(key, []) == [(t, reference(clicks, key, t)) for t in alive], f"{table} {key}"


def check_never_reads_the_future(known: Rows, every: Home, table: str, until: int) -> None:
    """What was built when the log ended at `until` is what is built of the same time later."""
    later = {key: [row for row in rows if row[0] <= until] for key, rows in rows_of(every, table).items()}
    assert known == {key: rows for key, rows in later.items() if rows}


def check_equal(one: Home, other: Home, table: str) -> None:
    assert list(table_files(one, table)) == list(table_files(other, table))
    assert read(one, table).equals(read(other, table))


def as_known_at(clicks: list[Click], until: int) -> list[Click]:
    """The log that one would have had at `until`: neither later clicks nor later installs."""
    early = [click for click in clicks if click.at < until]
    return [replace(click, installed=None) if (click.installed or 0) >= until else click for click in early]


@pytest.mark.parametrize("seed", [3, 4])
def test_every_table_equals_the_reference_on_a_busy_log(seed: int, new_home: Callable[[], Home]) -> None:
    clicks = busy_log(seed=seed)
    home = written(new_home(), clicks)
    build(home)
    for table in SPARSE:
        check_lookups_equal_the_log(home, clicks, table)
    for table in DENSE:
        check_ticks_equal_the_log(home, clicks, table)


@SLOW
@given(clicks=logs())
def test_every_table_equals_the_reference_on_random_logs(clicks: list[Click], tmp_path_factory: Any) -> None:
    home = written(Home(tmp_path_factory.mktemp("home")), clicks)
    build(home)
    for table in SPARSE:
        check_lookups_equal_the_log(home, clicks, table)
    for table in DENSE:
        check_ticks_equal_the_log(home, clicks, table)


@SLOW
@given(clicks=logs(), cut=st.integers(1, 14))
def test_a_growing_log_changes_no_row_of_before_and_ends_at_a_full_build(
    clicks: list[Click], cut: int, tmp_path_factory: Any
) -> None:
    until = sorted(click.at for click in clicks)[min(cut, len(clicks)) - 1] + 1
    early = as_known_at(clicks, until)
    grown, fresh = (Home(tmp_path_factory.mktemp("home")) for _ in range(2))
    build(written(grown, early))
    before = {table: rows_of(grown, table) for table in TABLES}
    build(written(grown, clicks))
    build(written(fresh, clicks), full=True)
    for table in TABLES:
        check_equal(grown, fresh, table)
        check_never_reads_the_future(before[table], fresh, table, horizon(early))


def test_days_built_together_equal_days_built_alone(
    new_home: Callable[[], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    together, alone = (written(new_home(), edges()) for _ in range(2))
    build(together)
    monkeypatch.setattr("training.tables.builder._DAYS_AT_ONCE", 1)
    build(alone)
    for table in TABLES:
        check_equal(together, alone, table)


LEAKS = {
    "ip: a click sees itself": ("ip_activity", "click_us + 1 AS t", "click_us AS t"),
    "ip: a click is seen too late": ("ip_activity", "click_us + 1 AS t", "click_us + 2 AS t"),
    "ip: a click stays too long": ("ip_activity", f"click_us + 1 + {HOUR} * 6", f"click_us + 2 + {HOUR} * 6"),
    "ip: the oldest click is not read": ("ip_activity", f"$start - {HOUR} * 24 - 1", f"$start - {HOUR} * 24 + 1"),
    "ip app: a click sees itself": ("ip_app_activity", "click_us + 1 AS t", "click_us AS t"),
    "ip app: a click leaves too early": ("ip_app_activity", f"click_us + 1 + {HOUR},", f"click_us + {HOUR},"),
    "app: a click counts a tick early": ("app_activity", f"click_us // {TICK} + 1", f"(click_us - 1) // {TICK} + 1"),
    "app: an install counts early": (
        "app_activity",
        f"attributed_us // {TICK} + 1",
        f"(attributed_us - 1) // {TICK} + 1",
    ),
    "app: a label matures a microsecond early": ("app_activity", "ELSE enters + 36", "ELSE enters + 35"),
}


def edges() -> list[Click]:
    """Clicks and installs exactly on the bounds of ticks and days, and a click every hour for two days."""
    installs = [None if hour % 2 else START + (hour + 1) * HOUR for hour in range(50)]
    hourly = [Click(START + hour * HOUR, 1, 1 + hour % 3, 1, 1, 1, installs[hour]) for hour in range(50)]
    return [*hourly, Click(START + DAY - 1, 2, 1, 1, 1, 1, None), Click(START + 3 * DAY, 2, 1, 1, 1, 1, None)]


@pytest.mark.parametrize("leak", LEAKS)
def test_the_reference_sees_a_leak_of_one_microsecond(
    leak: str, new_home: Callable[[], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, right, wrong = LEAKS[leak]
    assert right in definition(table)
    monkeypatch.setattr(
        "training.tables.builder.definition",
        lambda name: definition(name).replace(right, wrong) if name == table else definition(name),
    )
    monkeypatch.setattr("training.tables.builder.TABLES", {table: TABLES[table]})
    monkeypatch.setattr("training.tables.builder._DAYS_AT_ONCE", 1)
    home = written(new_home(), edges())
    build(home)
    check = check_lookups_equal_the_log if table in SPARSE else check_ticks_equal_the_log
    with pytest.raises(AssertionError):
        check(home, edges(), table)


def test_a_count_returns_to_zero_when_its_last_click_leaves(new_home: Callable[[], Home]) -> None:
    home = written(new_home(), [Click(START, 1, 7, 1, 1, 1, None), Click(START + 2 * DAY, 2, 1, 1, 1, 1, None)])
    build(home)
    counts = [
        (at - START, row["clicks_1h_by_ip"], row["clicks_24h_by_ip"]) for at, row in rows_of(home, "ip_activity")[(1,)]
    ]
    assert counts == [(1, 1, 1), (HOUR + 1, 0, 1), (6 * HOUR + 1, 0, 1), (DAY + 1, 0, 0)]


def test_an_install_rate_leans_on_all_keys_until_a_key_has_clicks_of_its_own(new_home: Callable[[], Home]) -> None:
    installed = Click(START, 1, 1, 1, 1, 1, START + 5)
    others = [Click(START + 1, 1, 2, 1, 1, 1, None), Click(START + 2, 1, 2, 1, 1, 1, None)]
    home = written(new_home(), [installed, *others, Click(START + DAY, 1, 3, 1, 1, 1, None)])
    build(home)
    rates = {app: dict(rows_of(home, "app_activity")[(app,)]) for app in (1, 2)}
    assert rates[1][START + TICK]["install_rate_24h_by_app"] == 1.0  # of the labels known so far all are installs
    assert rates[2][START + TICK]["install_rate_24h_by_app"] is None
    assert rates[1][START + 7 * HOUR]["install_rate_24h_by_app"] == (1 + 50 * (1 / 3)) / 51
    assert rates[2][START + 7 * HOUR]["install_rate_24h_by_app"] == (0 + 50 * (1 / 3)) / 52


def test_files_have_the_columns_that_the_table_declares(new_home: Callable[[], Home]) -> None:
    home = written(new_home(), edges())
    build(home)
    for table, spec in TABLES.items():
        for day, path in table_files(home, table).items():
            part = pq.read_table(path, partitioning=None)
            assert part.schema.remove_metadata().equals(spec.schema)
            assert {date_of(int(at)) for at in times_us(part["event_timestamp"])} <= {day}


def spread(days: int) -> list[Click]:
    """A click every three hours for some days."""
    return [Click(START + n * 3 * HOUR, 1, 1, 1, 1, 1, None) for n in range(8 * days)]


def contents(home: Home) -> dict[Path, tuple[int, int]]:
    paths = [path for table in TABLES for path in table_files(home, table).values()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_a_second_build_writes_nothing(new_home: Callable[[], Home]) -> None:
    home = written(new_home(), spread(3))
    build(home)
    before = contents(home)
    report = build(home)
    assert contents(home) == before
    assert not any(report.built.values())
    assert all(len(days) == 3 for days in report.kept.values())


def test_a_new_day_costs_its_own_work_and_the_end_of_the_day_before(new_home: Callable[[], Home]) -> None:
    home = written(new_home(), spread(6))
    build(home)
    write_log(as_table(spread(7)), home.events)
    report = build(home)
    last = date_of(START) + timedelta(days=6)
    assert all(list(days) == [last - timedelta(days=1), last] for days in report.built.values())


def test_a_changed_day_rebuilds_the_days_that_look_back_on_it_and_no_other(new_home: Callable[[], Home]) -> None:
    home = written(new_home(), spread(8))
    build(home)
    changed = [replace(click, app=2) if click.at == START + DAY else click for click in spread(8)]
    report = build(written(home, changed))
    day = date_of(START)
    assert list(report.built["ip_activity"]) == [day + timedelta(days=n) for n in (1, 2, 3)]
    assert list(report.built["app_activity"]) == [day + timedelta(days=n) for n in (1, 2, 3, 4, 5)]


def test_another_definition_rebuilds_its_table_alone(
    new_home: Callable[[], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = written(new_home(), spread(2))
    build(home)
    monkeypatch.setattr(
        "training.tables.builder.definition",
        lambda name: definition(name) + ("-- new" if name == "os_activity" else ""),
    )
    assert [table for table, days in build(home).built.items() if days] == ["os_activity"]


def test_days_that_the_log_no_longer_reaches_are_removed(new_home: Callable[[], Home]) -> None:
    home = written(new_home(), spread(4))
    build(home)
    report = build(written(home, spread(2)))
    gone = [date_of(START) + timedelta(days=n) for n in (2, 3)]
    assert all(days == gone for days in report.removed.values())
    assert all(len(table_files(home, table)) == 2 for table in TABLES)


def test_a_torn_file_is_built_again(new_home: Callable[[], Home]) -> None:
    home = written(new_home(), spread(2))
    build(home)
    path = table_files(home, "os_activity")[date_of(START)]
    whole = pq.read_table(path, partitioning=None)
    path.write_bytes(path.read_bytes()[:-9])
    assert list(build(home).built["os_activity"]) == [date_of(START)]
    assert pq.read_table(path, partitioning=None).equals(whole)


def test_no_log_is_an_error_that_says_what_to_run(new_home: Callable[[], Home]) -> None:
    with pytest.raises(BadFile, match="lockstep events generate"):
        build(new_home())


def twins(step: int) -> pa.Table:
    times = pa.array([START, START + step], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    return pa.table({"ip": [5, 5], "app": [6, 6], "event_timestamp": times, "value": [1, 2]})


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_two_rows_with_one_key_and_time_are_refused(on_disk: bool, tmp_path: Path) -> None:
    pq.write_table(twins(0), tmp_path / "part.parquet")
    with pytest.raises(
        TablesRefused, match=r"'mine' has 2 rows with ip = 5, app = 6, event_timestamp = 2017-11-07 00:00"
    ):
        check_unique("mine", [tmp_path / "part.parquet"] if on_disk else twins(0), ["ip", "app"])


def test_rows_a_microsecond_apart_are_two_rows() -> None:
    table = twins(1)
    check_unique("mine", table, ["ip", "app"])
    with pytest.raises(TablesRefused):
        check_unique("mine", table, ["ip"], times=["app"])


def test_a_build_that_would_write_such_rows_leaves_the_old_day_in_place(
    new_home: Callable[[], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = written(new_home(), spread(1))
    build(home)
    before = contents(home)
    monkeypatch.setattr(
        "training.tables.builder.definition",
        lambda name: f"FROM ({definition(name)}) UNION ALL FROM ({definition(name)})",
    )
    with pytest.raises(TablesRefused, match="ip_activity"):
        build(home)
    assert contents(home) == before


def test_a_definition_carries_its_constants() -> None:
    assert "{" not in definition("app_activity")
    assert str(TICK) in definition("app_activity")
    assert len({definition(table) for table in TABLES}) == len(TABLES)


def test_a_day_is_a_date() -> None:
    assert date_of(START - 1) == date(2017, 11, 6)
