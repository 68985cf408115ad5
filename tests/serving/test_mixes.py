"""Requests that send stored features themselves, over the wire: by lockstep.v1, by the Open Inference Protocol."""

from typing import Any

import numpy as np
import pytest

from lockstep.bundle import Bundle, build
from lockstep.errors import BadColumn
from lockstep_client import AsyncClient, InvalidArgument
from protos.inference import grpc_service_pb2 as oip
from protos.inference import grpc_service_pb2_grpc
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.mixes import Mixes
from serving.server import Server
from tests.bundles import NOON, bundle_files
from tests.serving.conftest import Client, column, odds, request

BID = column("bid", 0.5)
FRESH = [1.5, 6.5, 3.5]
"""The log-odds with clicks 1, 2 and 3 sent for addresses 1, 2 and 9: the last click of address 2 is read as ever."""


def sending(*features: pb.Column, ip: tuple[int, ...] = (1, 2, 9)) -> pb.PredictRequest:
    asked = request(column("ip", *ip), BID)
    asked.features.extend(features)
    return asked


async def test_what_is_sent_wins_over_what_is_stored(client: Client) -> None:
    reply = await client.ask(sending(column("clicks", 1.0, 2.0, 3.0)))
    assert odds(reply) == FRESH


async def test_requests_with_and_without_features_are_answered_side_by_side(client: Client) -> None:
    plain = odds(await client.ask(sending()))
    for _ in range(3):
        assert odds(await client.ask(sending(column("clicks", 1.0, 2.0, 3.0)))) == FRESH
        assert odds(await client.ask(sending())) == plain


async def test_a_stream_takes_them_too(client: Client) -> None:
    asked = [sending(), sending(column("clicks", 1.0, 2.0, 3.0)), sending()]
    replies = [one.response async for one in client.stub.PredictStream(iter(asked))]
    assert odds(replies[1]) == FRESH
    assert odds(replies[0]) == odds(replies[2]) != FRESH


async def test_a_sent_nan_is_null_and_takes_the_default(client: Client) -> None:
    stored_null = odds(await client.ask(sending(ip=(3,))))
    assert odds(await client.ask(sending(column("clicks", float("nan")), ip=(3,)))) == stored_null
    assert odds(await client.ask(sending(column("clicks", 5.0), ip=(3,)))) != stored_null


async def test_with_all_features_sent_the_key_may_be_left_out(client: Client) -> None:
    asked = request(BID)
    asked.features.extend([column("clicks", 7.0), column("last_click", float(NOON))])
    reply = await client.ask(asked)
    assert (odds(reply), list(reply.views)) == ([7.5], [])


async def test_what_was_sent_is_counted_for_the_version(client: Client, server: Server) -> None:
    await client.ask(sending())
    await client.ask(sending(column("clicks", 1.0, 2.0, 3.0)))
    rows = server.samples()["lockstep_rows_total"]
    assert rows["tiny", "1", "fresh"] == 4
    assert rows["tiny", "1", "defaults"] == 2


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        (column("clickz", 1.0), "no such column. Did you mean 'clicks'"),
        (column("bid", 1.0), "is no stored feature: every request carries it"),
        (column("seconds_since", 1.0), "computed from event_timestamp, last_click; send those"),
        (column("clicks", "many"), "'clicks': holds strings; expected float32"),
        (column("clicks", 1.0, 2.0), "every column has one value, or one per row"),
        (column("clicks", float("inf")), "inf is no float32"),
    ],
)
async def test_a_feature_that_cannot_be_sent_is_refused(client: Client, feature: pb.Column, says: str) -> None:
    status, sentence = await client.refused(sending(feature))
    assert (status, says in sentence) == ("INVALID_ARGUMENT", True), sentence


async def test_a_stored_feature_among_the_rows_is_told_where_to_go(client: Client) -> None:
    _, sentence = await client.refused(request(column("ip", 1), BID, column("clicks", 1.0)))
    assert "read from view 'ip_activity'; to send it instead, name it among the features" in sentence


async def test_a_feature_that_is_sent_twice_is_refused(client: Client) -> None:
    _, sentence = await client.refused(sending(column("clicks", 1.0), column("clicks", 2.0)))
    assert "'clicks': sent twice" in sentence


async def test_our_client_sends_them(server: Server) -> None:
    async with AsyncClient(server.address, timeout_s=8) as client:
        found = await client.predict("tiny", {"ip": [1, 2, 9], "bid": 0.5}, features={"clicks": [1, 2, 3]}, at=NOON)
        assert np.log(found.scores / (1 - found.scores)).round(5).tolist() == FRESH
        with pytest.raises(InvalidArgument, match="'clicks': has 2 values, but 'ip' has 3"):
            await client.predict("tiny", {"ip": [1, 2, 9], "bid": 0.5}, features={"clicks": [1, 2]}, at=NOON)


async def test_a_tensor_with_the_name_of_a_stored_feature_takes_its_place(client: Client) -> None:
    asked = oip.ModelInferRequest(model_name="tiny")
    for name, kind, values in (("ip", "INT64", [1, 2, 9]), ("bid", "FP32", [0.5]), ("clicks", "FP32", [1, 2, 3])):
        tensor = asked.inputs.add(name=name, datatype=kind, shape=[len(values)])
        field: Any = tensor.contents.int64_contents if kind == "INT64" else tensor.contents.fp32_contents
        field.extend(values)
    asked.parameters["event_timestamp_us"].int64_param = NOON
    stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(client.channel)  # type: ignore[no-untyped-call]  # generated
    reply = await stub.ModelInfer(asked)
    scores = np.array(next(one for one in reply.outputs if one.name == "score").contents.fp64_contents)
    assert np.log(scores / (1 - scores)).round(5).tolist() == FRESH


@pytest.fixture
def bundle() -> Bundle:
    return build(bundle_files())


def test_the_same_features_have_the_same_plan(bundle: Bundle) -> None:
    mixes, one = Mixes(), {"clicks": np.array([1.0])}
    rows = {"ip": np.array([1]), "bid": np.array([0.5])}
    assert mixes.of(bundle, rows, one)[0] is mixes.of(bundle, rows, one)[0]


def test_plans_that_nobody_asks_for_go(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.mixes.MOST", 1)
    mixes, rows = Mixes(), {"ip": np.array([1]), "bid": np.array([0.5])}
    first = mixes.of(bundle, rows, {"clicks": np.array([1.0])})[0]
    second = mixes.of(bundle, rows, {"last_click": np.array([1.0])})[0]
    assert mixes.bundles == [second]
    assert first is not second


def test_a_feature_is_sent_once(bundle: Bundle) -> None:
    with pytest.raises(BadColumn, match="among the rows and among the features"):
        Mixes().of(bundle, {"clicks": np.array([1.0]), "bid": np.array([0.5])}, {"clicks": np.array([1.0])})
