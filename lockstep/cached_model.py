"""Kind cached: a model that answers with the stored predictions of another one.

Its file says whose predictions they are and what becomes of a request that has none. Its plan has the other model's
given columns and one view, that of the predictions, with its TTL, of which it reads the score: the one input of a model
that answers it as it is. Where none is usable the plan's default takes its place, as for any feature.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BundleRefused
from lockstep.link import log_odds
from lockstep.model import CACHED, check_inputs
from lockstep.plan import Array, DType, Plan
from lockstep.prediction_key import PredictionKeys

__all__ = ["SCORE", "Cache", "CachedModel", "OnMiss"]

SCORE = "prediction"
"""The column of the plan that is the stored score."""


class OnMiss(StrEnum):
    """What becomes of a request without a usable prediction."""

    DEFAULT = "default"
    """It gets the default."""
    LIVE = "live"
    """It is scored by the model itself, and the score is kept."""


@dataclass(frozen=True)
class Cache:
    """What the file says."""

    model: str
    """Whose predictions answer."""
    on_miss: OnMiss
    keys: str
    """`PredictionKeys.sha256` of the plan."""

    def to_json(self) -> bytes:
        """The file."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"

    @staticmethod
    def from_json(content: bytes) -> "Cache":
        """Raises BundleRefused where the file is none."""
        try:
            plain = json.loads(content)
            return Cache(str(plain["model"]), OnMiss(plain["on_miss"]), str(plain["keys"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleRefused(f"{CACHED.path} cannot be read: {error!r}. Publish the cached model again.") from error


class CachedModel:
    """As `lockstep.model.Model` says: it scores what it is given."""

    def __init__(self, content: bytes) -> None:
        """Raises BundleRefused where the file cannot be read."""
        self.model = content
        self.cache = Cache.from_json(content)

    @property
    def inputs(self) -> Sequence[str]:
        """The stored score alone."""
        return [SCORE]

    def run(self, columns: Mapping[str, Array]) -> Array:
        """The raw score in a table of one column."""
        return self.raw(columns).reshape(-1, 1)

    def raw(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Log-odds of the scores."""
        return log_odds(columns[SCORE])

    def check(self, plan: Plan) -> None:
        """Raises BundleRefused unless the plan is one of a cached model, with the keys that the file names."""
        check_inputs({SCORE: DType.FLOAT64}, {name: plan.by_name[name].dtype for name in plan.inputs})
        if plan.stored_columns.names != (SCORE,) or not plan.given:
            raise BundleRefused("a cached model reads one stored score by what is given. Publish it again.")
        if PredictionKeys(plan).sha256 != self.cache.keys:
            raise BundleRefused(f"{CACHED.path} names other keys than the plan has. Publish the cached model again.")
