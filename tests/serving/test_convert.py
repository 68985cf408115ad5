"""What was sent is what the scorer gets, and what it says is what comes back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lockstep.request import Ints, Values
from lockstep.status import Rung, Status
from protos.lockstep.v1 import scorer_pb2 as pb
from serving import convert
from serving.scorer import Scores, ViewSummary
from tests.serving.conftest import column

INT64 = st.integers(-(2**63), 2**63 - 1)
COLUMNS = st.one_of(
    st.lists(INT64, min_size=1),
    st.lists(st.floats(), min_size=1),
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1),
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), COLUMNS), st.lists(INT64))
def test_columns_and_times_arrive_as_they_were_sent(columns: dict[str, list[int | float | str]], t: list[int]) -> None:
    sent = pb.PredictRequest(
        model="m",
        version="v",
        columns=[column(name, *values) for name, values in columns.items()],
        event_timestamp_us=t,
    )
    query = convert.query(pb.PredictRequest.FromString(sent.SerializeToString()), max_rows=1000)
    assert (query.model, query.version) == ("m", "v")
    assert query.columns.keys() == columns.keys()
    for name, values in columns.items():
        kind = {int: "i", float: "f", str: "O"}[type(values[0])]
        found = query.columns[name]
        assert isinstance(found, Values)
        assert found.kind == kind
        np.testing.assert_array_equal(np.array(found), np.array(values))
    assert query.event_us == (Ints(t) if t else None)


def test_a_reply_says_what_the_scorer_said() -> None:
    views = (ViewSummary("ip_activity", (1, 0, 0, 2, 0, 0, 0, 0), 2),)
    scores = Scores(np.array([0.1, 1 / 3]), "tiny", "3", views, Rung.DEFAULTS)
    reply = pb.PredictResponse.FromString(convert.reply(scores))
    assert list(reply.scores) == [0.1, 1 / 3]
    assert (reply.model, reply.version, reply.rung) == ("tiny", "3", pb.RUNG_DEFAULTS)
    (view,) = reply.views
    assert (view.view, view.defaulted) == ("ip_activity", 2)
    assert [(one.status, one.count) for one in view.counts] == [(pb.STATUS_PRESENT, 1), (pb.STATUS_STALE, 2)]


def test_statuses_and_rungs_have_the_numbers_and_names_of_the_wire() -> None:
    assert {f"STATUS_{one.name}": one.value for one in Status} == dict(pb.Status.items())
    assert {f"RUNG_{one.name}": one.value for one in Rung} == dict(pb.Rung.items())
