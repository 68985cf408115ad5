"""scikit-learn's own objects as a user calls them, one after the other on numpy.

Without the ColumnTransformer and the DataFrame that would stand around them: that spares the peers some time.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.predict.data import MODEL
from lockstep.link import Link
from lockstep.plan import Array
from training.export import step_input
from training.spec import load_spec

__all__ = ["Pipeline"]


class Pipeline:
    """The fitted transformers side by side, and the estimator behind them."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self._steps = [(step, *kept["steps"][step.name]) for step in load_spec(MODEL).steps]
        self._estimator, self._link = kept["estimator"], Link()

    def __call__(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Probabilities, shape (rows,)."""
        parts = []
        for step, transformer, dtypes in self._steps:
            out = transformer.transform(step_input(step, dtypes, columns, transformer))
            dense = out.toarray() if hasattr(out, "toarray") else out
            parts.append(dense.astype(np.float32))  # what the estimator was fitted on
        return self._link(self._estimator.decision_function(np.hstack(parts)))
