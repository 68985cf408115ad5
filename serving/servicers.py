"""The gRPC services. A method is three moves: translate in, call, translate out."""

import grpc

from protos.lockstep.v1 import scorer_pb2, scorer_pb2_grpc
from serving import convert
from serving.deadline import Deadline
from serving.scorer import Scorer
from serving.settings import Settings

__all__ = ["ScorerServicer", "deadline_of"]


class ScorerServicer(scorer_pb2_grpc.ScorerServicer):
    """lockstep.v1.Scorer."""

    def __init__(self, scorer: Scorer, settings: Settings) -> None:
        self._scorer, self._settings = scorer, settings

    async def Predict(
        self, request: scorer_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> scorer_pb2.PredictResponse:
        """Scores every row of the request."""
        deadline = deadline_of(context, self._settings)
        scores = await self._scorer.score(convert.query(request), deadline)
        return convert.reply(scores)


def deadline_of(context: grpc.aio.ServicerContext, settings: Settings) -> Deadline:
    """The caller's deadline, at most the longest one allowed; the default one where the caller names none."""
    remaining_s = context.time_remaining()
    if remaining_s is None or remaining_s > 1e9:  # without a deadline gRPC says about 9e18 s
        remaining_s = settings.default_deadline_ms / 1e3
    return Deadline.after(min(remaining_s, settings.max_deadline_ms / 1e3))
