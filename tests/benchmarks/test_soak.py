"""The soak: it works, one bad moment moves no slope, and an answer is wrong where no loss of views explains it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.predict.load import PREDICT
from benchmarks.soak.__main__ import QUICK, arguments, measure, sentences
from benchmarks.soak.figures import Soaked, slope
from benchmarks.soak.load import Known, Slot
from benchmarks.soak.watched import Taken
from lockstep.home import Home
from protos.lockstep.v1 import scorer_pb2 as pb
from tests.homes import copied
from training.train import Trained


def soaked(leak_mb_per_hour: float = 0.0, late_p99_s: float = 0.01) -> Soaked:
    """An hour in minutes: 100 MB and what leaks, calls of 10 ms, those of the last third as said."""
    slots, looks = [], []
    for minute in range(60):
        took = late_p99_s if minute >= 45 else 0.01
        slots.append(Slot(60.0 * minute, {"one": [took] * 100}))
        memory = 100 + leak_mb_per_hour * minute / 60 + (50 if minute == 50 else 0)
        looks.append(Taken(60.0 * minute, memory / 2, memory, 70, 3))
    return Soaked(slots, looks)


@pytest.mark.parametrize("leak", [0.0, 12.0, -3.0])
def test_a_leak_is_found_and_a_peak_is_none(leak: float) -> None:
    assert soaked(leak).summary()["leak_mb_per_hour"] == pytest.approx(leak, abs=0.1)


def test_slower_calls_at_the_end_are_a_drift() -> None:
    assert soaked().summary()["p99_drift"] == 1.0
    assert soaked(late_p99_s=0.03).summary()["p99_drift"] == pytest.approx(3.0, abs=0.01)


def test_a_long_series_is_thinned_out_and_keeps_its_slope() -> None:
    at = np.arange(50_000, dtype=np.float64)
    assert slope(at, 0.5 * at + 3) == pytest.approx(0.5)


def test_what_failed_came_late_or_was_wrong_adds_up_and_says_why() -> None:
    slots = [Slot(0.0, {"one": [0.01]}, failed=1, why="UNAVAILABLE: gone"), Slot(1.0, {"oip": [0.7]}, late=1, wrong=2)]
    summary = Soaked(slots, [Taken(one, 1.0, 1.0, 1, 1) for one in (0.0, 1.0, 2.0)]).summary()
    assert [summary[name] for name in ("failed", "late", "wrong", "why")] == [1, 1, 2, "UNAVAILABLE: gone"]
    assert summary["by_kind"] == {"oip": 1, "one": 1}


@pytest.mark.parametrize(
    ("scores", "wrong"), [([0.1, 0.2], False), ([0.3, 0.2], False), ([0.1, 0.1], True), ([0.1], True), ([], True)]
)
def test_each_row_may_score_what_some_loss_of_views_explains(scores: list[float], wrong: bool) -> None:
    known = Known([b""], [np.array([[0.1, 0.2], [0.3, 0.4]])])
    assert known.is_wrong(0, PREDICT, pb.PredictResponse(scores=scores).SerializeToString()) == wrong


@pytest.mark.parametrize("minutes", ["0", "0.1", "-1", "nan", "soon"])
def test_a_time_that_says_nothing_is_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments().parse_args(["--minutes", minutes])
    assert "is no number of minutes from 0.2 on" in capsys.readouterr().err


def test_some_seconds_on_a_small_home_no_score_is_wrong_and_a_picture_is_drawn(
    home: Home, trained: Trained, tmp_path: Path
) -> None:
    picture = tmp_path / "soak.png"
    figures = measure(copied(home, trained, tmp_path), QUICK, picture)
    assert (figures["failed"], figures["wrong"]) == (0, 0), figures
    assert all(count > 0 for count in figures["by_kind"].values())
    assert set(figures["by_kind"]) == {"one", "hundred", "oip", "stream"}
    assert figures["changes"]["swap"] >= 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(list(sentences(figures))) == 6
