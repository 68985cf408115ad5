"""Several workers, seen as one server."""

from hypothesis import given
from hypothesis import strategies as st

from serving.metrics.samples import Samples, of
from serving.metrics.totals import Totals

OK = "lockstep_requests_total"
LABELS = ("Predict", "m", "1", "OK")


def said(count: float, *, model: str = "m", memory: float = 5.0, worker: str = "1", served: bool = True) -> Samples:
    found = [
        (OK, ("Predict", model, "1", "OK"), count),
        ("process_resident_memory_bytes", (worker,), memory),
        ("lockstep_queue_requests", (model, "1"), 2.0),
    ]
    return of([*found, ("lockstep_model_info", (model, "1", "onnx"), 1.0)] if served else found)


def total(totals: Totals) -> object:
    return totals.samples().get(OK, {}).get(LABELS, 0)


def test_counts_of_the_living_add_up() -> None:
    totals = Totals()
    totals.tell(1, said(3))
    totals.tell(2, said(4, worker="2"))
    found = totals.samples()
    assert found[OK] == {LABELS: 7.0}
    assert found["lockstep_queue_requests"] == {("m", "1"): 4.0}
    assert found["lockstep_model_info"] == {("m", "1", "onnx"): 1.0}


def test_of_the_dead_the_counts_stay_and_the_gauges_vanish() -> None:
    totals = Totals()
    totals.tell(1, said(3))
    totals.tell(2, said(4, worker="2"))
    totals.ended(2)
    found = totals.samples()
    assert found[OK] == {LABELS: 7.0}
    assert found["process_resident_memory_bytes"] == {("1",): 5.0}
    assert found["lockstep_queue_requests"] == {("m", "1"): 2.0}


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["more", "anew", "ended"])), max_size=40))
def test_counts_never_go_back_whatever_the_workers_do(events: list[tuple[int, str]]) -> None:
    totals, counts, before, true = Totals(), dict.fromkeys((1, 2, 3), 0), 0.0, 0
    totals.tell(4, said(0))
    for worker, what in events:
        if what == "ended":
            totals.ended(worker)
            counts[worker] = 0
        else:
            counts[worker] = 1 if what == "anew" else counts[worker] + 2
            true += 1 if what == "anew" and counts[worker] else 2
            totals.tell(worker, said(counts[worker], worker=str(worker)))
        now = float(total(totals))  # type: ignore[arg-type]
        assert now >= before
        before = now


def test_a_version_that_one_worker_dropped_first_does_not_make_the_total_fall() -> None:
    totals = Totals()
    totals.tell(1, said(3))
    totals.tell(2, said(4))
    totals.tell(1, {})
    assert total(totals) == 7.0
    totals.tell(2, {})
    assert total(totals) == 0  # its series have ended


def test_a_version_that_comes_and_goes_leaves_nothing_behind() -> None:
    totals = Totals()
    totals.tell(1, said(3, model="old"))
    totals.ended(1)
    totals.tell(1, said(1))
    totals.samples()
    assert totals._retired[OK] == {}
