import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from lockstep.errors import EvaluationRefused
from lockstep.plan import Column, Computed, DType, Given, JoinKey, Moment, Plan, Stored, View
from lockstep.times import DAY, MINUTE, SECOND, parse_time
from training.champion import Since
from training.changes import Change
from training.drift import Drift
from training.evaluate import Estimate, assess
from training.gates import GateFacts, Gates, check, check_champion
from training.importance import Importance
from training.pictures import COLOURS
from training.report import FEW_POSITIVES, ReportFacts, Window, plan_rows, report

VOID = {"meta", "br"}
SECTIONS = (
    "Gates",
    "Measures on the test rows",
    "Curves, all test rows",
    "Feature importance",
    "Time windows",
    "Feature plan",
    "Model and data",
)


class Page(HTMLParser):
    """What a page holds; fails where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.setdefault(self.open[-1] if self.open else "", []).append(data)


def make_facts(rows: int, positives: int) -> ReportFacts:
    rng = np.random.default_rng(rows)
    y = (np.arange(rows) < positives).astype(np.int64)
    p = np.clip(rng.beta(1, 8, rows) + 0.2 * y, 0.001, 0.999)
    baseline = np.clip(rng.beta(1, 8, rows), 0.001, 0.999)
    test = assess(y, p, prior=0.1, baseline=baseline, resamples=20)
    mature = assess(y[: rows - 1], p[: rows - 1], prior=0.1, baseline=baseline[: rows - 1], resamples=20)
    gates = check(Gates(), GateFacts(test, float(p.min()), float(p.max()), True, "stopped after 84 iterations"))
    cut = parse_time("2017-11-09")
    return ReportFacts(
        name="install",
        version="20171109-1",
        created_us=parse_time("2017-11-10T12:00"),
        about={"feature service": "install_v1", "libraries": {"numpy": "2.4.6"}},
        y=y,
        p=p,
        baseline_p=baseline,
        test=test,
        mature=mature,
        gates=gates,
        window=Window(
            train_from_us=cut - 3 * DAY,
            train_to_us=cut - DAY // 4,
            cut_us=cut,
            mature_to_us=cut + DAY // 2,
            test_to_us=cut + DAY,
        ),
        training_rows=70_123,
        left_out_rows=4_711,
        importances={"clicks_1h_by_ip": Importance(0.01, 0.001), "os": Importance(0.0, 0.0)},
        plan=plan_rows(PLAN),
        data={"rows": 70_123, "sha256": "9f86d081"},
    )


PLAN = Plan(
    project="demo",
    service="install_v1",
    views=(
        View("ip_activity", (JoinKey("ip", "ip", DType.INT64),), DAY, "x"),
        View("channel_activity", (JoinKey("ip", "ip", DType.INT64),), None, "x"),
    ),
    columns=(
        Column("ip", DType.INT64, Given("join_key")),
        Column("os", DType.INT64, Given("request")),
        Column("t", DType.TIMESTAMP, Moment()),
        Column("clicks", DType.FLOAT32, Stored("ip_activity", "clicks_1h"), 0.0),
        Column("last", DType.TIMESTAMP, Stored("channel_activity", "last_click_time")),
        Column("seconds", DType.FLOAT32, Computed("seconds_since", ("t", "last"), "abc")),
    ),
    inputs=("os", "clicks", "seconds"),
)


@pytest.fixture(scope="module")
def facts() -> ReportFacts:
    return make_facts(3_000, 300)


@pytest.fixture(scope="module")
def text(facts: ReportFacts) -> str:
    return report(facts)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


@pytest.fixture(scope="module")
def odd() -> str:
    """The report of a run in which much went wrong."""
    facts = make_facts(100, FEW_POSITIVES - 1)
    failed = replace(facts.gates[0], passed=False, sentence="It is worse by 0.1.")
    passed = replace(facts.gates[1], passed=True)
    return report(replace(facts, mature=None, importances={}, gates=[failed, passed]))


def test_every_section_is_there_in_order(page: Page) -> None:
    assert tuple(page.words["h2"]) == SECTIONS
    assert page.words["h3"] == ["ROC", "Precision-recall", "Calibration", "Score distribution"]


def test_the_file_loads_nothing_else(page: Page, text: str) -> None:
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "object", "image"} == set()
    references = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert references
    assert all(value is not None and value.startswith("#") for value in references)
    assert re.findall(r"http|@import|xlink|url\((?!#)|src=", text) == []


def test_every_picture_is_told_in_words(page: Page) -> None:
    pictures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(pictures) == 6
    assert all(attrs["role"] == "img" and len(attrs["aria-label"] or "") > 30 for attrs in pictures)


def test_no_id_is_there_twice(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_light_and_dark_define_every_colour_of_the_pictures(text: str) -> None:
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    for colour in set(re.findall(r"var\(--(\w+)\)", text)) | set(COLOURS):
        assert f"--{colour}: #" in light, colour
        if colour not in ("paper",):
            assert f"--{colour}: #" in dark.split("* {")[0], colour


def test_the_same_facts_give_the_same_text(facts: ReportFacts, text: str) -> None:
    assert report(facts) == text


def test_the_file_stays_far_below_a_megabyte() -> None:
    assert len(report(make_facts(30_000, 600)).encode()) < 300_000


def test_measures_are_shown_with_and_without_immature_rows(page: Page) -> None:
    captions = page.words["caption"]
    assert "All test rows: 300 positives in 3,000" in captions
    assert "Without immature rows: 300 positives in 2,999" in captions


def test_the_windows_are_told_with_times_and_rows(text: str) -> None:
    cells = re.sub(r"<[^>]+>", " ", text)
    assert re.search(r"training\s+2017-11-06T00:00:00Z\s+2017-11-08T18:00:00Z\s+70,123", cells)
    assert re.search(r"left out: immature at the cut\s+2017-11-08T18:00:00Z\s+2017-11-09T00:00:00Z\s+4,711", cells)
    assert re.search(r"of these, immature at the end\s+2017-11-09T12:00:00Z\s+2017-11-10T00:00:00Z\s+1\s", cells)


def test_a_test_window_whose_mature_rows_hold_one_class_is_said(odd: str) -> None:
    assert "The mature test rows alone do not hold both classes" in odd


def test_few_positives_are_warned_of(text: str, odd: str) -> None:
    assert "the intervals are narrower" not in text
    assert f"Only {FEW_POSITIVES - 1} positives" in odd


def test_a_failed_gate_is_said_at_the_top(odd: str) -> None:
    assert "1 of 2 gates failed" in odd.split("</header>")[0]
    assert "✗ failed" in odd
    assert "It is worse by 0.1." in odd


def test_importances_that_were_not_measured_are_said(odd: str) -> None:
    assert "It was not measured." in odd


def test_what_a_user_named_is_text_and_never_markup(facts: ReportFacts) -> None:
    bad = '<script>alert("x")</script>'
    seen = report(
        replace(
            facts,
            name=bad,
            version=bad,
            about={bad: {bad: bad}},
            data={bad: bad},
            importances={bad: Importance(0.1, 0.1)},
            plan=[{bad: bad}],
            gates=[replace(facts.gates[0], name=bad, sentence=bad)],
        )
    )
    assert "script" not in {tag for tag, _ in Page(seen).tags}


@pytest.mark.parametrize("field", ["y", "p", "baseline_p"])
def test_rows_other_than_those_assessed_are_refused(facts: ReportFacts, field: str) -> None:
    changed: dict[str, Any] = {field: np.zeros(7)}
    with pytest.raises(EvaluationRefused, match=rf"{field} has shape \(7,\), but 3000 test rows were assessed"):
        replace(facts, **changed)


def test_a_plan_is_told_column_by_column() -> None:
    rows = [tuple(row.values()) for row in plan_rows(PLAN)]
    assert rows == [
        ("ip", "request: join key", "int64", "", "", ""),
        ("os", "request", "int64", "", "", "yes"),
        ("t", "the row's event_timestamp", "timestamp", "", "", ""),
        ("clicks", "view ip_activity, field clicks_1h", "float32", "1d", "0.0", "yes"),
        ("last", "view channel_activity, field last_click_time", "timestamp", "for ever", "", ""),
        ("seconds", "seconds_since(t, last)", "float32", "", "", "yes"),
    ]


@pytest.mark.parametrize(("ttl", "text"), [(90 * MINUTE, "90m"), (SECOND // 2, "0.5s"), (0, "0d"), (36 * DAY, "36d")])
def test_a_ttl_is_told_in_its_largest_whole_unit(ttl: int, text: str) -> None:
    views = (replace(PLAN.views[0], ttl_us=ttl), PLAN.views[1])
    assert plan_rows(replace(PLAN, views=views))[3]["TTL"] == text


def test_what_changed_since_the_champion_stands_in_a_section_of_its_own(facts: ReportFacts) -> None:
    moved = Drift("clicks_1h_by_ip", 0.0, 0.25, (0.0, 9.0), (0.0, 120.0), 0.31)
    stayed = Drift("words", 0.1, 0.1, None, None, 0.004)
    gate = check_champion(0.05, 0.04, Estimate(0.01, 0.008, 0.012), 0.02)
    seen = Since("7", (Change("os", "it is <string>, and was int64", True),), (moved, stayed), gate)
    page = report(replace(facts, since=seen))
    section = page.partition("Since the champion, version 7")[2].partition("<h2>")[0]
    assert "it is &lt;string&gt;, and was int64" in section
    assert '<span class="bad">much</span>' in section
    assert '<span class="good">no</span>' in section
    assert all(each in section for each in ("0.310", "0 to 120", "+25.0% beside the champion", "✗ failed"))
    Page(page)
    assert "Since the champion" not in report(facts)
