"""A made-up click log with a known process behind it, so that what a model finds can be checked against the truth.

The truth:

- **People** make 45 % of the clicks. An ip belongs to one household: it appears at some moment, stays for about four
  days and is then gone. It clicks in sessions of one to four clicks that are half a minute to ten minutes apart, by day
  more than by night (most at 14:00 UTC, least at 02:00). It has one os and one device for all its clicks; nine sessions
  in ten look at one app, the others at several.
- **Farms** make 55 % of the clicks: some 400 clicks an ip and never more than `FARM_CLICKS`, in bursts of 20 to 120
  clicks a few seconds apart, at any hour, over one to three apps. Their apps, channels, devices and os are drawn from
  the same lists as people's, os and device anew for each click, so that no single request gives a farm away: only the
  ip's history does.
- **Ids** follow Zipf's law: about 100 apps, 80 channels (each app is advertised in eight of them), 60 os, 30 devices.
- **An install** follows a farm's click with probability `FARM_RATE`, and a person's click with `PEOPLE_RATE` on
  average, in proportion to exp(app + channel + os + history) and at most `LIKELY`; the effects of app and channel drift
  from day to day (a campaign runs hot or cold) and

      history = -0.6 · ln(1 + the ip's clicks in the 24 h before)
                +1.6 where the ip clicked the same app in the hour before (a second look)

  An ip installs an app once. Installs come a log-normal delay after the click, median 4 minutes, at least 1 second and
  at most 12 hours. The log ends at midnight after its last day: an install after that is not in it.
- All times are whole seconds. No two rows are equal in time and ids.

The same arguments give the same rows.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep.errors import BadRequest
from lockstep.times import SECOND, from_datetime
from training.events.log import SCHEMA, TIME, sort_log

__all__ = ["FARM_CLICKS", "generate"]

APPS, CHANNELS, OSES, DEVICES = 100, 80, 60, 30
CHANNELS_OF_AN_APP = 8
FARM_SHARE = 0.55
FARM_CLICKS = 1_000
FARM_RATE = 0.0004
PEOPLE_RATE = 0.017
LIKELY = 0.9
SECOND_LOOK = 1.6
FATIGUE = -0.6

_DAY_S = 86_400
_HOUR_S = 3_600
_CLICKS_OF_A_FARM = 400
_CLICKS_OF_A_PERSON = 2.3
_SPARE = 1.05
"""Candidates drawn for each click asked for: some repeat another one or fall outside the log."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Clicks:
    """Clicks by column, each of shape (clicks,): seconds since the log's start, ids, and who clicked."""

    second: Ints
    ip: Ints
    app: Ints
    device: Ints
    os: Ints
    channel: Ints
    farm: NDArray[np.bool_]

    def take(self, rows: Ints | NDArray[np.bool_]) -> "_Clicks":
        return _Clicks(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True)
class _World:
    """What is fixed before the first click. Ids are positions in these arrays until the log is written."""

    app_weight: Floats
    """Shape (APPS,), sums to 1."""
    app_channels: Ints
    """Shape (APPS, CHANNELS_OF_AN_APP): where an app is advertised, most used first."""
    app_effect: Floats
    """Shape (APPS, days), logarithm of a factor."""
    channel_effect: Floats
    """Shape (CHANNELS, days), logarithm of a factor."""
    os_effect: Floats
    """Shape (OSES,), logarithm of a factor."""


def generate(clicks: int, days: int, seed: int, start: date) -> pa.Table:
    """A click log of exactly `clicks` rows from `start` (UTC) over `days` days, in the log's order and schema.

    Raises BadRequest where `clicks` or `days` is below 1, or where so many distinct clicks do not fit into so few days.
    """
    if clicks < 1 or days < 1:
        raise BadRequest(f"a log needs at least one click and one day; asked for {clicks} clicks over {days} days.")
    rng = np.random.Generator(np.random.PCG64(seed))
    world = _make_world(days, rng)
    log = _draw_clicks(clicks, days, world, rng)
    delay = _draw_installs(log, days, world, rng)
    return sort_log(_table(log, delay, start, rng))


def _make_world(days: int, rng: np.random.Generator) -> _World:
    popular = _zipf(CHANNELS, 0.8)
    return _World(
        app_weight=rng.permutation(_zipf(APPS, 1.0)),
        app_channels=np.array(
            [rng.choice(CHANNELS, CHANNELS_OF_AN_APP, replace=False, p=popular) for _ in range(APPS)]
        ),
        app_effect=_drift(APPS, days, spread=1.1, step=0.35, rng=rng),
        channel_effect=_drift(CHANNELS, days, spread=0.6, step=0.25, rng=rng),
        os_effect=rng.normal(0.0, 0.4, OSES),
    )


def _zipf(n: int, exponent: float) -> Floats:
    weight = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return np.asarray(weight / weight.sum())


def _drift(n: int, days: int, *, spread: float, step: float, rng: np.random.Generator) -> Floats:
    """An effect per id and day, shape (n, days): `spread` between ids, and a walk of `step` a day that leans home."""
    walk = rng.normal(0.0, step, (n, days))
    for day in range(1, days):
        walk[:, day] += 0.8 * walk[:, day - 1]
    return rng.normal(0.0, spread, (n, 1)) + walk


def _draw_clicks(clicks: int, days: int, world: _World, rng: np.random.Generator) -> _Clicks:
    """Exactly `clicks` distinct clicks within the log, in order of time."""
    farm = int(clicks * FARM_SHARE)
    people = _distinct(_people(round((clicks - farm) * _SPARE) + 10, days, world, rng), days)
    farms = _distinct(_farms(round(farm * _SPARE) + 10, days, world, rng), days)
    kept = [_sample(people, clicks - farm, rng), _sample(farms, farm, rng)]
    both = _Clicks(*(np.concatenate(pair) for pair in zip(*(vars(part).values() for part in kept), strict=True)))
    return both.take(np.argsort(both.second, kind="stable"))


def _distinct(log: _Clicks, days: int) -> _Clicks:
    inside = log.take((log.second >= 0) & (log.second < days * _DAY_S))
    columns = np.stack([inside.second, inside.ip, inside.app, inside.device, inside.os, inside.channel])
    order = np.lexsort(columns)
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (np.diff(columns[:, order], axis=1) != 0).any(axis=0)
    return inside.take(np.sort(order[new]))


def _sample(log: _Clicks, n: int, rng: np.random.Generator) -> _Clicks:
    if len(log.second) < n:
        raise BadRequest("so many clicks do not fit into so few days; ask for more days or fewer clicks.")
    return log.take(np.sort(rng.permutation(len(log.second))[:n]))


def _people(n: int, days: int, world: _World, rng: np.random.Generator) -> _Clicks:
    """At least `n` candidate clicks of people; ips are negative here, so that they differ from those of farms."""
    ips = max(1, round(n / _CLICKS_OF_A_PERSON))
    born, stay = rng.uniform(-3.0, days, ips), rng.exponential(4.0, ips)
    first, last = np.clip(born, 0.0, None), np.clip(born + stay, 0.01, days)
    sessions = round(n / 2.3)
    size = rng.integers(1, 5, sessions)
    ip = rng.choice(ips, sessions, p=_weight(last - first, ips, rng))
    begin = _rhythm(first[ip] + rng.random(sessions) * (last - first)[ip])
    row = np.repeat(np.arange(sessions), size)
    second = begin[row] + _since_first(rng.integers(30, 600, len(row)), size)
    session_app = rng.choice(APPS, sessions, p=world.app_weight)
    wanders = (rng.random(sessions) < 0.1)[row]
    app = np.where(wanders, rng.choice(APPS, len(row), p=world.app_weight), session_app[row])
    os, device = rng.choice(OSES, ips, p=_zipf(OSES, 1.0)), rng.choice(DEVICES, ips, p=_zipf(DEVICES, 2.5))
    mine = ip[row]
    farm = np.zeros(len(row), dtype=np.bool_)
    return _Clicks(second, -1 - mine, app, device[mine], os[mine], _channel(app, world, rng), farm)


def _weight(alive_days: Floats, ips: int, rng: np.random.Generator) -> Floats:
    """How the sessions are shared among ips: by the time they are there, and unevenly."""
    weight = np.clip(alive_days, 0.01, None) * rng.gamma(0.9, 1.0, ips)
    return np.asarray(weight / weight.sum())


def _rhythm(when: Floats) -> Ints:
    """Seconds since the log's start of moments in days, the hours stretched so that more of them fall on 14:00."""
    hour = np.linspace(0.0, 24.0, 289)
    share = np.cumsum(1.0 + 0.8 * np.cos((hour - 14.0) * np.pi / 12.0))
    share = (share - share[0]) / (share[-1] - share[0])
    day = np.floor(when)
    return ((day + np.interp(when - day, share, hour) / 24.0) * _DAY_S).astype(np.int64)


def _since_first(gaps: Ints, size: Ints) -> Ints:
    """Seconds since the first click of each run, from the gap before each click; run i has size[i] clicks."""
    starts = np.cumsum(size) - size
    total = np.cumsum(gaps)
    return np.asarray(total - np.repeat(total[starts], size))


def _farms(n: int, days: int, world: _World, rng: np.random.Generator) -> _Clicks:
    """At least `n` candidate clicks of farms."""
    bursts = -(-n // 20)
    size = rng.integers(20, 121, bursts)
    size = size[: int(np.searchsorted(np.cumsum(size), n)) + 1]
    ips = max(1, -(-int(size.sum()) // _CLICKS_OF_A_FARM))
    ip = _owner(size, ips, rng)
    born = rng.uniform(-1.0, days - 0.25, int(ip.max()) + 1)
    begin = np.clip(born[ip], 0.0, None) + rng.exponential(0.5, len(size))
    begin = np.where(begin < days - 0.05, begin, rng.uniform(0.0, days - 0.05, len(size)))
    row = np.repeat(np.arange(len(size)), size)
    second = (begin * _DAY_S).astype(np.int64)[row] + _since_first(rng.integers(1, 8, len(row)), size)
    favourites = rng.choice(APPS, (len(size), 3), p=world.app_weight)
    app = favourites[row, np.minimum(rng.geometric(0.6, len(row)) - 1, 2)]
    os, device = rng.choice(OSES, len(row), p=_zipf(OSES, 1.0)), rng.choice(DEVICES, len(row), p=_zipf(DEVICES, 2.5))
    return _Clicks(second, ip[row], app, device, os, _channel(app, world, rng), np.ones(len(row), dtype=np.bool_))


def _owner(size: Ints, ips: int, rng: np.random.Generator) -> Ints:
    """The ip of each burst, drawn evenly; a burst that would lift an ip over FARM_CLICKS goes to an ip of its own."""
    ip = rng.integers(0, ips, len(size))
    order = np.argsort(ip, kind="stable")
    total = np.cumsum(size[order])
    first = np.searchsorted(ip[order], ip[order], side="left")
    mine = total - (total - size[order])[first]
    over = order[mine > FARM_CLICKS]
    ip[over] = ips + np.arange(len(over))
    return ip


def _channel(app: Ints, world: _World, rng: np.random.Generator) -> Ints:
    return world.app_channels[app, rng.choice(CHANNELS_OF_AN_APP, len(app), p=_zipf(CHANNELS_OF_AN_APP, 1.0))]


def _draw_installs(log: _Clicks, days: int, world: _World, rng: np.random.Generator) -> Ints:
    """Seconds from each click to its install, shape (clicks,); -1 where the log knows none."""
    day = log.second // _DAY_S
    effects = world.app_effect[log.app, day] + world.channel_effect[log.channel, day] + world.os_effect[log.os]
    factor = np.exp(effects + _history(log))
    person = np.minimum(PEOPLE_RATE * factor / factor.mean(where=~log.farm), LIKELY)
    installs = rng.random(len(day)) < np.where(log.farm, FARM_RATE, person)
    delay = np.ceil(np.exp(rng.normal(np.log(240.0), 1.9, len(day)))).astype(np.int64)
    delay = np.clip(delay, 1, 12 * _HOUR_S)
    known = _once(installs, log.ip * APPS + log.app) & (log.second + delay < days * _DAY_S)
    return np.where(known, delay, -1)


def _history(log: _Clicks) -> Floats:
    """The effect that only the ip's past can tell, shape (clicks,), logarithm of a factor."""
    busy = _earlier(log.ip, log.second, _DAY_S)
    looked = _earlier(log.ip * APPS + log.app, log.second, _HOUR_S) > 0
    return np.asarray(FATIGUE * np.log1p(busy) + SECOND_LOOK * looked)


def _earlier(key: Ints, second: Ints, window: int) -> Ints:
    """How many clicks of the same key lie in [second - window, second), shape (clicks,)."""
    span = int(second.max()) + window + 1
    line = (np.unique(key, return_inverse=True)[1] + 1) * span + second
    sorted_line = np.sort(line)
    return np.searchsorted(sorted_line, line) - np.searchsorted(sorted_line, line - window)


def _once(installs: NDArray[np.bool_], pair: Ints) -> NDArray[np.bool_]:
    """Only the first install of each pair; rows are in order of time."""
    rows = np.flatnonzero(installs)
    first = rows[np.unique(pair[rows], return_index=True)[1]]
    once = np.zeros_like(installs)
    once[first] = True
    return once


def _table(log: _Clicks, delay: Ints, start: date, rng: np.random.Generator) -> pa.Table:
    origin = from_datetime(datetime(start.year, start.month, start.day, tzinfo=UTC))
    click = origin + log.second * SECOND
    installed = delay >= 0
    columns = [
        pa.array(_public_ips(log.ip, rng)),
        *(pa.array(ids + 1) for ids in (log.app, log.device, log.os)),
        pa.array(log.channel + 101),
        pa.array(click).cast(TIME),
        pa.array(click + delay * SECOND, mask=~installed).cast(TIME),
        pa.array(installed.astype(np.int8)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _public_ips(ip: Ints, rng: np.random.Generator) -> Ints:
    """Distinct numbers for the ips that tell nothing about who they are, shape (clicks,)."""
    each, row = np.unique(ip, return_inverse=True)
    return 1 + rng.choice(18 * len(each), len(each), replace=False)[row]
