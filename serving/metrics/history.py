"""The last minutes of a server, for the page: made of what it counted, looked at every two seconds."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from serving.metrics.families import FAMILIES, Stage
from serving.metrics.histogram import Distribution
from serving.metrics.samples import Key, Samples, Value

__all__ = ["EVERY_S", "History", "quantile"]

EVERY_S = 2.0
POINTS = 150
"""Five minutes."""
WINDOW = 30
"""Looks back over which stages, rungs and views are shown: a minute."""

DURATION, REQUESTS, ROWS = "lockstep_request_duration_seconds", "lockstep_requests_total", "lockstep_rows_total"
STAGE, AGE = "lockstep_stage_duration_seconds", "lockstep_feature_age_seconds"
STATUS = "lockstep_feature_values_total"


class _Look(NamedTuple):
    at_s: float
    samples: Samples


class History:
    """Keeps what was seen."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque(maxlen=WINDOW + 1)
        self._points: deque[Mapping[str, Any]] = deque(maxlen=POINTS)

    def add(self, at_s: float, samples: Samples) -> None:
        """One more look, at a time in seconds since 1970."""
        if self._looks:
            self._points.append(_point(self._looks[-1], _Look(at_s, samples)))
        self._looks.append(_Look(at_s, samples))

    def plain(self) -> dict[str, Any]:
        """Points of the last five minutes, and what happened in the last one."""
        if not self._looks:
            return {"points": []}
        since, until = self._looks[0], self._looks[-1]
        return {
            "points": list(self._points),
            "seconds": until.at_s - since.at_s,
            "models": _by_version(since, until),
            "latency": _curve(_sum(_since(since, until, DURATION), lambda key: ()).get(())),
            "stages": _stages(since, until),
            "rungs": _plain(_sum(_since(since, until, ROWS), lambda key: key[2:])),
            "views": _views(since, until),
            "processes": _processes(since, until),
            "queue": sum(map(_number, until.samples.get("lockstep_queue_requests", {}).values())),
        }


def quantile(family: str, spread: Distribution, share: float) -> float:
    """The value that a share of the values is not above, as Prometheus' histogram_quantile estimates it.

    NaN where there are none; the greatest bound for what is beyond all.
    """
    bounds, counts = FAMILIES[family].buckets, np.cumsum(spread.counts)
    if not counts[-1]:
        return float("nan")
    wanted = share * counts[-1]
    place = int(np.searchsorted(counts, wanted))
    if place >= len(bounds):
        return bounds[-1]
    below, low = (counts[place - 1], bounds[place - 1]) if place else (0, 0.0)
    inside = counts[place] - below
    return float(low + (bounds[place] - low) * ((wanted - below) / inside if inside else 1.0))


def _since(before: _Look, now: _Look, name: str) -> dict[Key, Value]:
    """What was added to each series between two looks; a series that began anew counts from its beginning."""
    old = before.samples.get(name, {})
    return {key: _minus(value, old.get(key)) for key, value in now.samples.get(name, {}).items()}


def _minus(value: Value, before: Value | None) -> Value:
    if before is None:
        return value
    if isinstance(value, Distribution) and isinstance(before, Distribution):
        counts = tuple(one - other for one, other in zip(value.counts, before.counts, strict=True))
        return value if min(counts) < 0 else Distribution(counts, value.total - before.total)
    difference = _number(value) - _number(before)
    return value if difference < 0 else difference


def _number(value: Value) -> float:
    assert not isinstance(value, Distribution)
    return value


def _sum(values: Mapping[Key, Value], label: Callable[[Key], Key]) -> dict[Key, Value]:
    """Added up over all labels but some."""
    summed: dict[Key, Value] = {}
    for key, value in values.items():
        under = label(key)
        before = summed.get(under)
        if isinstance(value, Distribution):
            summed[under] = value.plus(before) if isinstance(before, Distribution) else value
        else:
            summed[under] = value + (_number(before) if before is not None else 0.0)
    return summed


def _plain(values: Mapping[Key, Value]) -> dict[str, float]:
    return {" ".join(key): _number(value) for key, value in values.items()}


def _point(before: _Look, now: _Look) -> Mapping[str, Any]:
    """Rates of two seconds."""
    seconds = max(now.at_s - before.at_s, 1e-3)
    codes = _plain(_sum(_since(before, now, REQUESTS), lambda key: (key[3],)))
    rows = sum(map(_number, _since(before, now, ROWS).values()))
    took = _sum(_since(before, now, DURATION), lambda key: ()).get(())
    return {
        "at_s": now.at_s,
        "requests": sum(codes.values()) / seconds,
        "failed": sum(count for code, count in codes.items() if code != "OK") / seconds,
        "rows": rows / seconds,
        **_percentiles(took),
    }


def _percentiles(took: Value | None) -> dict[str, float | None]:
    """p50, p95 and p99 in ms; None without requests."""
    if not isinstance(took, Distribution) or not took.size:
        return {"p50": None, "p95": None, "p99": None}
    return {f"p{percent}": 1e3 * quantile(DURATION, took, percent / 100) for percent in (50, 95, 99)}


def _curve(took: Value | None) -> list[list[float]]:
    """Percentiles and what they are in ms: how latency grows towards the slowest requests."""
    if not isinstance(took, Distribution) or not took.size:
        return []
    shares = (0.01, 0.05, *np.arange(0.1, 0.95, 0.05).round(2).tolist(), 0.95, 0.98, 0.99, 0.995, 0.999)
    return [[100 * share, 1e3 * quantile(DURATION, took, share)] for share in shares]


def _by_version(since: _Look, until: _Look) -> list[dict[str, Any]]:
    took = _sum(_since(since, until, DURATION), lambda key: key[1:3])
    rows = _sum(_since(since, until, ROWS), lambda key: key[:2])
    seconds = max(until.at_s - since.at_s, 1e-3)
    return [
        {
            "model": key[0],
            "version": key[1],
            "requests": spread.size / seconds,
            "rows": _number(rows.get(key, 0.0)) / seconds,
            **_percentiles(spread),
        }
        for key, spread in took.items()
        if isinstance(spread, Distribution)
    ]


def _stages(since: _Look, until: _Look) -> list[dict[str, Any]]:
    spent = _sum(_since(since, until, STAGE), lambda key: key[:1])
    found = [(stage.label, spent.get((stage.label,))) for stage in Stage]
    return [
        {"stage": stage, "mean_ms": 1e3 * one.total / one.size, "p99_ms": 1e3 * quantile(STAGE, one, 0.99)}
        for stage, one in found
        if isinstance(one, Distribution) and one.size
    ]


def _views(since: _Look, until: _Look) -> list[dict[str, Any]]:
    statuses = _sum(_since(since, until, STATUS), lambda key: key[2:])
    ages = _sum(_since(since, until, AGE), lambda key: key[2:])
    return [_view(name, statuses, ages.get((name,))) for name in dict.fromkeys(key[0] for key in statuses)]


def _view(name: str, statuses: Mapping[Key, Value], ages: Value | None) -> dict[str, Any]:
    counts = {key[1]: _number(count) for key, count in statuses.items() if key[0] == name}
    if not isinstance(ages, Distribution) or not ages.size:
        return {"view": name, "statuses": counts, "age_p50_s": None, "age_p99_s": None}
    age_p50_s, age_p99_s = (quantile(AGE, ages, share) for share in (0.5, 0.99))
    return {"view": name, "statuses": counts, "age_p50_s": age_p50_s, "age_p99_s": age_p99_s}


def _processes(since: _Look, until: _Look) -> list[dict[str, Any]]:
    seconds = max(until.at_s - since.at_s, 1e-3)
    used = _since(since, until, "process_cpu_seconds_total")
    memory = until.samples.get("process_resident_memory_bytes", {})
    return [
        {"worker": key[0], "cpu": _number(used.get(key, 0.0)) / seconds, "memory_bytes": _number(value)}
        for key, value in memory.items()
    ]
