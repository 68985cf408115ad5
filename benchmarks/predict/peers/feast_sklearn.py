"""A gRPC service as teams write it beside their Feast repository: Feast's SDK, then scikit-learn, a pool of threads.

    LOCKSTEP_HOME=… REDIS_URL=… python -m benchmarks.predict.peers.feast_sklearn

The fitted transformers are called one by one on numpy, without the ColumnTransformer and the DataFrame that would stand
around them: that spares the peer some time.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.predict.data import MODEL, scikit_learn
from benchmarks.predict.peers.features import Features
from benchmarks.predict.peers.wire import Asked, serve_threads
from lockstep.graph import Link
from lockstep.home import default_home
from lockstep.plan import Array
from training.export import step_input
from training.spec import load_spec

__all__ = ["Pipeline", "main"]


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


def main() -> None:
    """Serve until the process is ended."""
    features, pipeline = Features(), Pipeline(scikit_learn(default_home()))

    def score(asked: Asked) -> NDArray[np.float64]:
        found = features.store.get_online_features(features.references, features.entities(asked))
        return pipeline(features.inputs(asked, found))

    serve_threads(score)


if __name__ == "__main__":
    main()
