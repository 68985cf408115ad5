"""Columns of every type that a step can take, made up, and a label that depends on one of them."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from lockstep.plan import Array, DType
from training.fit import Fitted, Recipe, fit
from training.spec import Step

__all__ = ["COLUMNS", "DTYPES", "ROWS", "Y", "fitted", "recipe"]

ROWS = 400
_rng = np.random.default_rng(5)
_words = np.array(["a1", "a2", "a30", "ü", "zz"])


def _holes(values: Array, share: float) -> Array:
    return np.where(_rng.random(ROWS) < share, np.nan, values)


COLUMNS: dict[str, Array] = {
    "height": _rng.normal(3, 2, ROWS).astype(np.float32),
    "price": np.exp(_rng.normal(0, 2, ROWS)).astype(np.float32),
    "gap": _holes(_rng.normal(1000, 300, ROWS), 0.2).astype(np.float32),
    "seldom": _holes(_rng.poisson(3, ROWS), 0.7),
    "app": _rng.zipf(1.6, ROWS).clip(1, 40).astype(np.int64),
    "os": _rng.integers(1, 6, ROWS).astype(np.int64),
    "words": np.array([" ".join(_rng.choice(_words, _rng.integers(0, 7))) for _ in range(ROWS)], object),
}
DTYPES = {
    "height": DType.FLOAT32,
    "price": DType.FLOAT32,
    "gap": DType.FLOAT32,
    "seldom": DType.FLOAT64,
    "app": DType.INT64,
    "os": DType.INT64,
    "words": DType.STRING,
}
Y = (_rng.random(ROWS) < 1 / (1 + np.exp(3 - COLUMNS["height"]))).astype(np.int8)


def recipe(*steps: Step, estimator: Any = None, kind: str = "onnx") -> Recipe:
    """A recipe over these columns, of a small logistic regression unless told otherwise."""
    simple = LogisticRegression(C=0.01, max_iter=5_000)
    return Recipe(steps, simple if estimator is None else estimator, DTYPES, seed=3, kind=kind)


def fitted(*steps: Step, estimator: Any = None, kind: str = "onnx") -> Fitted:
    """The same, fitted on all rows."""
    return fit(recipe(*steps, estimator=estimator, kind=kind), COLUMNS, Y)
