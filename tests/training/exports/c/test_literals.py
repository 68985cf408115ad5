"""What is written as C is read back as it was."""

import doctest
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.exports.c import literals, words
from training.exports.c.literals import identifiers, number, table, text

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("module", [literals, words])
def test_its_examples_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(FLOAT32)
def test_a_float_reads_back_as_the_same_bits(value: float) -> None:
    made = number(np.float32(value), "float32")
    assert made.endswith("f")
    assert np.float32(made[:-1]).tobytes() == np.float32(value).tobytes()
    assert "." in made or "e" in made, "an integer with an f behind it is no literal"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_reads_back_as_the_same_bits(value: float) -> None:
    made = number(value, "float64")
    assert np.float64(made).tobytes() == np.float64(value).tobytes()
    assert "." in made or "e" in made


@given(st.binary())
def test_a_text_reads_back_as_the_same_bytes(content: bytes) -> None:
    plain = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text(content)[1:-1])
    assert plain.encode("latin-1") == content


def test_the_numbers_that_are_none_have_names() -> None:
    assert [number(value, "float64") for value in (np.nan, np.inf, -np.inf)] == ["NAN", "INFINITY", "-INFINITY"]
    assert number(-(2**63), "int64") == "INT64_MIN"


@given(st.lists(st.text(max_size=8), unique=True, max_size=20))
def test_different_names_have_different_identifiers(names: list[str]) -> None:
    made = identifiers(names)
    assert len(set(made.values())) == len(names)
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", one) for one in made.values())


def test_a_table_wraps_between_entries_and_never_inside_one() -> None:
    lines = table("static const char *x[]", ['"a b c"'] * 40).splitlines()
    assert max(map(len, lines)) <= 120
    assert all(line.strip().endswith('"a b c",') for line in lines[1:-1])
