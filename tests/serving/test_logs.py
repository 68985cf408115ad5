"""Logs are JSON lines, and a reason that repeats is written once a minute."""

import json
import logging
import sys

import pytest

from serving.logs import JsonLines, OncePerPeriod, configure


def record(message: str = "hello", **extra: object) -> logging.LogRecord:
    """A record of a logger named here."""
    return logging.getLogger("here").makeRecord("here", logging.ERROR, "file", 1, message, (), None, extra=extra)


def test_a_record_is_one_line_of_json_with_the_facts_of_its_caller() -> None:
    line = JsonLines().format(record("two\nlines", model="tiny", path=object))
    facts = json.loads(line)
    assert "\n" not in line
    assert (facts["level"], facts["logger"], facts["message"]) == ("ERROR", "here", "two\nlines")
    assert (facts["model"], facts["path"]) == ("tiny", "<class 'object'>")


def test_a_traceback_is_a_field_of_the_line() -> None:
    failed = record()
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError:
        failed.exc_info = sys.exc_info()
    assert "ZeroDivisionError: a bug" in json.loads(JsonLines().format(failed))["traceback"]


def test_a_reason_comes_once_a_period_and_then_says_how_many_were_held_back() -> None:
    now = [0.0]
    once = OncePerPeriod(60, clock=lambda: now[0])
    let_through = []
    for now[0] in (0, 1, 59.9, 60, 61, 120):
        one = record(reason="store down")
        if once.filter(one):
            let_through.append((now[0], vars(one)["held_back"]))
    assert let_through == [(0, 0), (60, 2), (120, 1)]


def test_reasons_do_not_hold_each_other_back_and_records_without_one_always_come() -> None:
    once = OncePerPeriod()
    told = [once.filter(record(**extra)) for extra in ({"reason": "a"}, {"reason": "b"}, {}, {}, {"reason": "a"})]
    assert told == [True, True, True, True, False]


def test_a_configured_process_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    before = (logging.root.handlers[:], logging.root.level)
    try:
        configure()
        for _ in range(3):
            logging.getLogger("here").error("down", extra={"reason": "down"})
    finally:
        logging.root.handlers, logging.root.level = before
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["down"]
