"""The benchmark of faults: it works, and it knows a wrong answer from a late one, and both from a lost one."""

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from benchmarks.faults.__main__ import FAULT_NAMES, QUICK, arguments, measure, sentences
from benchmarks.faults.expected import Expected
from benchmarks.faults.faults import FAULTS
from benchmarks.faults.figures import Outcome, totals
from benchmarks.faults.grounds import on_ground
from benchmarks.faults.line import UNTOUCHED, Line
from benchmarks.faults.load import DEADLINE_S, Calls, Fate
from benchmarks.faults.rows import copy_of
from benchmarks.predict.http2 import ENDED, Event
from lockstep.home import Home
from lockstep.redis_server import run_redis
from lockstep.redis_where import RedisType, Where
from lockstep.status import Rung
from lockstep.stores.redis_connect import connect
from tests.homes import copied
from training.train import Trained

RIGHT = Expected(np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]), prior=0.01)
"""Two requests, and what each scores with all views, without some, and without any."""


def calls(**changes: NDArray[np.generic]) -> Calls:
    """Twenty seconds of a hundred calls each, all answered live after a millisecond, but for what is said."""
    count = len(changes.get("due_s", range(2000)))
    place = np.arange(count) % 2
    made = {
        "due_s": np.arange(count) / 100,
        "took_s": np.full(count, 0.001),
        "fate": np.full(count, Fate.ANSWERED, np.int8),
        "place": place,
        "score": RIGHT.by_loss[0, place],
        "rung": np.full(count, Rung.FRESH, np.int8),
    }
    return Calls(**{**made, **changes})


def changed(name: str, where: slice, value: float) -> Calls:
    values = getattr(calls(), name).copy()
    values[where] = value
    return calls(**{name: values})


def outcome(of: Calls, name: str = "redis frozen") -> Outcome:
    """Of a fault from the fifth to the tenth second."""
    return Outcome.of(FAULTS[FAULT_NAMES.index(name)], of, 5.0, 10.0, RIGHT)


def test_where_all_is_well_nothing_is_wrong() -> None:
    summary = outcome(calls()).summary()
    assert (summary["requests"], summary["answered_in_time"], summary["p99_ms"]) == (2000, 2000, 1.0)
    assert [summary[name] for name in ("late", "failed", "wrong", "recovery_s")] == [0, 0, 0, 0.0]
    assert summary["survived"]


@pytest.mark.parametrize(
    ("score", "rung", "wrong"),
    [
        (0.1, Rung.FRESH, False),
        (0.3, Rung.DEFAULTS, False),
        (0.5, Rung.ALL_DEFAULTS, False),
        (0.1, Rung.ALL_DEFAULTS, True),
        (0.01, Rung.PRIOR, False),
        (0.01, Rung.DEFAULTS, True),
        (0.2, Rung.FRESH, True),
    ],
)
def test_a_score_is_right_where_its_rung_allows_it(score: float, rung: Rung, wrong: bool) -> None:
    whole = calls()
    whole.score[700], whole.rung[700] = score, rung
    assert outcome(whole).summary()["wrong"] == int(wrong)


@pytest.mark.parametrize(
    ("fate", "took_s", "fault", "late", "failed"),
    [
        (Fate.ANSWERED, DEADLINE_S + 0.1, "redis frozen", 1, 0),
        (Fate.NEVER, np.inf, "redis frozen", 1, 0),
        (Fate.REFUSED, 0.01, "redis frozen", 0, 1),
        (Fate.REFUSED, DEADLINE_S + 0.1, "redis frozen", 1, 0),
        (Fate.LOST, 0.01, "redis frozen", 0, 1),
        (Fate.LOST, 0.01, "a worker killed", 0, 0),
        (Fate.REFUSED, 0.01, "three times the peak", 0, 0),
        (Fate.ANSWERED, DEADLINE_S + 0.1, "three times the peak", 1, 0),
    ],
)
def test_calls_are_late_or_failed_once_and_not_where_they_may_be(
    fate: Fate, took_s: float, fault: str, late: int, failed: int
) -> None:
    whole = calls()
    whole.fate[700], whole.took_s[700] = fate, took_s
    found = outcome(whole, fault)
    assert (found.late, found.failed) == (late, failed)


@pytest.mark.parametrize(
    ("refused", "survived"),
    [(slice(500, 1500, 2), True), (slice(500, 1400), False), (slice(600, 800), False)],
    ids=["every second one", "nearly all", "a second of them"],
)
def test_whoever_refuses_too_much_has_not_borne_up(refused: slice, survived: bool) -> None:
    """Twice as many calls as before come in from the fifth to the tenth second; some of those are refused."""
    due = np.concatenate([np.arange(0, 5, 0.01), np.arange(5, 10, 0.005), np.arange(10, 20, 0.01)])
    whole = calls(due_s=due)
    whole.fate[refused] = Fate.REFUSED
    assert outcome(whole, "three times the peak").summary()["survived"] == survived


@pytest.mark.parametrize(("until", "recovery_s"), [(1000, 0.0), (1050, 0.5), (1300, 3.0), (2000, None)])
def test_recovery_is_the_first_half_second_that_is_as_before(until: int, recovery_s: float | None) -> None:
    whole = changed("score", slice(500, until), np.nan)
    summary = outcome(whole).summary()
    assert summary["recovery_s"] == recovery_s
    assert summary["survived"] == (recovery_s is not None and recovery_s <= 2.0)


def test_totals_add_up_and_the_worst_recovery_counts() -> None:
    found = totals([outcome(calls()), outcome(changed("score", slice(500, 1050), np.nan))])
    assert (found["faults"], found["survived"], found["requests"], found["worst_recovery_s"]) == (2, 2, 4000, 0.5)


def test_a_fault_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments().parse_args(["--faults", "redis killed,flood"])
    assert "there is no 'flood'" in capsys.readouterr().err


@pytest.fixture
def line() -> Iterator[Line]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Line(f"127.0.0.1:{server.getsockname()[1]}", "/a/b")
        yield made
        made.close()


@pytest.mark.parametrize(
    ("kind", "payload", "untouched"),
    [
        (1, b"\x88", False),
        (3, b"\x00\x00\x00\x07", True),
        (3, b"\x00\x00\x00\x08", False),
    ],
    ids=["no answer", "refused", "reset"],
)
def test_a_call_that_the_server_has_not_begun_is_told_from_one_that_failed(
    line: Line, kind: int, payload: bytes, untouched: bool
) -> None:
    events: list[Event] = []
    line._take(kind, 5, 1, payload, events)
    assert events == [(1, UNTOUCHED)] * untouched + [(1, ENDED)]


def test_no_call_goes_to_a_server_that_has_not_greeted_or_that_leaves(line: Line) -> None:
    assert (line.most, line.leaving) == (0, False)
    line._take(4, 0, 0, b"\x00\x03\x00\x00\x00\x20", [])
    line._take(7, 0, 0, b"\x7f\xff\xff\xff\x00\x00\x00\x00", [])
    assert (line.most, line.leaving) == (32, True)


@pytest.mark.parametrize("kind", [RedisType.CLUSTER, RedisType.SENTINEL])
def test_a_node_that_is_lost_has_an_heir_with_all_its_rows(kind: RedisType, tmp_path: Path) -> None:
    rows = {f"row {i}".encode(): b"value %d" % i for i in range(300)}
    with run_redis(tmp_path / "one") as url, redis.Redis.from_url(url) as client:
        client.mset(rows)
        keys = copy_of(url)
    with on_ground(kind, tmp_path / "many", keys) as ground:
        assert ground.many is not None
        ground.many.lose()
        ground.many.wait_for_heir()
        with connect(Where(ground.env["LOCKSTEP_SERVE_REDIS"], kind)) as client:
            assert {key: client.get(key) for key in rows} == rows


def test_two_faults_on_a_small_home_no_score_is_wrong_and_a_picture_is_drawn(
    home: Home, trained: Trained, tmp_path: Path
) -> None:
    picture = tmp_path / "faults.png"
    figures = measure(copied(home, trained, tmp_path), QUICK, picture)
    assert (figures["faults"], figures["wrong"]) == (2, 0)
    for one in figures["each"]:
        assert one["rungs"]["fresh"] > 0
        assert one["rungs"]["all_defaults"] > 0
        assert one["recovery_s"] is not None
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(list(sentences(figures))) == 4
