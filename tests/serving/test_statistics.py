"""Tallies add up."""

from serving.statistics import Durations, Statistics


def test_each_version_has_a_tally_of_its_own_that_adds_up() -> None:
    statistics = Statistics()
    tally = statistics.of("tiny", "1")
    tally.add_answer(3, 100, 110, 150, 155)
    tally.add_answer(1, 200, 201, 203, 206)
    tally.failed.add(7)
    assert statistics.of("tiny", "1") is tally
    assert (tally.rows, tally.answered, tally.failed) == (4, Durations(2, 61), Durations(1, 7))
    assert (tally.reading, tally.scoring, tally.writing) == (Durations(2, 11), Durations(2, 42), Durations(2, 8))
    assert tally.last_ms > 0
    assert statistics.of("tiny", "2").answered == Durations()
