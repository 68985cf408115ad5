"""What we write is what Prometheus' own parser reads."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics.families import FAMILIES, Family, Kind
from serving.metrics.histogram import Distribution
from serving.metrics.samples import added, counted, from_plain, of, only, to_plain
from serving.metrics.text import exposition

ROWS = FAMILIES["lockstep_request_rows"]


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.text(), st.text(), st.floats(0, 1e15))
def test_any_label_and_value_comes_back(model: str, version: str, value: float) -> None:
    text = exposition(of([("lockstep_queue_requests", (model, version), value)]))
    key = "lockstep_queue_requests", frozenset({("model", model), ("version", version)})
    assert parsed(text) == {key: value}


def test_a_histogram_is_cumulative_and_ends_with_its_count() -> None:
    counts = tuple(range(len(ROWS.buckets) + 1))
    text = exposition(of([(ROWS.name, ("m", "1"), Distribution(counts, 17.5))]))
    found = {
        (name, dict(labels).get("le")): value for (name, labels), value in parsed(text).items() if name != "created"
    }
    total = sum(counts)
    assert found[f"{ROWS.name}_bucket", "2"] == 1
    assert found[f"{ROWS.name}_bucket", "+Inf"] == found[f"{ROWS.name}_count", None] == total
    assert found[f"{ROWS.name}_sum", None] == 17.5
    in_order = [value for (_, le), value in sorted(found.items(), key=lambda one: float(one[0][1] or math.nan)) if le]
    assert in_order == sorted(in_order)


def test_families_are_written_with_their_help_and_type() -> None:
    text = exposition(of([("lockstep_ready", (), 1.0)]))
    (family,) = text_string_to_metric_families(text)
    assert (family.name, family.type, family.documentation) == (
        "lockstep_ready",
        "gauge",
        FAMILIES["lockstep_ready"].help,
    )


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_names_follow_the_conventions_of_prometheus(family: Family) -> None:
    name, kind = family.name, family.kind
    assert name.startswith(("lockstep_", "process_"))
    assert name.endswith("_total") == (kind is Kind.COUNTER)
    assert not name.endswith(("_count", "_sum", "_bucket", "_ms", "_us"))
    assert (kind is Kind.HISTOGRAM) == bool(family.buckets)
    assert list(family.buckets) == sorted(set(family.buckets))


SAMPLES = of(
    [
        ("lockstep_requests_total", ("Predict", "m", "1", "OK"), 3.0),
        ("lockstep_ready", (), 1.0),
        (ROWS.name, ("m", "1"), Distribution((1,) * 13, 2.5)),
    ]
)


def test_samples_go_through_json_unchanged() -> None:
    assert from_plain(json.loads(json.dumps(to_plain(SAMPLES)))) == SAMPLES


def test_samples_add_up_and_what_is_true_of_all_is_not_doubled() -> None:
    both = added([SAMPLES, SAMPLES])
    assert both["lockstep_requests_total"] == {("Predict", "m", "1", "OK"): 6.0}
    assert both[ROWS.name] == {("m", "1"): Distribution((2,) * 13, 5.0)}
    assert both["lockstep_ready"] == {(): 1.0}


def test_counts_can_be_told_from_the_rest() -> None:
    assert set(counted(SAMPLES)) == {"lockstep_requests_total", ROWS.name}
    kept = only(SAMPLES, lambda labels: labels.get("model") != "m")
    assert {name: len(values) for name, values in kept.items()}[ROWS.name] == 0


def test_a_name_that_is_not_in_the_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        of([("lockstep_unheard_of", (), 1.0)])
