"""The gRPC service of lockstep.v1. A method is three moves: translate in, call, translate out."""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import grpc

from lockstep.errors import LockstepError
from protos.lockstep.v1 import scorer_pb2 as pb
from serving import convert
from serving.deadline import Deadline
from serving.models import Models
from serving.ordered import in_order
from serving.scorer import Query, Scorer
from serving.settings import Settings

__all__ = ["ScorerServicer", "deadline_of"]

log = logging.getLogger(__name__)


class ScorerServicer:
    """lockstep.v1.Scorer, for `serving.rpc.register`."""

    def __init__(self, scorer: Scorer, models: Models, settings: Settings) -> None:
        self._scorer, self._models, self._settings = scorer, models, settings

    async def Predict(self, request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> bytes:
        """Scores every row of the request."""
        deadline = deadline_of(context, self._settings)
        return convert.reply(await self._scorer.score(self._query(request), deadline))

    async def PredictStream(
        self, requests: AsyncIterator[pb.PredictRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes | pb.PredictStreamResponse]:
        """The same for a stream of requests; one that fails is answered by its failure."""
        answer = partial(self._answer, context=context)
        async with aclosing(in_order(requests, answer, window=self._settings.stream_window)) as replies:
            async for reply in replies:
                yield reply

    async def _answer(
        self, request: pb.PredictRequest, context: grpc.aio.ServicerContext
    ) -> bytes | pb.PredictStreamResponse:
        # A stream may live for days; each of its requests has the time that one without a deadline has.
        deadline = Deadline.after(self._settings.default_deadline_ms / 1e3)
        try:
            query = self._query(request)
            return convert.in_stream(convert.reply(await self._scorer.score(query, deadline)))
        except LockstepError as error:
            return convert.failure(error)
        except Exception:  # one request of many: the others are not to end with it
            log.exception("unforeseen error", extra={"method": "PredictStream"})
            return convert.unforeseen()

    def _query(self, request: pb.PredictRequest) -> Query:
        return convert.query(request, max_rows=self._settings.max_rows, explain=request.explain)

    async def GetFeatures(
        self, request: pb.GetFeaturesRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetFeaturesResponse:
        """What the model is given for every row."""
        deadline = deadline_of(context, self._settings)
        return convert.features(
            await self._scorer.features(
                convert.query(request, max_rows=self._settings.max_rows), request.features[:], deadline
            )
        )

    async def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        """The models that can be asked now."""
        return convert.listing(self._models.catalogue)

    async def GetModel(self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext) -> pb.GetModelResponse:
        """One version of a model."""
        return convert.description(self._models.find(request.model, request.version))


def deadline_of(context: grpc.aio.ServicerContext, settings: Settings) -> Deadline:
    """The caller's deadline, at most the longest one allowed; the default one where the caller names none."""
    remaining_s = context.time_remaining()
    if remaining_s is None or remaining_s > 1e9:  # without a deadline gRPC says about 9e18 s
        remaining_s = settings.default_deadline_ms / 1e3
    return Deadline.after(min(remaining_s, settings.max_deadline_ms / 1e3))
