"""What training asks of a kind."""

from collections.abc import Sequence
from typing import Any, Protocol

from lockstep.link import Link
from lockstep.model import Model, Transformations
from training.export import FittedStep

__all__ = ["Kind"]


class Kind(Protocol):
    """From fitted scikit-learn parts to what the scorer runs."""

    def transformations(self, steps: Sequence[FittedStep]) -> Transformations:
        """The steps' features side by side, computed as the scorer will. Raises PlanRefused naming a step."""

    def model(self, steps: Sequence[FittedStep], estimator: Any) -> tuple[Model, Link]:
        """The whole model, and the link to its probabilities. Raises PlanRefused naming the estimator or a step."""

    def trusted(self, model: Model) -> list[str]:
        """The types that a manifest must list for the model's file to be opened."""
