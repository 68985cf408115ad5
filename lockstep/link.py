"""The link from a model's raw score to a probability."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Link", "log_odds"]


@dataclass(frozen=True)
class Link:
    """From the raw score to a probability, in float64: p = 1 / (1 + exp(−(slope · raw + offset))).

    The graph computes in float32 and ends before the large constant of a rare class is added; that constant, the
    correction of a sampled prior, and a Platt calibration all live here.
    """

    slope: float = 1.0
    offset: float = 0.0

    def odds(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds, shape (rows,)."""
        return self.slope * raw + self.offset

    def __call__(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities, shape (rows,)."""
        odds = self.odds(raw)
        small = np.exp(-np.abs(odds))  # never overflows
        probability: NDArray[np.float64] = np.where(odds >= 0, 1.0, small) / (1.0 + small)
        return probability


def log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of probabilities, shape (rows,); minus and plus infinity for 0 and 1."""
    with np.errstate(divide="ignore"):
        odds: NDArray[np.float64] = np.log(probability) - np.log1p(-probability)
    return odds
