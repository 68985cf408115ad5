"""What training asks of a kind."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Manifest
from lockstep.link import Link
from lockstep.model import Model, Transformations
from lockstep.plan import Array
from training.export import FittedStep

if TYPE_CHECKING:
    from training.exports.rows import RowSet

__all__ = ["Kind", "ShipsNothing"]


class Kind(Protocol):
    """From fitted scikit-learn parts to what the scorer runs."""

    def transformations(self, steps: Sequence[FittedStep]) -> Transformations:
        """The steps' features side by side, computed as the scorer will. Raises PlanRefused naming a step."""

    def model(self, steps: Sequence[FittedStep], estimator: Any) -> tuple[Model, Link]:
        """The whole model, and the link to its probabilities. Raises PlanRefused naming the estimator or a step."""

    def trusted(self, model: Model) -> list[str]:
        """The types that a manifest must list for the model's file to be opened."""

    def ships(
        self,
        manifest: Manifest,
        files: Mapping[str, bytes],
        rows: Iterable["RowSet"],
        reference: Callable[[Mapping[str, Array]], NDArray[np.float64]],
    ) -> dict[str, bytes]:
        """What a bundle carries beside the `files` that score, by path, for others to run.

        It scores as the model does and as scikit-learn does (`reference`, from columns to probabilities) on all `rows`.
        Raises BundleRefused naming the first that parts.
        """


class ShipsNothing:
    """A kind whose bundles hold the model and no more."""

    def ships(
        self,
        manifest: Manifest,
        files: Mapping[str, bytes],
        rows: Iterable["RowSet"],
        reference: Callable[[Mapping[str, Array]], NDArray[np.float64]],
    ) -> dict[str, bytes]:
        """Nothing."""
        return {}
