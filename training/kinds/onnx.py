"""Kind onnx: one graph, from the columns to the raw score. The default."""

from collections.abc import Sequence
from typing import Any

from lockstep.graph import Graph
from lockstep.link import Link
from lockstep.model import Model
from training.export import FittedStep, estimator_graph, joined, step_alone, transform_graph
from training.kinds.kind import ShipsNothing
from training.narrow import narrowed

__all__ = ["OnnxKind"]


class OnnxKind(ShipsNothing):
    """As `training.kinds.Kind` says."""

    def transformations(self, steps: Sequence[FittedStep]) -> Graph:
        """A graph whose output is float32."""
        if len(steps) == 1:
            return step_alone(steps[0])
        return Graph(transform_graph(steps).SerializeToString())

    def model(self, steps: Sequence[FittedStep], estimator: Any) -> tuple[Model, Link]:
        """The steps' graphs and the estimator's in one; the estimator's constant is in the link."""
        serving, kept = narrowed(steps, estimator)
        graph, link = estimator_graph(estimator, len(kept), kept)
        return Graph(joined(transform_graph(serving), graph)), link

    def trusted(self, model: Model) -> list[str]:
        """None: a graph holds no types."""
        return []
