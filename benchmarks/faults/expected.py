"""What each row may score: with every view, without any, and without each set of views that may be lost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.load import Calls
from lockstep.bundle import Bundle
from lockstep.status import Rung
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.explain import FeatureColumn
from serving.local import LocalScorer
from serving.settings import Settings

__all__ = ["Expected", "columns_of", "expected"]

SAME: Final = 1e-6
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Expected:
    """Scores of every request, of one row each."""

    by_loss: NDArray[np.float64]
    """Without each set of views, the first with all of them and the last with none. Shape (sets, requests)."""
    prior: float

    def live(self, calls: Calls) -> NDArray[np.bool_]:
        """Which calls were answered with the score of all views. Shape (calls,)."""
        found: NDArray[np.bool_] = np.abs(calls.score - self.by_loss[0, calls.place]) <= SAME
        return found

    def wrong(self, calls: Calls) -> NDArray[np.bool_]:
        """Which answers have a score that their rung does not allow. Shape (calls,)."""
        near = np.abs(calls.score - self.by_loss[:, calls.place]) <= SAME
        some = (calls.rung <= int(Rung.DEFAULTS)) & near.any(axis=0)
        none = (calls.rung == int(Rung.ALL_DEFAULTS)) & near[-1]
        prior = (calls.rung == int(Rung.PRIOR)) & (np.abs(calls.score - self.prior) <= SAME)
        found: NDArray[np.bool_] = ~np.isnan(calls.score) & ~(some | none | prior)
        return found


def expected(bundle: Bundle, redis_url: str, requests: Sequence[bytes], moment_us: int) -> Expected:
    """Ask a scorer in this process for the rows as they are, then again with views taken away."""
    columns = columns_of(requests)
    with LocalScorer(bundle, settings=Settings(redis=redis_url)) as scorer:
        found = scorer.predict(columns, at=moment_us, explain=True, timeout_s=_PATIENCE_S).features
        assert found is not None
        stored = {one.column.name: one for one in found.columns if one.view}
        views = sorted({one.view for one in stored.values()})
        scores = []
        for lost in _sets(views):
            features = {name: _lost(one) if one.view in lost else one.values for name, one in stored.items()}
            answer = scorer.predict(columns, features=features, at=moment_us, timeout_s=_PATIENCE_S)
            scores.append(answer.scores)
    return Expected(np.array(scores), bundle.manifest.prior)


def _lost(one: FeatureColumn) -> NDArray[Any]:
    """What a row without the view has: the plan's default, or NULL."""
    return np.full(len(one.values), one.column.instead, one.values.dtype)


def _sets(views: Sequence[str]) -> Iterator[frozenset[str]]:
    for chosen in product((False, True), repeat=len(views)):
        yield frozenset(view for view, lost in zip(views, chosen, strict=True) if lost)


def columns_of(requests: Sequence[bytes]) -> Mapping[str, NDArray[Any]]:
    """The columns of all requests, end to end."""
    columns: dict[str, list[Any]] = {}
    for message in requests:
        for column in pb.PredictRequest.FromString(message).columns:
            kind = column.WhichOneof("values")
            assert kind is not None
            columns.setdefault(column.name, []).extend(getattr(column, kind).values)
    return {name: np.array(values) for name, values in columns.items()}
