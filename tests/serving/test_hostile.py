"""What strangers send never takes the server down, is never an internal error, and leaves others their answers."""

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockstep.errors import BadRequest
from lockstep.graph import log_odds
from lockstep.model_store import ModelStore
from protos.inference import grpc_service_pb2 as oip
from protos.lockstep.v1 import scorer_pb2 as pb
from protos.lockstep.v1 import scorer_pb2_grpc
from serving.models import Models
from serving.scorer import Scorer
from serving.servicers import ScorerServicer
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader, publish
from tests.serving.conftest import column, request

IP, BID = column("ip", 1), column("bid", 0.5)
GOOD = request(IP, BID)
SCORER, OIP = "/lockstep.v1.Scorer/", "/inference.GRPCInferenceService/"
UNARY = [SCORER + name for name in ("Predict", "GetFeatures", "ListModels", "GetModel")]
UNARY += [OIP + name for name in ("ServerLive", "ModelReady", "ModelMetadata", "ModelInfer", "RepositoryIndex")]
STREAMS = [SCORER + "PredictStream", OIP + "ModelStreamInfer"]
FORESEEN = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED"}
PATIENCE_S = 10.0


@dataclass
class Victim:
    """A server process, and a caller who means well."""

    process: "subprocess.Popen[bytes]"
    address: str
    channel: grpc.Channel
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def serves(self) -> bool:
        """Whether a good request has its good answer now."""
        stub = scorer_pb2_grpc.ScorerStub(self.channel)  # type: ignore[no-untyped-call]
        scores = stub.Predict(GOOD, timeout=PATIENCE_S).scores
        return bool(log_odds(np.array(scores)).round(4).tolist() == [-0.5]) and self.process.poll() is None

    def send(self, method: str, message: bytes) -> str:
        """The status of a call with these bytes."""
        try:
            self.channel.unary_unary(method)(message, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    def stream(self, method: str, messages: list[bytes]) -> tuple[str, list[bytes]]:
        """The status of a stream of these bytes, and the replies."""
        replies: list[bytes] = []
        try:
            replies.extend(self.channel.stream_stream(method)(iter(messages), timeout=PATIENCE_S))
        except grpc.RpcError as error:
            return str(error.code().name), replies
        return "OK", replies

    def memory_mb(self) -> float:
        """What it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def started(folder: Path) -> Iterator[Victim]:
    store = ModelStore(folder / "models")
    publish(store)
    environment = {
        "LOCKSTEP_SERVE_PORT": "0",
        "LOCKSTEP_SERVE_MODELS_URL": store.url,
        "LOCKSTEP_SERVE_READER": "tests.bundles:MemoryReader",
    }
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "serving"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = process.stdout.readline().decode().split()[3].rstrip(":")
            with grpc.insecure_channel(address) as channel:
                yield Victim(process, address, channel, folder / "log")
        finally:
            process.kill()


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with started(tmp_path_factory.mktemp("victim")) as running:
        yield running


@pytest.fixture(autouse=True)
def _serves_before_and_after(victim: Victim) -> Iterator[None]:
    assert victim.serves()
    yield
    assert victim.serves()
    assert "unforeseen error" not in victim.log.read_text()


SEVERAL = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

NAMES = st.sampled_from(["ip", "bid", "site", "", "event_timestamp", "clicks", "Bid"]) | st.text(max_size=4)
INTS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4)
DOUBLES = st.lists(st.floats(), max_size=4)
TEXTS = st.lists(st.text(max_size=5) | st.just("x" * 2000), max_size=4)
COLUMNS = st.one_of(
    st.builds(pb.Column, name=NAMES, int64s=st.builds(pb.Int64s, values=INTS)),
    st.builds(pb.Column, name=NAMES, doubles=st.builds(pb.Doubles, values=DOUBLES)),
    st.builds(pb.Column, name=NAMES, strings=st.builds(pb.Strings, values=TEXTS)),
    st.builds(pb.Column, name=NAMES),
    st.just(IP),
    st.just(BID),
)
MODELS = st.sampled_from(["tiny", "tiny", "tiny", "tini", ""]) | st.text(max_size=5)
VERSIONS = st.sampled_from(["", "", "1", "champion", "7"]) | st.text(max_size=5)
MOMENTS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.just(NOON), max_size=3)
REQUESTS = st.builds(
    pb.PredictRequest,
    model=MODELS,
    version=VERSIONS,
    columns=st.lists(COLUMNS, max_size=5),
    event_timestamp_us=MOMENTS,
    explain=st.booleans(),
)


def _tensors() -> st.SearchStrategy[Any]:
    contents = st.builds(oip.InferTensorContents, int64_contents=INTS, fp32_contents=st.lists(st.floats(width=32)))
    return st.builds(
        oip.ModelInferRequest.InferInputTensor,
        name=NAMES,
        datatype=st.sampled_from(["INT64", "FP32", "BYTES", "FP16", "BOOL", "", "INT65"]),
        shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4), max_size=3),
        contents=contents,
    )


INFERS = st.builds(
    oip.ModelInferRequest,
    model_name=MODELS,
    model_version=VERSIONS,
    id=st.text(max_size=3),
    inputs=st.lists(_tensors(), max_size=3),
    raw_input_contents=st.lists(st.binary(max_size=12), max_size=3),
)


class TestMessages:
    """Messages that follow the .proto and nothing else."""

    @given(asked=REQUESTS)
    @SEVERAL
    def test_any_request_has_a_score_or_a_refusal(self, victim: Victim, asked: pb.PredictRequest) -> None:
        assert victim.send(SCORER + "Predict", asked.SerializeToString()) in FORESEEN

    @given(asked=REQUESTS, names=st.lists(NAMES, max_size=4))
    @SEVERAL
    def test_any_request_for_features_has_them_or_a_refusal(
        self, victim: Victim, asked: pb.PredictRequest, names: list[str]
    ) -> None:
        message = pb.GetFeaturesRequest(
            model=asked.model,
            version=asked.version,
            columns=asked.columns,
            event_timestamp_us=asked.event_timestamp_us,
            features=names,
        )
        assert victim.send(SCORER + "GetFeatures", message.SerializeToString()) in FORESEEN

    @given(asked=INFERS)
    @SEVERAL
    def test_any_inference_has_an_answer_or_a_refusal(self, victim: Victim, asked: oip.ModelInferRequest) -> None:
        assert victim.send(OIP + "ModelInfer", asked.SerializeToString()) in FORESEEN

    @given(asked=st.lists(REQUESTS, max_size=12))
    @SEVERAL
    def test_any_stream_has_as_many_replies_as_requests(self, victim: Victim, asked: list[pb.PredictRequest]) -> None:
        sent = [one.SerializeToString() for one in asked]
        status, replies = victim.stream(SCORER + "PredictStream", [*sent, GOOD.SerializeToString()])
        outcomes = [pb.PredictStreamResponse.FromString(reply) for reply in replies]
        assert (status, len(outcomes)) == ("OK", len(asked) + 1)
        assert {one.failure.code for one in outcomes} <= {0, 3, 5}
        assert outcomes[-1].WhichOneof("outcome") == "response"


class TestBytes:
    """Bytes where messages should be."""

    @given(method=st.sampled_from(UNARY), message=st.binary(max_size=60))
    @SEVERAL
    def test_any_bytes_are_a_message_or_refused(self, victim: Victim, method: str, message: bytes) -> None:
        assert victim.send(method, message) in FORESEEN

    @given(place=st.integers(0, 200), byte=st.integers(0, 255), cut=st.booleans())
    @SEVERAL
    def test_a_good_message_with_a_bad_byte_is_answered_or_refused(
        self, victim: Victim, place: int, byte: int, cut: bool
    ) -> None:
        message = bytearray(GOOD.SerializeToString())
        message[place % len(message)] = byte
        sent = bytes(message[: place % len(message)] if cut else message)
        assert victim.send(SCORER + "Predict", sent) in FORESEEN

    @given(method=st.sampled_from(STREAMS), messages=st.lists(st.binary(max_size=20), max_size=4))
    @SEVERAL
    def test_any_stream_of_bytes_comes_to_an_end(self, victim: Victim, method: str, messages: list[bytes]) -> None:
        status, replies = victim.stream(method, messages)
        assert status in FORESEEN
        assert len(replies) <= len(messages)


HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
HELLOS = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "half a preface": HTTP2[:10],
    "a preface alone": HTTP2,
    "a preface and an endless frame": HTTP2 + SETTINGS + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(2000),
    "a preface and headers that are none": HTTP2 + SETTINGS + b"\x00\x00\x08\x01\x04\x00\x00\x00\x01" + b"\xff" * 8,
    "many resets": HTTP2 + SETTINGS + b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08" * 500,
    "many pings": HTTP2 + SETTINGS + b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" * 1 + bytes(8) * 500,
}


@contextmanager
def dialled(victim: Victim, first: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", victim.port), timeout=2) as connection:
        with suppress(ConnectionError):
            connection.sendall(first)
        yield connection


class TestPort:
    """Bytes where gRPC should be."""

    @pytest.mark.parametrize("hello", HELLOS.values(), ids=HELLOS.keys())
    def test_other_protocols_are_hung_up_on_or_ignored(self, victim: Victim, hello: bytes) -> None:
        with dialled(victim, hello):
            assert victim.serves()

    @given(first=st.booleans(), rest=st.binary(max_size=200))
    @settings(SEVERAL, max_examples=40)
    def test_any_bytes_on_the_port_leave_others_their_answers(self, victim: Victim, first: bool, rest: bytes) -> None:
        with dialled(victim, (HTTP2 + SETTINGS if first else b"") + rest):
            assert victim.serves()

    def test_connections_that_say_nothing_keep_nobody_out(self, victim: Victim) -> None:
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(dialled(victim, b""))
            assert victim.serves()
            with grpc.insecure_channel(victim.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
                stub = scorer_pb2_grpc.ScorerStub(other)  # type: ignore[no-untyped-call]
                assert len(stub.Predict(GOOD, timeout=PATIENCE_S).scores) == 1


LARGE = pb.PredictRequest(model="tiny", columns=[column("ip", *[1] * 1_000_000), BID]).SerializeToString()
"""1 MB that is a million rows."""


class TestLoad:
    """What a stranger sends costs the stranger."""

    def test_a_caller_beside_a_hostile_one_has_its_answers_in_time(self, victim: Victim) -> None:
        over = threading.Event()
        poison = request(IP, BID, column("site", "boom")).SerializeToString()
        wrong = [b"\xff" * 100, poison, request(column("ip", *range(1001)), BID).SerializeToString()]

        def attack() -> None:
            while not over.is_set():
                for message in wrong:
                    victim.send(SCORER + "Predict", message)
                victim.stream(SCORER + "PredictStream", [poison] * 20)

        attackers = [threading.Thread(target=attack) for _ in range(2)]
        for one in attackers:
            one.start()
        took = []
        for _ in range(60):
            started = time.monotonic()
            assert victim.serves()
            took.append(time.monotonic() - started)
        over.set()
        for one in attackers:
            one.join()
        assert statistics.median(took) < 0.2
        assert max(took) < 2

    def test_messages_that_are_refused_leave_no_memory_behind(self, tmp_path: Path) -> None:
        with started(tmp_path) as fresh:
            assert fresh.serves()
            before = fresh.memory_mb()
            for _ in range(40):
                assert fresh.send(SCORER + "Predict", LARGE) == "INVALID_ARGUMENT"
            assert fresh.memory_mb() - before < 150


class _Call:
    """A call without a deadline."""

    def time_remaining(self) -> None:
        """None."""


async def test_rows_too_many_are_counted_before_anything_is_made_of_them(store: ModelStore) -> None:
    models, own = Models(store, newest_versions=1), Settings(models_url=store.url)
    models.refresh()
    servicer = ScorerServicer(Scorer(models, MemoryReader(), own), models, own)
    asked = pb.PredictRequest.FromString(LARGE)
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest, match="at most 1000"):
            await servicer.Predict(asked, _Call())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
