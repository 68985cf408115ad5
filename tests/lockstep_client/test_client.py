"""Both clients against the real server: what one says of a request, the other says too."""

import asyncio
import pickle
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
import pytest

from lockstep.model_store import ModelStore
from lockstep.plan import Plan
from lockstep.redis_server import free_port
from lockstep_client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ModelVersions,
    Need,
    NotFound,
    Prediction,
    Request,
    Rung,
    ScorerError,
    Status,
    Unavailable,
)
from lockstep_client.errors import error_of
from serving.packed_reader import PackedReader
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, PLAN, PRIOR, publish
from tests.lockstep_client.conftest import Dial, Either

BOTH = {"ip": [1, 9], "bid": 0.5}


async def test_scores_come_back_in_row_order_with_what_was_found(scorer: Either) -> None:
    prediction = await scorer.predict("tiny", BOTH, at=NOON)
    assert prediction.scores.dtype == np.float64
    assert prediction.scores == pytest.approx([0.924142, 0.377541], abs=1e-6)  # log-odds 0.5 + 2 and 0.5 − 1
    assert (prediction.model, prediction.version, prediction.rung) == ("tiny", "1", Rung.DEFAULTS)
    (view,) = prediction.views
    assert (view.view, view.defaulted) == ("ip_activity", 1)
    assert view.counts == {Status.PRESENT: 1, Status.NULL: 1, Status.NOT_FOUND: 2}
    assert (prediction.features, prediction.row_rungs) == ({}, ())
    assert repr(prediction).startswith("Prediction(tiny 1, DEFAULTS, scores=[0.92")


async def test_a_data_frame_and_its_times_are_columns_as_they_are(scorer: Either) -> None:
    frame = pd.DataFrame({"ip": [1, 2], "bid": [0.5, 0.25], "site": ["", "ab"]})
    times = pd.Series([datetime(2017, 11, 9, 12, tzinfo=UTC)] * 2)
    prediction = await scorer.predict("tiny", dict(frame.items()), at=times)
    assert prediction.rung is Rung.FRESH
    assert np.log(prediction.scores / (1 - prediction.scores)) == pytest.approx([2.5, 0.25 + 3 + 4 + 2])


async def test_explain_brings_what_the_model_was_given(scorer: Either) -> None:
    prediction = await scorer.predict("tiny", BOTH, at=NOON + 30, explain=True)
    assert list(prediction.features) == [column.name for column in PLAN.columns]
    assert prediction.row_rungs == (Rung.FRESH, Rung.DEFAULTS)
    clicks = prediction.features["clicks"]
    assert (clicks.view, clicks.values.tolist()) == ("ip_activity", [2.0, -1.0])
    assert clicks.status == (Status.PRESENT, Status.NOT_FOUND)
    assert (clicks.defaulted.tolist(), clicks.event_us.tolist()) == ([False, True], [NOON, 0])
    assert prediction.features["ip"].values.tolist() == [1, 9]
    assert prediction.features["site"].values.tolist() == ["", ""]
    computed = prediction.features["seconds_since"]
    assert (computed.view, computed.status, computed.event_us.size) == ("", (), 0)


async def test_a_strict_request_gets_an_error_in_place_of_a_default_and_its_scores_otherwise(scorer: Either) -> None:
    with pytest.raises(FailedPrecondition, match="row 1: feature 'clicks' of view 'ip_activity' is NOT_FOUND"):
        await scorer.predict("tiny", BOTH, at=NOON, strict=True)
    fresh = {"ip": [1, 2], "bid": 0.5}
    prediction = await scorer.predict("tiny", fresh, at=NOON, strict=True)
    np.testing.assert_array_equal(prediction.scores, (await scorer.predict("tiny", fresh, at=NOON)).scores)


async def test_a_strict_request_of_a_stream_fails_alone(scorer: Either) -> None:
    requests = [Request("tiny", BOTH, at=NOON, strict=strict) for strict in (False, True, False)]
    first, second, third = await scorer.stream(requests)
    assert isinstance(first, Prediction)
    assert isinstance(second, FailedPrecondition)
    assert isinstance(third, Prediction)


async def test_a_strict_request_says_that_the_store_does_not_answer(dial: Dial, tmp_path: Path) -> None:
    publish(ModelStore(tmp_path))
    settings = Settings(port=0, models_url=str(tmp_path), redis=f"localhost:{free_port()}")
    reader = PackedReader.open(settings)
    async with running(settings, reader) as server, dial(server.address, timeout_s=5.0) as scorer:
        with pytest.raises(Unavailable, match="the online store did not answer for view 'ip_activity'"):
            await scorer.predict("tiny", BOTH, at=NOON, strict=True)


async def test_features_are_those_asked_for_in_that_order(scorer: Either) -> None:
    answer = await scorer.call("features", "tiny", {"ip": 1, "bid": 1.0}, at=NOON, features=["seconds_since", "clicks"])
    assert list(answer.features) == ["seconds_since", "clicks"]
    assert (answer.model, answer.version, answer.row_rungs) == ("tiny", "1", (Rung.FRESH,))
    inputs = await scorer.call("features", "tiny", {"ip": 1, "bid": 1.0}, at=NOON)
    assert tuple(inputs.features) == PLAN.inputs


async def test_the_models_and_what_they_need_are_told(scorer: Either) -> None:
    assert await scorer.call("models") == (ModelVersions("tiny", ("1",), {"champion": "1"}),)
    model = await scorer.call("model", "tiny")
    assert (model.name, model.version, model.kind, model.prior) == ("tiny", "1", "onnx", PRIOR)
    assert (model.inputs, model.metrics, model.created_us) == (PLAN.inputs, {"auc": 0.75}, NOON)
    assert Need("ip", "int64", "join_key", False) in model.needs
    assert Need("site", "string", "request", True) in model.needs
    assert Plan.from_json(model.plan) == PLAN


@pytest.mark.parametrize(
    ("columns", "options", "kind", "sentence"),
    [
        ({"ip": 1, "bed": 1.0}, {}, InvalidArgument, "column 'bed'.*Did you mean 'bid'"),
        ({"ip": "one", "bid": 1.0}, {}, InvalidArgument, "column 'ip': holds strings; expected int64"),
        ({"ip": 1, "bid": 1.0}, {"version": "7"}, NotFound, "model 'tiny' has no version or alias '7'"),
    ],
)
async def test_a_refusal_is_the_servers_own_sentence(
    scorer: Either, columns: dict[str, object], options: dict[str, str], kind: type[ScorerError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence) as raised:
        await scorer.predict("tiny", columns, **options)
    assert raised.value.code.name in str(raised.value)


async def test_one_client_serves_many_callers_at_once(server: Server) -> None:
    with Client(server.address, timeout_s=5.0) as client:
        bids = np.linspace(-2, 2, 40)
        asked = [asyncio.to_thread(client.predict, "tiny", {"ip": 9, "bid": float(bid)}) for bid in bids]
        scores = [float(answer.scores[0]) for answer in await asyncio.gather(*asked)]
    assert scores == pytest.approx((1 / (1 + np.exp(1 - bids))).tolist(), abs=1e-6)


async def test_where_nobody_listens_it_is_unavailable(dial: Dial) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with dial(address, attempts=1) as client:
        with pytest.raises(Unavailable, match=address):
            await client.predict("tiny", BOTH)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"address": ""}, "address is empty"),
        ({"timeout_s": 0}, "timeout_s is 0; expected a number of seconds above 0"),
        ({"timeout_s": float("inf")}, "timeout_s is inf"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
        ({"keep_alive_s": 1}, "keep_alive_s is 1; expected at least 10 seconds"),
        ({"attempts": 0}, r"attempts is 0; expected 1 \(no retry\) to 5"),
        ({"token": "secret"}, "a token would travel to far:1 unencrypted"),
    ],
)
async def test_settings_that_cannot_work_are_refused(
    kind: type[Client] | type[AsyncClient], options: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        kind(**{"address": "far:1", **options})  # type: ignore[arg-type]


async def test_a_timeout_of_a_call_is_checked_too(scorer: Either) -> None:
    with pytest.raises(ValueError, match="timeout_s is -1"):
        await scorer.predict("tiny", BOTH, timeout_s=-1)


def test_errors_and_predictions_survive_a_process_pool() -> None:
    error = pickle.loads(pickle.dumps(error_of(4, "late")))
    assert (type(error), error.code, str(error)) == (
        DeadlineExceeded,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED: late",
    )
    assert error_of(99, "?").code is grpc.StatusCode.UNKNOWN


async def test_a_prediction_can_be_pickled(scorer: Either) -> None:
    prediction = await scorer.predict("tiny", BOTH, at=NOON)
    again: Prediction = pickle.loads(pickle.dumps(prediction))
    assert again.scores.tolist() == prediction.scores.tolist()
    assert again.views == prediction.views
