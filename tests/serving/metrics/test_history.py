import math

import pytest

from serving.metrics.families import FAMILIES
from serving.metrics.histogram import Distribution
from serving.metrics.history import POINTS, History, quantile
from serving.metrics.samples import Samples, of

DURATION = "lockstep_request_duration_seconds"
BOUNDS = FAMILIES[DURATION].buckets


def spread(**counts: int) -> Distribution:
    """Counts by the number of their bucket, as b0=3."""
    return Distribution(tuple(counts.get(f"b{place}", 0) for place in range(len(BOUNDS) + 1)), 0.0)


def seen(requests: int, *, failed: int = 0, worker_cpu: float = 0.0) -> Samples:
    """So many requests of two rows each, all in the eleventh bucket."""
    version = "m", "1"
    return of(
        [
            ("lockstep_requests_total", ("Predict", *version, "OK"), float(requests)),
            ("lockstep_requests_total", ("Predict", "", "", "NOT_FOUND"), float(failed)),
            (DURATION, ("Predict", *version), spread(b10=requests)),
            ("lockstep_rows_total", (*version, "fresh"), 2.0 * requests),
            ("lockstep_feature_values_total", (*version, "v", "present"), 4.0 * requests),
            ("process_cpu_seconds_total", ("1",), worker_cpu),
            ("process_resident_memory_bytes", ("1",), 1e8),
        ]
    )


def test_quantiles_lie_within_the_bucket_that_holds_them() -> None:
    assert quantile(DURATION, spread(b0=2, b2=2), 0.5) == BOUNDS[0]
    assert BOUNDS[1] < quantile(DURATION, spread(b0=2, b2=2), 0.75) < BOUNDS[2]
    assert quantile(DURATION, spread(b0=1), 0.5) == pytest.approx(BOUNDS[0] / 2)
    assert quantile(DURATION, spread(**{f"b{len(BOUNDS)}": 1}), 0.5) == BOUNDS[-1]
    assert math.isnan(quantile(DURATION, spread(), 0.5))


def test_rates_are_differences_over_time() -> None:
    history = History()
    history.add(100.0, seen(1000, failed=2, worker_cpu=5.0))
    history.add(102.0, seen(1100, failed=6, worker_cpu=6.0))
    found = history.plain()
    (point,) = found["points"]
    assert (point["requests"], point["failed"], point["rows"]) == (52.0, 2.0, 100.0)
    assert 1e3 * BOUNDS[9] < point["p50"] < point["p99"] <= 1e3 * BOUNDS[10]
    assert found["models"][0] | {"p50": 0, "p95": 0, "p99": 0} == {
        "model": "m",
        "version": "1",
        "requests": 50.0,
        "rows": 100.0,
        "p50": 0,
        "p95": 0,
        "p99": 0,
    }
    assert found["rungs"] == {"fresh": 200.0}
    assert found["views"][0]["statuses"] == {"present": 400.0}
    assert found["processes"] == [{"worker": "1", "cpu": 0.5, "memory_bytes": 1e8}]


def test_a_count_that_began_anew_is_no_negative_rate() -> None:
    history = History()
    history.add(100.0, seen(1000))
    history.add(102.0, seen(10))
    assert history.plain()["points"][0]["requests"] == 5.0


def test_without_requests_there_is_no_latency_and_without_looks_no_point() -> None:
    history = History()
    assert history.plain() == {"points": []}
    history.add(100.0, seen(5))
    history.add(102.0, seen(5))
    found = history.plain()
    assert found["points"][0]["p99"] is None
    assert found["latency"] == []


def test_old_points_are_forgotten() -> None:
    history = History()
    for number in range(POINTS + 50):
        history.add(2.0 * number, seen(number))
    points = history.plain()["points"]
    assert len(points) == POINTS
    assert points[-1]["at_s"] == 2.0 * (POINTS + 49)
