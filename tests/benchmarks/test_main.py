"""The table of the benchmarks says what was measured, also where it falls short."""

import json
from importlib.util import find_spec

import pytest

from benchmarks.__main__ import BEGIN, BENCHMARKS, END, README, RESULTS, Figure, chosen, table, written

FAST = Figure("speedup", "as fast", 12, "more")


@pytest.mark.parametrize(
    ("figure", "value", "reached"),
    [
        (FAST, 12, "yes"),
        (FAST, 11.9, "no"),
        (Figure("ratio", "as large", 0.4, "less"), 0.4, "yes"),
        (Figure("ratio", "as large", 0.4, "less"), 0.41, "no"),
    ],
)
def test_a_mark_is_reached_or_not(figure: Figure, value: float, reached: str) -> None:
    assert figure.row({figure.field: value}, "it").split("|")[4].strip() == reached


def test_a_figure_without_a_mark_is_just_said() -> None:
    assert Figure("seconds", "long", None).row({"seconds": 3.5}, "it") == "| long |  | **3.5** |  | `it` |"


def test_what_was_not_measured_says_so() -> None:
    assert "| not measured |" in FAST.row({}, "it")


def test_the_table_takes_the_place_of_the_old_one_and_nothing_else() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert written(text, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(ValueError, match="between which the table goes"):
        written("no marks", "new")


def test_the_committed_table_is_made_of_the_committed_results() -> None:
    results = json.loads(RESULTS.read_text())
    assert written(README.read_text(), table(results)) == README.read_text()
    assert set(results) <= {one.module for one in BENCHMARKS}


def test_every_benchmark_is_a_module() -> None:
    for one in BENCHMARKS:
        assert find_spec(f"benchmarks.{one.module}") is not None


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match=r"no 'reed'; the names are point_in_time, "):
        chosen(["reed"])
