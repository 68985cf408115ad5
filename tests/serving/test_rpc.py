"""How servicers sit on a server: bytes in, bytes out, every error a status with its sentence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import pytest
from grpc_health.v1 import health_pb2

from lockstep.errors import BadColumn, BadRequest, LockstepError, NoModelYet, UnknownColumn
from protos.lockstep.v1 import scorer_pb2 as pb
from protos.lockstep.v1 import scorer_pb2_grpc
from serving.rpc import register
from serving.statuses import LONGEST

SCORER = pb.DESCRIPTOR.services_by_name["Scorer"]


class Servicer:
    """Does what the request's model says."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def Predict(self, request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        """A message, its bytes, or an error."""
        match request.model:
            case "message":
                return pb.PredictResponse(model="m", scores=[0.5])
            case "bytes":
                return pb.PredictResponse(model="b", scores=[0.25]).SerializeToString()
            case "nothing":
                return None
            case "abort":
                await context.abort(grpc.StatusCode.ALREADY_EXISTS, "on its own")
        return _raise(request)

    async def PredictStream(  # noqa: N802
        self, requests: AsyncIterator[pb.PredictRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        """A reply for each request, until one is an error."""
        try:
            async for request in requests:
                if request.model not in ("message", "bytes"):
                    _raise(request)
                reply = pb.PredictStreamResponse(failure=pb.Failure(message=request.model))
                yield reply.SerializeToString() if request.model == "bytes" else reply
        finally:
            self.ended.set()

    async def GetFeatures(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Not asked here."""

    ListModels = GetModel = GetFeatures


ERRORS: dict[str, Exception] = {
    "request": BadRequest("say it otherwise"),
    "none yet": NoModelYet("models"),
    "ours": LockstepError("of no table"),
    "bug": KeyError("secret"),
    "time": TimeoutError("secret"),
    "long": BadColumn("x" * 5000, "too long"),
}


def _raise(request: pb.PredictRequest) -> NoReturn:
    if request.model == "column":
        raise UnknownColumn(request.version, ["bid"])
    raise ERRORS[request.model]


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@asynccontextmanager
async def serving(servicer: Servicer) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    register(server, SCORER, servicer)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


@pytest.fixture
async def channel(servicer: Servicer) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(servicer) as made:
        yield made


def stub(channel: grpc.aio.Channel) -> Any:
    return scorer_pb2_grpc.ScorerStub(channel)  # type: ignore[no-untyped-call]


async def failure(channel: grpc.aio.Channel, model: str, version: str = "") -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub(channel).Predict(pb.PredictRequest(model=model, version=version))
    return raised.value.code().name, raised.value.details() or ""


@pytest.mark.parametrize(("model", "name"), [("message", "m"), ("bytes", "b")])
async def test_a_reply_may_be_a_message_or_its_bytes(channel: grpc.aio.Channel, model: str, name: str) -> None:
    assert (await stub(channel).Predict(pb.PredictRequest(model=model))).model == name


@pytest.mark.parametrize(
    ("model", "code", "sentence"),
    [
        ("request", "INVALID_ARGUMENT", "say it otherwise"),
        ("none yet", "UNAVAILABLE", str(ERRORS["none yet"])),
        ("ours", "INTERNAL", "of no table"),
        ("abort", "ALREADY_EXISTS", "on its own"),
    ],
)
async def test_an_error_leaves_as_its_status_with_its_sentence(
    channel: grpc.aio.Channel, model: str, code: str, sentence: str
) -> None:
    assert await failure(channel, model) == (code, sentence)


@pytest.mark.parametrize("model", ["bug", "time", "nothing"])
async def test_what_nobody_foresaw_is_logged_whole_and_leaves_without_internals(
    channel: grpc.aio.Channel, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await failure(channel, model) == ("INTERNAL", "internal error")
    (record,) = [record for record in caplog.records if record.message == "unforeseen error"]
    assert (record.__dict__["method"], record.exc_info is not None) == ("lockstep.v1.Scorer.Predict", True)


async def test_a_long_sentence_is_cut_where_a_header_ends(channel: grpc.aio.Channel) -> None:
    code, sentence = await failure(channel, "long")
    assert (code, len(sentence), sentence[-4:]) == ("INVALID_ARGUMENT", LONGEST + 4, " ...")


@pytest.mark.parametrize("letter", ["a", "\n", '"', "\\", "\u202e", "\x7f"])
async def test_names_that_strangers_chose_leave_the_status_as_it_is(channel: grpc.aio.Channel, letter: str) -> None:
    code, sentence = await failure(channel, "column", letter * 4000)
    assert (code, sentence.startswith("column ")) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("letter", ["漢", "😀"])
async def test_names_of_any_alphabet_leave_the_status_as_it_is(channel: grpc.aio.Channel, letter: str) -> None:
    code, sentence = await failure(channel, "column", letter * 2000)
    assert (code, sentence.startswith(f"column '{letter}")) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    "message",
    [b"\xff\xff\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x1a\x7f", b"\x08" * 51],
    ids=["no tag", "no end", "no UTF-8", "no column", "no number"],
)
async def test_bytes_that_are_no_message_are_the_callers_error(channel: grpc.aio.Channel, message: bytes) -> None:
    raw = channel.unary_unary("/lockstep.v1.Scorer/Predict")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await raw(message)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "lockstep.v1.Scorer.Predict" in (raised.value.details() or "")


async def test_a_message_nested_too_deep_is_the_callers_error(channel: grpc.aio.Channel) -> None:
    deep = b""
    for _ in range(200):  # a group within a group, in a field that no .proto names
        deep = b"\xa3\x06" + deep + b"\xa4\x06"
    raw = channel.unary_unary("/lockstep.v1.Scorer/Predict")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await raw(deep)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_method_that_is_not_there_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary("/lockstep.v1.Scorer/Guess")(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def requests(*models: str) -> Any:
    return iter([pb.PredictRequest(model=model) for model in models])


async def test_a_stream_takes_messages_and_bytes(channel: grpc.aio.Channel) -> None:
    replies = [reply.failure.message async for reply in stub(channel).PredictStream(requests("message", "bytes"))]
    assert replies == ["message", "bytes"]


@pytest.mark.parametrize(
    ("model", "code", "sentence"),
    [("request", "INVALID_ARGUMENT", "say it otherwise"), ("bug", "INTERNAL", "internal error")],
)
async def test_an_error_ends_a_stream_after_the_replies_before_it(
    servicer: Servicer, channel: grpc.aio.Channel, model: str, code: str, sentence: str
) -> None:
    call = stub(channel).PredictStream(requests("message", model, "message"))
    assert (await call.read()).failure.message == "message"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert (raised.value.code().name, raised.value.details()) == (code, sentence)
    assert servicer.ended.is_set()


async def test_bytes_that_are_no_message_end_a_stream(servicer: Servicer, channel: grpc.aio.Channel) -> None:
    raw = channel.stream_stream("/lockstep.v1.Scorer/PredictStream")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await raw(iter([b"\xff"])).read()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert servicer.ended.is_set()


async def test_a_caller_that_cancels_a_stream_ends_its_servicer(servicer: Servicer, channel: grpc.aio.Channel) -> None:
    call = stub(channel).PredictStream()
    await call.write(pb.PredictRequest(model="message"))
    await call.read()
    call.cancel()
    async with asyncio.timeout(5):
        await servicer.ended.wait()


def test_a_method_that_streams_in_one_direction_is_refused_when_it_is_registered() -> None:
    class Health:
        async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
            """Not asked here."""

        Watch = List = Check

    async def registered() -> None:
        server = grpc.aio.server()
        try:
            register(server, health_pb2.DESCRIPTOR.services_by_name["Health"], Health())
        finally:
            await server.stop(None)

    with pytest.raises(NotImplementedError, match="Watch streams in one direction"):
        asyncio.run(registered())
