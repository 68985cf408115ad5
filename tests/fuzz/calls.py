"""Messages and bytes through the handlers of both services, without a wire between."""

import asyncio
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import message_factory
from hypothesis import strategies as st

from lockstep.model_store import ModelStore
from protos.inference import grpc_service_pb2 as oip
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.models import Models
from serving.rpc import unary
from serving.scorer import Scorer
from serving.servicer_oip import InferenceServicer
from serving.servicers import ScorerServicer
from serving.settings import Settings
from tests.bundles import MemoryReader, publish, row
from tests.serving.test_hostile import FORESEEN, INFERS, NAMES, REQUESTS

__all__ = ["BYTES", "OIP_CALLS", "SCORER_CALLS", "check"]

Call = tuple[str, bytes]
OUTCOMES = FORESEEN | {"UNAVAILABLE", "FAILED_PRECONDITION"}
_SERVICES = (pb.DESCRIPTOR.services_by_name["Scorer"], oip.DESCRIPTOR.services_by_name["GRPCInferenceService"])


class _Aborted(Exception):
    """What a handler ends with instead of a reply; its text is the code."""


class _Context:
    """As much of gRPC's as the handlers use."""

    def time_remaining(self) -> None:
        """No deadline."""

    async def abort(self, code: grpc.StatusCode, *_told: object) -> None:
        """As gRPC: never returns."""
        raise _Aborted(code.name)


@lru_cache
def _world() -> tuple[asyncio.AbstractEventLoop, dict[str, Any]]:
    """A loop, and every unary handler by name, over the tiny model and rows in memory."""
    store = ModelStore(Path(tempfile.mkdtemp(prefix="lockstep-fuzz-")))
    publish(store)
    models, settings = Models(store, newest_versions=1), Settings(models_url=store.url)
    models.refresh()
    scorer = Scorer(models, MemoryReader({1: row()}), settings)
    servicers = (
        ScorerServicer(scorer, models, settings),
        InferenceServicer(scorer, models, settings, repository_control=False),
    )
    handlers = {
        method.name: unary(getattr(servicer, method.name), _reader(method), method.full_name, None)
        for service, servicer in zip(_SERVICES, servicers, strict=True)
        for method in service.methods
        if not method.client_streaming
    }
    return asyncio.new_event_loop(), handlers


def _reader(method: Any) -> Any:
    return message_factory.GetMessageClass(method.input_type).FromString


METHODS = [method.name for service in _SERVICES for method in service.methods if not method.client_streaming]
FEATURES = st.builds(
    lambda asked, names: pb.GetFeaturesRequest(
        model=asked.model, version=asked.version, columns=asked.columns, features=names
    ),
    REQUESTS,
    st.lists(NAMES, max_size=4),
)
SCORER_CALLS: st.SearchStrategy[Call] = st.tuples(
    st.just("Predict"), REQUESTS.map(lambda one: one.SerializeToString())
) | st.tuples(st.just("GetFeatures"), FEATURES.map(lambda one: one.SerializeToString()))
OIP_CALLS: st.SearchStrategy[Call] = st.tuples(st.just("ModelInfer"), INFERS.map(lambda one: one.SerializeToString()))
BYTES: st.SearchStrategy[Call] = st.tuples(st.sampled_from(METHODS), st.binary(max_size=80))


def check(call: Call) -> None:
    """It is answered, or refused with a status that a caller can act on: never INTERNAL."""
    loop, handlers = _world()
    name, message = call
    try:
        loop.run_until_complete(handlers[name](message, _Context()))
    except _Aborted as aborted:
        outcome = str(aborted)
    else:
        outcome = "OK"
    assert outcome in OUTCOMES, f"{name} ended with {outcome}"
