"""Deadlines, retries and push-back, tokens and TLS, on servers that misbehave on purpose."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from lockstep_client import DeadlineExceeded, ScorerError, Tls, Unavailable
from lockstep_client.connection import Connection
from protos.lockstep.v1 import scorer_pb2 as pb
from tests.lockstep_client.conftest import Dial, answering

COLUMNS = {"ip": 1}
Handler = Callable[[pb.PredictRequest, Any], Awaitable[pb.PredictResponse]]


def failing(times: int, code: grpc.StatusCode, pushback_ms: str | None = None) -> tuple[Handler, list[float]]:
    """A `Predict` that fails so many times and then answers, and when it was called."""
    calls: list[float] = []

    async def predict(request: pb.PredictRequest, context: Any) -> pb.PredictResponse:
        calls.append(time.monotonic())
        if len(calls) <= times:
            trailing = () if pushback_ms is None else (("grpc-retry-pushback-ms", pushback_ms),)
            await context.abort(code, "not now", trailing)
        return pb.PredictResponse(scores=[0.5])

    return predict, calls


async def test_a_server_that_is_away_for_a_moment_is_asked_again(dial: Dial) -> None:
    predict, calls = failing(2, grpc.StatusCode.UNAVAILABLE)
    async with answering(predict=predict) as address, dial(address, timeout_s=5) as client:
        assert (await client.predict("m", COLUMNS)).scores.tolist() == [0.5]
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("code", "options", "tried"),
    [
        (grpc.StatusCode.UNAVAILABLE, {}, 3),
        (grpc.StatusCode.UNAVAILABLE, {"attempts": 1}, 1),
        (grpc.StatusCode.INTERNAL, {}, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, {}, 1),
    ],
)
async def test_it_is_asked_again_only_when_unavailable_and_not_for_ever(
    dial: Dial, code: grpc.StatusCode, options: dict[str, int], tried: int
) -> None:
    predict, calls = failing(9, code)
    async with answering(predict=predict) as address, dial(address, timeout_s=5, **options) as client:
        with pytest.raises(ScorerError, match=f"{code.name}: not now") as raised:
            await client.predict("m", COLUMNS)
    assert isinstance(raised.value, Unavailable) == (code is grpc.StatusCode.UNAVAILABLE)
    assert len(calls) == tried


async def test_a_server_that_asks_for_time_gets_it(dial: Dial) -> None:
    predict, calls = failing(1, grpc.StatusCode.UNAVAILABLE, pushback_ms="300")
    async with answering(predict=predict) as address, dial(address, timeout_s=5) as client:
        await client.predict("m", COLUMNS)
    assert len(calls) == 2
    assert calls[1] - calls[0] >= 0.3


async def test_a_server_that_forbids_a_retry_is_obeyed(dial: Dial) -> None:
    predict, calls = failing(9, grpc.StatusCode.UNAVAILABLE, pushback_ms="-1")
    async with answering(predict=predict) as address, dial(address, timeout_s=5) as client:
        with pytest.raises(Unavailable):
            await client.predict("m", COLUMNS)
    assert len(calls) == 1


async def test_every_call_has_a_deadline_and_the_server_knows_it(dial: Dial) -> None:
    remaining: list[float] = []

    async def predict(request: pb.PredictRequest, context: Any) -> pb.PredictResponse:
        remaining.append(context.time_remaining())
        await asyncio.sleep(60)
        return pb.PredictResponse()

    async with answering(predict=predict) as address, dial(address, timeout_s=0.2) as client:
        with pytest.raises(DeadlineExceeded):
            await client.predict("m", COLUMNS)
        with pytest.raises(DeadlineExceeded):
            await client.predict("m", COLUMNS, timeout_s=0.1)
    assert 0.1 < remaining[0] < 0.21  # gRPC counts in whole milliseconds
    assert 0 < remaining[1] < 0.11


async def echo_token(request: pb.PredictRequest, context: Any) -> pb.PredictResponse:
    """Answers with the token it was sent in place of the version."""
    sent = dict(context.invocation_metadata())
    return pb.PredictResponse(scores=[0.5], version=sent.get("authorization", "none"))


async def test_a_token_goes_with_every_call_and_may_change(dial: Dial) -> None:
    tokens = iter(["first", "second"])
    async with answering(predict=echo_token) as address:
        async with dial(address, token="fixed", timeout_s=5) as client:
            assert (await client.predict("m", COLUMNS)).version == "Bearer fixed"
        async with dial(address, token=lambda: next(tokens), timeout_s=5) as client:
            versions = [(await client.predict("m", COLUMNS)).version for _ in range(2)]
    assert versions == ["Bearer first", "Bearer second"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Key and certificate of scorer.test, signed by itself, in PEM."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on the PATH")
    folder: Path = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=scorer.test", "-addext", "subjectAltName=DNS:scorer.test"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return key.read_bytes(), made.read_bytes()


async def test_tls_knows_the_server_by_its_certificate(dial: Dial, certificate: tuple[bytes, bytes]) -> None:
    credentials = grpc.ssl_server_credentials([certificate])
    tls = Tls(root_certificates=certificate[1], server_name="scorer.test")
    async with answering(predict=echo_token, credentials=credentials) as address:
        async with dial(address, tls=tls, token="secret", timeout_s=5) as client:
            assert (await client.predict("m", COLUMNS)).version == "Bearer secret"
        async with dial(address, tls=Tls(root_certificates=certificate[1]), attempts=1) as client:
            with pytest.raises(Unavailable):  # the certificate is another's
                await client.predict("m", COLUMNS)


def test_streams_are_not_begun_again_by_themselves() -> None:
    config = Connection("localhost:1", None, None, 1.0, 300.0, 3).service_config()
    (method,) = config["methodConfig"]
    assert {"service": "lockstep.v1.Scorer", "method": "Predict"} in method["name"]
    assert "PredictStream" not in [name["method"] for name in method["name"]]
