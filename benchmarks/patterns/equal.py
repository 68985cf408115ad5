"""Whether all ways have the same scores."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import parts_at

__all__ = ["Equal"]

Scores = NDArray[np.float64]


@dataclass
class Equal:
    """What was compared with one set of scores."""

    reference: Scores
    compared: dict[str, int] = field(default_factory=dict)
    """Rows by way."""
    differing: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, scores: Scores, expected: Scores | None = None, *, closely: bool = False) -> None:
        """Compare a way's scores with those expected of it; None: with the reference.

        To the last bit, or `closely`: within what an export is allowed. Raises ValueError where rows are missing.
        """
        other = self.reference if expected is None else expected
        if scores.shape != other.shape:
            raise ValueError(f"{name} gives {len(scores)} scores for {len(other)} rows")
        self.compared[name] = len(scores)
        self.differing[name] = len(parts_at(scores, other)) if closely else int((scores != other).sum())

    def figures(self) -> dict[str, Any]:
        """As the benchmark prints them."""
        return {
            "rows_compared": sum(self.compared.values()),
            "rows_differing": sum(self.differing.values()),
            "distinct_scores": len(np.unique(self.reference)),
            "differing_by_way": self.differing,
        }
