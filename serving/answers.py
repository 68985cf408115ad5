"""What a scorer answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.status import Rung, Status
from serving.explain import FeatureColumn

__all__ = ["Cached", "Features", "Origin", "Scores", "ViewSummary"]


class ViewSummary(NamedTuple):
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


class Origin(IntEnum):
    """Where a score of a cached model comes from. The numbers are on the wire."""

    HIT = 0
    """A stored prediction that is usable at t."""
    DEFAULT = 1
    """There was none: the default."""
    LIVE = 2
    """There was none: the model scored the row now."""


class Cached(NamedTuple):
    """Where the scores of a cached model come from."""

    model: str
    """Whose predictions they are."""
    version: str
    """Of that model; '' where none is known."""
    origins: NDArray[np.int8]
    """The Origin of each row. Shape (rows,)."""
    age_us: NDArray[np.int64]
    """t minus the time as of which the score was made; 0 for a default. Shape (rows,)."""
    rungs: NDArray[np.int8]
    """The Rung of each row, for a hit that on which it was made. Shape (rows,)."""


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
    cached: Cached | None = None
    """Where the scores come from; None but for a cached model."""
