"""The gRPC service of lockstep.v1. A method is three moves: translate in, call, translate out."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing

import grpc

from lockstep.errors import DeadlinePassed
from protos.lockstep.v1 import scorer_pb2 as pb
from serving import convert
from serving.answers import Scores
from serving.deadline import Deadline
from serving.metrics import Answered, Refused
from serving.models import Models
from serving.ordered import failed, in_order
from serving.scorer import Query, Scorer
from serving.settings import Settings
from serving.statuses import failure_of

__all__ = ["ScorerServicer", "deadline_of"]

Asked = Query | pb.PredictRequest
"""What asks for scores, as `convert.reader` reads it."""


class ScorerServicer:
    """lockstep.v1.Scorer, for `serving.rpc.register`."""

    def __init__(self, scorer: Scorer, models: Models, settings: Settings) -> None:
        self._scorer, self._models, self._settings = scorer, models, settings

    @property
    def readers(self) -> Mapping[str, Callable[[bytes], Asked]]:
        """By name of a method what reads its messages, where that is not protobuf itself."""
        read = convert.reader(self._settings.max_rows)
        return {"Predict": read, "PredictStream": read}

    async def Predict(self, request: Asked, context: grpc.aio.ServicerContext) -> Answered:
        """Scores every row of the request."""
        deadline = deadline_of(context, self._settings)
        scores = await self._scorer.score(self._query(request), deadline)
        scored_s = time.perf_counter()
        return Answered(convert.reply(scores), scores.model, scores.version, scored_s)

    async def PredictStream(
        self, requests: AsyncIterator[Asked], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Answered | Refused]:
        """The same for a stream of requests; one that fails is answered by its failure."""
        under_way: deque[tuple[Asked, float]] = deque()

        def start(request: Asked) -> "asyncio.Future[Scores]":
            under_way.append((request, time.perf_counter()))
            return self._start(request)

        async with aclosing(in_order(requests, start, window=self._settings.stream_window)) as answers:
            async for answer in answers:
                yield await _reply(answer, *under_way.popleft())

    def _start(self, request: Asked) -> "asyncio.Future[Scores]":
        # A stream may live for days; each of its requests has the time that one without a deadline has.
        deadline = Deadline.after(self._settings.default_deadline_ms / 1e3)
        try:
            return self._scorer.start(self._query(request), deadline)
        except Exception as error:  # noqa: BLE001 # one request of many: the others are not to end with it
            return failed(error)

    def _query(self, request: Asked) -> Query:
        if isinstance(request, Query):
            return request
        most = self._settings.max_rows
        query = convert.query(request, max_rows=most, explain=request.explain, strict=request.strict)
        sent = convert.sent(request, max_rows=most)
        return query._replace(sent=sent) if sent else query

    async def GetFeatures(self, request: pb.GetFeaturesRequest, context: grpc.aio.ServicerContext) -> Answered:
        """What the model is given for every row."""
        deadline = deadline_of(context, self._settings)
        query = convert.query(request, max_rows=self._settings.max_rows)
        features = await self._scorer.features(query, request.features[:], deadline)
        found_s = time.perf_counter()
        return Answered(convert.features(features), features.model, features.version, found_s)

    async def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        """The models that can be asked now."""
        return convert.listing(self._models.catalogue)

    async def GetModel(self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext) -> pb.GetModelResponse:
        """One version of a model."""
        return convert.description(self._models.find(request.model, request.version))


async def _reply(answer: "asyncio.Future[Scores]", request: Asked, since_s: float) -> Answered | Refused:
    """An error is a reply too: the stream goes on."""
    try:
        scores = await answer
        scored_s = time.perf_counter()
        reply = convert.in_stream(convert.reply(scores))
    except Exception as error:  # noqa: BLE001 # told or logged
        failure = failure_of(error, "PredictStream")
        return Refused(convert.failure(*failure), request, failure[0].name)
    return Answered(reply, scores.model, scores.version, scored_s, since_s)


def deadline_of(context: grpc.aio.ServicerContext, settings: Settings) -> Deadline:
    """The caller's deadline, at most the longest one allowed; the default one where the caller names none.

    Raises DeadlinePassed.
    """
    remaining_s = context.time_remaining()
    if remaining_s is not None and remaining_s <= 0:
        raise DeadlinePassed
    if remaining_s is None or remaining_s > 1e9:  # without a deadline gRPC says about 9e18 s
        remaining_s = settings.default_deadline_ms / 1e3
    return Deadline.after(min(remaining_s, settings.max_deadline_ms / 1e3))
