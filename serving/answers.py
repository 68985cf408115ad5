"""What a scorer answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.status import Rung, Status
from serving.explain import FeatureColumn

__all__ = ["Features", "Scores", "ViewSummary"]


@dataclass(frozen=True)
class ViewSummary:
    """What was found for one view over all rows of a request."""

    view: str
    tally: tuple[int, ...]
    """Feature values by number of their Status; they add up to rows × features of the view."""
    defaulted: int
    """Feature values in place of which the plan's default was used."""

    @property
    def counts(self) -> Mapping[Status, int]:
        """Feature values by status, only those that occurred."""
        return {status: self.tally[status] for status in Status if self.tally[status]}


@dataclass(frozen=True)
class Features:
    """What a model is given."""

    model: str
    version: str
    columns: tuple[FeatureColumn, ...]
    rungs: NDArray[np.int8]
    """The Rung of each row. Shape (rows,)."""


class Scores(NamedTuple):
    """The answer to a query."""

    scores: NDArray[np.float64]
    """Probabilities, shape (rows,), in the order of the rows."""
    model: str
    version: str
    views: tuple[ViewSummary, ...]
    rung: Rung
    """The worst rung that any row stands on."""
    features: Features | None = None
    """What the model was given, where the query asks for it."""
