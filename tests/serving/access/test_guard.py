"""Tokens and permissions over the wire: both services, unary and streaming."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from lockstep.model_store import ModelStore
from lockstep_client import AsyncClient, Client, PermissionDenied, Unauthenticated
from protos.inference import grpc_service_pb2 as oip
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.access.guard import RULES
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import MemoryReader, publish
from tests.serving.access.test_callers import hashed, table
from tests.serving.conftest import column, request

SCORER, OIP = "/lockstep.v1.Scorer/", "/inference.GRPCInferenceService/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
GOOD = request(column("ip", 1), column("bid", 0.5))
COLUMNS = {"ip": 1, "bid": 0.5}
OPERATOR = 'models = ["*"]\nrepository = true\nreflection = true'
"""What the token `two` opens."""
TINY, SECRET = b"tiny", b"secret"


@pytest.fixture
def guarded(settings: Settings, store: ModelStore, tmp_path: Path) -> Settings:
    """The models `tiny` and `secret`; token `one` may ask the first, `two` everything."""
    publish(store, "secret")
    path = tmp_path / "callers.toml"
    path.write_text(table("bidder", "one") + table("operator", "two", more=OPERATOR))
    return replace(settings, callers_file=str(path), oip_repository_control=True)


class Wire:
    """Calls by path, with any metadata."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def ask(self, path: str, message: Any, *headers: tuple[str, str]) -> bytes:
        call = self._channel.unary_unary(path)
        reply: bytes = await call(message.SerializeToString(), metadata=headers, timeout=5)
        return reply

    async def stream(self, path: str, messages: list[Any], *headers: tuple[str, str]) -> list[bytes]:
        sent = [message.SerializeToString() for message in messages]
        return [reply async for reply in self._channel.stream_stream(path)(iter(sent), metadata=headers, timeout=5)]


@pytest.fixture
async def server(guarded: Settings) -> AsyncIterator[Server]:
    async with running(guarded, MemoryReader()) as started:
        yield started


@pytest.fixture
async def wire(server: Server) -> AsyncIterator[Wire]:
    async with dialled(server) as made:
        yield made


@asynccontextmanager
async def dialled(server: Server) -> AsyncIterator[Wire]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Wire(channel)


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


async def refused(call: Any) -> tuple[str, str]:
    """Status and sentence of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code().name, raised.value.details() or ""


NO_TOKEN: dict[str, list[tuple[str, str]]] = {
    "nothing": [],
    "a wrong token": [bearer("three")],
    "an empty one": [bearer("")],
    "the hash of a token": [bearer(hashed("one"))],
    "another scheme": [("authorization", "Basic one")],
    "no scheme": [("authorization", "one")],
    "two tokens": [bearer("one"), bearer("two")],
    "another header": [("x-authorization", "Bearer one")],
}


class TestToken:
    """Who asks."""

    @pytest.mark.parametrize("headers", NO_TOKEN.values(), ids=NO_TOKEN.keys())
    async def test_without_a_known_token_every_method_refuses(self, wire: Wire, headers: list[tuple[str, str]]) -> None:
        status, sentence = await refused(wire.ask(SCORER + "Predict", GOOD, *headers))
        assert status == "UNAUTHENTICATED"
        assert "authorization: Bearer" in sentence
        assert not any(secret in sentence for secret in ("three", hashed("one"), "bidder"))

    @pytest.mark.parametrize("method", sorted(RULES))
    async def test_no_method_answers_strangers_but_those_that_say_whether_the_server_lives(
        self, wire: Wire, method: str
    ) -> None:
        path = "/" + "/".join(method.rsplit(".", 1))
        streams = method.endswith(("PredictStream", "ModelStreamInfer", "ServerReflectionInfo"))
        call = wire.stream(path, [pb.PredictRequest()]) if streams else wire.ask(path, pb.ListModelsRequest())
        if RULES[method].everybody:
            assert await call == b"\x08\x01"
        else:
            assert (await refused(call))[0] == "UNAUTHENTICATED"

    def test_every_method_of_every_service_has_its_rule(self) -> None:
        named = (pb, "Scorer"), (oip, "GRPCInferenceService"), (reflection_pb2, "ServerReflection")
        services = [module.DESCRIPTOR.services_by_name[name] for module, name in named]
        assert {method.full_name for service in services for method in service.methods} == set(RULES)

    async def test_health_is_open(self, wire: Wire) -> None:
        reply = await wire.ask("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest())
        assert health_pb2.HealthCheckResponse.FromString(reply).status == health_pb2.HealthCheckResponse.SERVING

    async def test_both_clients_send_their_token(self, server: Server) -> None:
        async with AsyncClient(server.address, token="one", timeout_s=5) as client:
            assert (await client.predict("tiny", COLUMNS)).version == "1"
        async with AsyncClient(server.address, timeout_s=5) as client:
            with pytest.raises(Unauthenticated):
                await client.predict("tiny", COLUMNS)
        with Client(server.address, token="one", timeout_s=5) as threaded:
            assert (await asyncio.to_thread(threaded.predict, "tiny", COLUMNS)).version == "1"

    async def test_a_token_that_is_revoked_opens_nothing_any_more(self, guarded: Settings) -> None:
        async with running(guarded, MemoryReader()) as server, dialled(server) as wire:
            await wire.ask(SCORER + "Predict", GOOD, bearer("one"))
            Path(guarded.callers_file).write_text(table("bidder", "four"))
            await server.refresh()
            assert (await refused(wire.ask(SCORER + "Predict", GOOD, bearer("one"))))[0] == "UNAUTHENTICATED"
            await wire.ask(SCORER + "Predict", GOOD, bearer("four"))


def of(model: bytes) -> dict[str, Any]:
    """One message for each method that names a model."""
    name = model.decode()
    return {
        SCORER + "Predict": request(column("ip", 1), column("bid", 0.5), model=name),
        SCORER + "GetFeatures": pb.GetFeaturesRequest(model=name, columns=[column("ip", 1), column("bid", 0.5)]),
        SCORER + "GetModel": pb.GetModelRequest(model=name),
        OIP + "ModelReady": oip.ModelReadyRequest(name=name),
        OIP + "ModelMetadata": oip.ModelMetadataRequest(name=name),
        OIP + "ModelConfig": oip.ModelConfigRequest(name=name),
        OIP + "ModelStatistics": oip.ModelStatisticsRequest(name=name),
    }


class TestPermissions:
    """What a known caller may do."""

    @pytest.mark.parametrize("path", of(TINY))
    async def test_a_caller_is_answered_for_its_models_alone(self, wire: Wire, path: str) -> None:
        assert await wire.ask(path, of(TINY)[path], bearer("one")) != b""
        status, sentence = await refused(wire.ask(path, of(SECRET)[path], bearer("one")))
        assert (status, sentence) == (
            "PERMISSION_DENIED",
            "caller 'bidder' may not use model 'secret'; ask the operator of this server for it.",
        )
        assert await wire.ask(path, of(SECRET)[path], bearer("two")) != b""

    async def test_a_model_that_does_not_exist_is_refused_in_the_same_words(self, wire: Wire) -> None:
        absent = await refused(wire.ask(SCORER + "GetModel", pb.GetModelRequest(model="secre"), bearer("one")))
        assert absent[1] == "caller 'bidder' may not use model 'secre'; ask the operator of this server for it."

    async def test_lists_hold_what_the_caller_may_ask_and_nothing_else(self, wire: Wire) -> None:
        for path, message in (
            (SCORER + "ListModels", pb.ListModelsRequest()),
            (OIP + "ModelStatistics", oip.ModelStatisticsRequest()),
            (OIP + "RepositoryIndex", oip.RepositoryIndexRequest()),
        ):
            bidders, operators = [await wire.ask(path, message, bearer(token)) for token in ("one", "two")]
            assert (TINY in bidders, SECRET in bidders) == (True, False)
            assert (TINY in operators, SECRET in operators) == (True, True)

    async def test_a_caller_of_an_absent_model_is_not_told_which_others_there_are(self, guarded: Settings) -> None:
        text = table("curious", "five", more='models = ["secre"]')
        async with running(replace(guarded, callers=text), MemoryReader()) as server, dialled(server) as wire:
            asked = wire.ask(SCORER + "GetModel", pb.GetModelRequest(model="secre"), bearer("five"))
            assert await refused(asked) == ("NOT_FOUND", "there is no model 'secre'.")

    async def test_loading_needs_the_right_and_the_model(self, wire: Wire) -> None:
        message = oip.RepositoryModelUnloadRequest(model_name="tiny")
        status, sentence = await refused(wire.ask(OIP + "RepositoryModelUnload", message, bearer("one")))
        assert (status, "use repository calls" in sentence) == ("PERMISSION_DENIED", True)
        await wire.ask(OIP + "RepositoryModelUnload", message, bearer("two"))

    async def test_reflection_needs_the_right(self, wire: Wire) -> None:
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        assert (await refused(wire.stream(REFLECTION, [listing], bearer("one"))))[0] == "PERMISSION_DENIED"
        (reply,) = await wire.stream(REFLECTION, [listing], bearer("two"))
        assert b"lockstep.v1.Scorer" in reply


class TestStreams:
    """A token once, a permission for each request."""

    async def test_a_stream_for_its_own_models_is_answered(self, wire: Wire) -> None:
        replies = await wire.stream(SCORER + "PredictStream", [GOOD] * 3, bearer("one"))
        assert [pb.PredictStreamResponse.FromString(reply).response.version for reply in replies] == ["1"] * 3

    async def test_a_request_for_another_model_ends_the_stream(self, wire: Wire) -> None:
        foreign = of(SECRET)[SCORER + "Predict"]
        status, sentence = await refused(wire.stream(SCORER + "PredictStream", [GOOD, foreign], bearer("one")))
        assert (status, "may not use model 'secret'" in sentence) == ("PERMISSION_DENIED", True)

    async def test_the_protocols_own_stream_is_guarded_alike(self, wire: Wire) -> None:
        path, foreign = OIP + "ModelStreamInfer", oip.ModelInferRequest(model_name="secret")
        assert (await refused(wire.stream(path, [foreign], bearer("one"))))[0] == "PERMISSION_DENIED"

    async def test_a_caller_that_is_struck_off_is_out_at_its_next_request(
        self, guarded: Settings, server: Server
    ) -> None:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = channel.stream_stream(SCORER + "PredictStream")(metadata=(bearer("one"),), timeout=5)
            await call.write(GOOD.SerializeToString())
            assert len(await call.read()) > 0
            Path(guarded.callers_file).write_text(table("operator", "two", more=OPERATOR))
            await server.refresh()
            await call.write(GOOD.SerializeToString())
            assert (await refused(call.read()))[0] == "UNAUTHENTICATED"


class TestSwitches:
    """Calls that a server answers for nobody, and one that asks nobody for a token."""

    async def test_reflection_can_be_switched_off(self, settings: Settings) -> None:
        async with running(replace(settings, reflection=False), MemoryReader()) as server, dialled(server) as wire:
            listing = reflection_pb2.ServerReflectionRequest(list_services="")
            assert (await refused(wire.stream(REFLECTION, [listing])))[0] == "UNIMPLEMENTED"

    async def test_the_index_can_be_switched_off(self, settings: Settings) -> None:
        off = replace(settings, oip_repository_index=False)
        async with running(off, MemoryReader()) as server, dialled(server) as wire:
            status, sentence = await refused(wire.ask(OIP + "RepositoryIndex", oip.RepositoryIndexRequest()))
        assert (status, "LOCKSTEP_SERVE_OIP_REPOSITORY_INDEX=true" in sentence) == ("PERMISSION_DENIED", True)

    async def test_without_callers_everybody_is_answered(self, settings: Settings) -> None:
        async with running(settings, MemoryReader()) as server, dialled(server) as wire:
            assert await wire.ask(SCORER + "Predict", GOOD) == await wire.ask(SCORER + "Predict", GOOD, bearer("x"))


async def test_tokens_without_encryption_on_an_open_address_are_warned_of(
    guarded: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(guarded, MemoryReader()):
        assert "unencrypted" not in caplog.text
    async with running(replace(guarded, host="0.0.0.0"), MemoryReader()):
        assert "tokens reach this server unencrypted" in caplog.text


async def test_the_client_names_what_it_may_not_do(server: Server) -> None:
    async with AsyncClient(server.address, token="one", timeout_s=5) as client:
        with pytest.raises(PermissionDenied, match="may not use model 'secret'"):
            await client.predict("secret", COLUMNS)
