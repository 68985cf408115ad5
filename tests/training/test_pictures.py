import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from lockstep.times import DAY, HOUR, MINUTE, parse_time
from training.evaluate import Floats, assess
from training.importance import Importance
from training.pictures import (
    COLOURS,
    Window,
    draw_importance,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    draw_scores,
    draw_window,
    percent,
)

CUT = parse_time("2017-11-09")


def window(before: int, maturity: int, after: int) -> Window:
    return Window(
        train_from_us=CUT - before,
        train_to_us=CUT - maturity,
        cut_us=CUT,
        mature_to_us=CUT + after - maturity,
        test_to_us=CUT + after,
    )


def curves(y: NDArray[np.int64], p: Floats) -> dict[str, str]:
    """Every picture that is drawn from labels and scores."""
    seen = assess(y, p, prior=0.1, baseline=p**2, resamples=2)
    return {
        "roc": draw_roc(y, p, p**2, seen),
        "pr": draw_precision_recall(y, p, p**2, seen),
        "reliability": draw_reliability(seen.model.reliability),
        "scores": draw_scores(y, p),
    }


def some(rows: int, positives: int) -> tuple[NDArray[np.int64], Floats]:
    rng = np.random.default_rng(rows)
    return (np.arange(rows) < positives).astype(np.int64), rng.beta(1, 5, rows)


@pytest.fixture(scope="module")
def pictures() -> dict[str, str]:
    return {**curves(*some(100, 20)), "window": draw_window(window(3 * DAY, 6 * HOUR, DAY))}


TINY = [
    pytest.param(*some(2, 1), id="one of each class"),
    pytest.param(*some(50, 1), id="one positive"),
    pytest.param(*some(50, 49), id="one negative"),
    pytest.param(some(20, 2)[0], np.full(20, 0.1), id="one score"),
    pytest.param(some(20, 1)[0], np.zeros(20), id="all zero"),
    pytest.param(some(20, 1)[0], np.ones(20), id="all one"),
    pytest.param(some(20, 1)[0], np.tile([0.0, 1.0], 10), id="certain of everything"),
    pytest.param(some(500, 1)[0], np.full(500, 1e-9), id="tiny scores"),
]


@pytest.mark.parametrize(("y", "p"), TINY)
def test_even_tiny_data_gives_every_picture(y: NDArray[np.int64], p: Floats) -> None:
    for name, svg in curves(y, p).items():
        parsed = ElementTree.fromstring(svg)
        assert parsed.attrib["role"] == "img"
        assert not re.search(r"\bnan\b|\binf\b", svg.lower()), name


def test_a_picture_stays_small_however_many_rows_there_are() -> None:
    sizes = {name: len(svg) for name, svg in curves(*some(60_000, 12_000)).items()}
    assert max(sizes.values()) < 60_000, sizes


def test_all_colours_come_from_the_page(pictures: dict[str, str]) -> None:
    everything = "".join(pictures.values())
    assert set(re.findall(r"var\(--(\w+)\)", everything)) == set(COLOURS)
    assert re.findall(r"#[0-9a-fA-F]{6}\b", everything) == []


def test_two_pictures_share_no_id(pictures: dict[str, str]) -> None:
    ids = [each for svg in pictures.values() for each in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)) > 0


def test_what_a_picture_refers_to_is_in_it(pictures: dict[str, str]) -> None:
    for svg in pictures.values():
        ids = set(re.findall(r'\bid="([^"]+)"', svg))
        assert set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg)) <= ids


def test_a_perfect_model_can_be_drawn() -> None:
    y, p = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    seen = assess(y, p, prior=0.5, baseline=p, resamples=2)
    assert "AUC of the model 1.0000" in draw_roc(y, p, p, seen)


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(window(3 * DAY, 6 * HOUR, DAY), id="days"),
        pytest.param(window(400 * DAY, 6 * HOUR, 90 * DAY), id="years"),
        pytest.param(window(5 * MINUTE, MINUTE, 2 * MINUTE), id="minutes"),
        pytest.param(window(2 * DAY, DAY, 2 * HOUR), id="all test rows immature"),
        pytest.param(window(2 * DAY, 0, DAY), id="no maturity"),
    ],
)
def test_windows_of_any_length_are_drawn(shown: Window) -> None:
    svg = draw_window(shown)
    names = ("training", "left out: immature at the cut", "test: mature at the end", "test: immature at the end")
    assert all(f">{name}<" in svg for name in (*names, "the cut"))


@pytest.mark.parametrize("columns", [1, 60])
def test_importances_are_drawn_greatest_first(columns: int) -> None:
    svg = draw_importance({f"f{number}": Importance(number / 1e3, 1e-4) for number in range(columns)})
    assert f"greatest first: f{columns - 1}" in svg
    assert svg.count(">f") == min(columns, 25)


def test_a_column_name_is_text_and_not_markup() -> None:
    svg = draw_importance({"a<b>$x^2$&\"'": Importance(0.1, 0.0)})
    shown = ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter("text")]
    assert "a<b>$x^2$&\"'" in shown


PERCENTS = [(0.00247, "0.247%"), (0.5, "50%"), (1.0, "100%"), (0.0, "0%"), (1e-7, "1e-05%"), (0.99999, "99.999%")]


@pytest.mark.parametrize(("share", "text"), PERCENTS)
def test_a_share_is_told_in_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_pictures_leave_the_settings_of_matplotlib_alone() -> None:
    before = dict(mpl.rcParams)
    draw_scores(*some(30, 5))
    assert dict(mpl.rcParams) == before
