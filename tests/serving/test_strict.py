"""A strict caller gets an error instead of a default, and nobody else does."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import grpc
import pytest

from lockstep.plan import Array, Plan
from lockstep.resolve import PlanRows
from lockstep.status import Status
from protos.inference import grpc_service_pb2 as oip
from protos.inference import grpc_service_pb2_grpc
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.server import running
from serving.settings import Settings
from tests.bundles import NOON, TTL, MemoryReader
from tests.serving.conftest import Client, column, odds, request


def strict(*ips: int, t: int = NOON, site: str = "", explain: bool = False) -> pb.PredictRequest:
    sites = [column("site", site)] if site else []
    made = request(column("ip", *ips), column("bid", 0.5), *sites, t=[t])
    made.strict, made.explain = True, explain
    return made


@pytest.mark.parametrize("explain", [False, True], ids=["plain", "explained"])
async def test_fresh_rows_are_answered_as_ever_null_is_a_value(client: Client, explain: bool) -> None:
    assert odds(await client.ask(strict(1, explain=explain))) == [2.5]
    assert (await client.ask(strict(3))).rung == pb.RUNG_FRESH


@pytest.mark.parametrize("explain", [False, True], ids=["plain", "explained"])
@pytest.mark.parametrize(
    ("ips", "t", "said"),
    [
        ((1, 2, 9, 1), NOON, "row 2: feature 'clicks' of view 'ip_activity' is NOT_FOUND"),
        ((1,), NOON + TTL + 1, "row 0: feature 'clicks' of view 'ip_activity' is STALE"),
        ((1,), NOON - 1, "row 0: feature 'clicks' of view 'ip_activity' is FUTURE"),
    ],
    ids=["not found", "stale", "future"],
)
async def test_the_error_names_the_row_and_the_view(
    client: Client, ips: tuple[int, ...], t: int, said: str, explain: bool
) -> None:
    code, message = await client.refused(strict(*ips, t=t, explain=explain))
    assert code == "FAILED_PRECONDITION"
    assert message.startswith(said)


async def test_a_model_that_fails_is_an_error_too(client: Client) -> None:
    code, message = await client.refused(strict(1, site="boom"))
    assert (code, message.startswith("row 0: the model gave no number")) == ("FAILED_PRECONDITION", True)


async def test_the_others_of_the_batch_get_their_defaults(client: Client) -> None:
    lax = request(column("ip", 9, 1), column("bid", 0.5))
    answers = await asyncio.gather(
        *(client.ask(one) for one in (lax, strict(9), lax, strict(1), lax)), return_exceptions=True
    )
    refused = answers.pop(1)
    assert isinstance(refused, grpc.aio.AioRpcError)
    assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert [odds(one) for one in answers if isinstance(one, pb.PredictResponse)] == [
        [-0.5, 2.5],
        [-0.5, 2.5],
        [2.5],
        [-0.5, 2.5],
    ]


async def test_in_a_stream_it_is_the_failure_of_one_request(client: Client) -> None:
    call = client.stub.PredictStream(iter([strict(9), strict(1)]))
    first, second = [reply async for reply in call]
    assert first.failure.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert odds(second.response) == [2.5]


class Silent(MemoryReader):
    """A store that does not answer: at once, or not at all."""

    at_once = True

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Any:
        """Nothing."""
        if not self.at_once:
            await asyncio.sleep(60)
        return PlanRows.missing(plan, rows, Status.UNREACHABLE)


class TestUnreachable:
    """The store does not answer."""

    @pytest.fixture(params=[True, False], ids=["refused at once", "never answers"])
    async def client(self, settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
        reader = Silent()
        reader.at_once = request.param
        hasty = replace(settings, default_deadline_ms=200)
        async with running(hasty, reader) as server, grpc.aio.insecure_channel(server.address) as channel:
            yield Client(channel)

    async def test_it_is_unavailable_within_the_deadline(self, client: Client) -> None:
        async with asyncio.timeout(1):
            code, message = await client.refused(strict(1))
        assert code == "UNAVAILABLE"
        assert message.startswith("row 0: the online store did not answer for view 'ip_activity'")


class TestInference:
    """The same by the Open Inference Protocol."""

    @staticmethod
    def asked(ip: int, **parameter: Any) -> oip.ModelInferRequest:
        asked = oip.ModelInferRequest(model_name="tiny", inputs=[_tensor("ip", "INT64", int64_contents=[ip])])
        asked.inputs.append(_tensor("bid", "FP32", fp32_contents=[0.5]))
        asked.parameters["event_timestamp_us"].int64_param = NOON
        asked.parameters["strict"].CopyFrom(oip.InferParameter(**parameter))
        return asked

    @pytest.mark.parametrize(
        ("ip", "parameter", "code", "said"),
        [
            (9, {"bool_param": True}, "FAILED_PRECONDITION", "row 0: feature 'clicks' of view 'ip_activity'"),
            (1, {"string_param": "yes"}, "INVALID_ARGUMENT", "parameter 'strict': expected true or false"),
        ],
        ids=["missing", "no flag"],
    )
    async def test_refused(self, client: Client, ip: int, parameter: dict[str, Any], code: str, said: str) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await _stub(client).ModelInfer(self.asked(ip, **parameter))
        assert (raised.value.code().name, (raised.value.details() or "")[: len(said)]) == (code, said)

    @pytest.mark.parametrize(("ip", "flag"), [(1, True), (9, False)], ids=["fresh", "not strict"])
    async def test_answered(self, client: Client, ip: int, flag: bool) -> None:
        reply = await _stub(client).ModelInfer(self.asked(ip, bool_param=flag))
        assert len(reply.outputs) == 1


def _tensor(name: str, datatype: str, **contents: Any) -> oip.ModelInferRequest.InferInputTensor:
    return oip.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=[1], contents=oip.InferTensorContents(**contents)
    )


def _stub(client: Client) -> Any:
    return grpc_service_pb2_grpc.GRPCInferenceServiceStub(client.channel)  # type: ignore[no-untyped-call]
