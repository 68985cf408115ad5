"""The benchmark of patterns: all ways agree on a small home, and its page is made of what was kept."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.__main__ import RESULTS
from benchmarks.patterns import page
from benchmarks.patterns.__main__ import KINDS, QUICK, measure, sentences
from benchmarks.patterns.equal import Equal
from benchmarks.patterns.rows import Rows
from benchmarks.patterns.speed import Speed, Timing, alone
from lockstep.home import Home
from tests.homes import copied

if TYPE_CHECKING:
    from training.train import Trained

WAYS = {"grpc", "oip", "grpc_sent", "cached", "library", "library_mixed", "library_sent", "in_memory", "batch"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::RuntimeWarning")
def test_on_a_small_home_all_patterns_and_kinds_have_the_same_scores(
    home: Home, trained: "Trained", tmp_path: Path
) -> None:
    figures = measure(copied(home, trained, tmp_path), QUICK)
    assert figures["differing_by_way"] == dict.fromkeys(figures["differing_by_way"], 0)
    assert figures["rows_compared"] == QUICK.rows * 12
    assert figures["distinct_scores"] > 50
    assert figures["patterns"].keys() == WAYS == page.PATTERNS.keys()
    assert figures["kinds"].keys() == KINDS.keys() == page.KINDS.keys()
    assert (figures["batch_rows"], figures["batch_rows_differing_from_feast"]) == (QUICK.batch_rows, 0)
    assert min(figures[name] for name in ("batch_speedup", "batch_memory_ratio", "hit_over_live")) > 0
    assert figures["patterns"]["cached"]["freshness_s"] == 6 * 3_600
    assert f"{figures['rows_compared']} rows compared, 0 differ" in "\n".join(sentences(figures))
    json.dumps(figures, allow_nan=False)


def test_a_score_that_differs_in_its_last_bit_is_counted_unless_the_way_may_round() -> None:
    scores = np.array([0.25, 0.5])
    last_bit = np.nextafter(scores, 1)
    equal = Equal(scores)
    equal.add("bits", last_bit)
    equal.add("close", last_bit, closely=True)
    equal.add("far", scores + 2e-6, closely=True)
    equal.add("a model of its own", last_bit, last_bit)
    assert equal.differing == {"bits": 2, "close": 0, "far": 2, "a model of its own": 0}
    assert (equal.figures()["rows_compared"], equal.figures()["rows_differing"]) == (8, 4)


def test_a_way_that_answers_too_few_rows_is_no_way() -> None:
    with pytest.raises(ValueError, match="sent gives 1 scores for 2 rows"):
        Equal(np.zeros(2)).add("sent", np.zeros(1))


def test_calls_hold_all_rows_once_and_in_order() -> None:
    rows = Rows({"ip": np.arange(250), "app": np.arange(250) * 2}, moment_us=7)
    calls = list(rows.calls(100))
    assert [len(one) for one in calls] == [100, 100, 50]
    assert np.concatenate([one.columns["app"] for one in calls]).tolist() == rows.columns["app"].tolist()
    assert {one.moment_us for one in calls} == {7}


def test_the_speed_of_a_way_in_this_process_is_that_of_its_calls() -> None:
    sizes = []

    def call(start: int, size: int) -> None:
        assert start + size <= 150
        sizes.append(size)
        sum(range(20_000))

    speed = alone(call, 150, Timing(0.05, 1))
    assert set(sizes) == {1, 100}
    assert speed.p50_ms is not None
    assert speed.p99_ms is not None
    assert speed.cpu_s_per_million is not None
    assert 0 < speed.p50_ms <= speed.p99_ms
    assert speed.single_cpu_s_per_million is not None
    assert speed.single_cpu_s_per_million > speed.cpu_s_per_million > 0  # the same work for a hundred rows


# ---- the page


def found() -> dict[str, Any]:
    """A run in which every way took 600 µs of CPU a row, and 30 of a hundred's."""
    speed = Speed(1.5, 2.25, 1600.0, 43_210.0, 600.0, 30.0).plain()
    patterns = {name: {"freshness_s": 600.0, **speed} for name in page.PATTERNS}
    kinds: dict[str, Any] = dict.fromkeys(page.KINDS, speed)
    kinds["c"] = Speed(p50_ms=0.000856, single_cpu_s_per_million=0.856).plain()
    return {"patterns": patterns, "kinds": kinds, "rows_compared": 36_000, "rows_differing": 0, "measured": "today"}


def test_the_page_says_age_speed_and_price() -> None:
    text = page.page(page.PAGE.read_text(), found(), core_hour=0.06)
    name = page.PATTERNS["grpc"]
    assert f"| {name} | 10 min | 1.5 | 2.25 | 1,600 | 43,210 | 600 | 30 | 0.01 / 0.0005 |" in text
    assert f"| {page.KINDS['c']} | 0.000856 |  |  |  | 0.856 |  | 1.4e-05 |" in text
    assert "36,000 rows compared across all of these, 0 differ." in text
    assert page.page(text, found(), core_hour=0.06) == text


def test_a_page_without_a_run_says_what_to_run() -> None:
    assert "`python -m benchmarks patterns`" in page.page(page.PAGE.read_text(), {}, 0.04)


def test_the_committed_page_is_made_of_the_committed_results() -> None:
    kept = json.loads(RESULTS.read_text()).get("patterns", {})
    assert page.page(page.PAGE.read_text(), kept, page.CORE_HOUR) == page.PAGE.read_text()
