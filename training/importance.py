"""What the model loses when it may no longer look at a column: permutation importance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import EvaluationRefused
from lockstep.plan import Array
from training.evaluate import Floats, check_labels, log_losses

__all__ = ["Importance", "permutation_importance"]


@dataclass(frozen=True)
class Importance:
    """How much the log loss grows when a column's values are shuffled, in nats. About 0: the model can do without."""

    mean: float
    std: float
    """Standard deviation over the shuffles; it says nothing of how another test set would differ."""


def permutation_importance(
    score: Callable[[dict[str, Array]], Floats],
    columns: Mapping[str, Array],
    y: NDArray[np.generic],
    *,
    seed: int,
    repeats: int = 3,
    max_rows: int = 20_000,
) -> dict[str, Importance]:
    """Importance of each column of the model's input, by name, in the columns' order.

    `columns` and `y` have shape (rows,); `score` takes columns and returns probabilities, both of shape (n,). It is
    called 1 + len(columns) · repeats times, on at most `max_rows` rows. Columns that say the same share their
    importance: each can be shuffled while the model reads the other. Raises EvaluationRefused for labels of one class.
    """
    if repeats < 1 or max_rows < 2:
        raise EvaluationRefused(f"repeats {repeats}, max_rows {max_rows}: at least 1 shuffle of 2 rows is needed.")
    rng = np.random.default_rng(seed)
    labels = check_labels(y)
    rows, weights = _sample(labels, max_rows, rng)
    kept = {name: column[rows] for name, column in columns.items()}

    def loss(changed: Mapping[str, Array]) -> float:
        return float((weights * log_losses(labels[rows], score({**kept, **changed}))).sum())

    def shuffled(name: str) -> Array:
        # The sample may hold more of the rarer class than the whole: values are drawn from all rows.
        return columns[name][rng.permutation(labels.size)[: rows.size]]

    whole = loss({})
    growth = {name: [loss({name: shuffled(name)}) - whole for _ in range(repeats)] for name in columns}
    return {name: Importance(float(np.mean(values)), float(np.std(values))) for name, values in growth.items()}


def _sample(y: Floats, max_rows: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """At most `max_rows` rows and their weights, which sum to 1 and give each class the share it has in `y`.

    Of the rarer class as many as half of the rows are kept: among 20,000 of a million clicks there would be few
    installs to judge by.
    """
    rare, common = sorted((np.flatnonzero(y == 0), np.flatnonzero(y == 1)), key=len)
    of_rare = min(rare.size, max_rows // 2)
    of_common = min(common.size, max_rows - of_rare)
    rows = np.concatenate([rng.choice(rare, of_rare, replace=False), rng.choice(common, of_common, replace=False)])
    weights = np.repeat(np.array([rare.size / of_rare, common.size / of_common]) / y.size, [of_rare, of_common])
    return rows, weights
