"""A scorer that tells a call's trace what was asked and what was found."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.deadline import Deadline
from serving.metrics import Meters
from serving.reader import Reader
from serving.scorer import Features, Query, Scorer, Scores, Served
from serving.settings import Settings
from serving.traces.call import CALL

if TYPE_CHECKING:
    from serving.traces.traces import Traces

__all__ = ["TracedScorer"]


class TracedScorer(Scorer):
    """As a scorer. The call that asks is the one of the task in which it is asked."""

    def __init__(self, models: Served, reader: Reader, settings: Settings, *, meters: Meters, traces: "Traces") -> None:
        super().__init__(models, reader, settings, meters=meters)
        self._traces = traces

    def start(self, query: Query, deadline: Deadline) -> "asyncio.Future[Scores]":
        """As `Scorer.start`, which `Scorer.score` awaits."""
        answer = super().start(query, deadline)
        call = CALL.get()
        if call is not None:
            self._traces.asked(call, answer)
        return answer

    async def features(self, query: Query, names: Sequence[str], deadline: Deadline) -> Features:
        """As `Scorer.features`."""
        found = await super().features(query, names, deadline)
        call = CALL.get()
        if call is not None:
            call.features = found
        return found
