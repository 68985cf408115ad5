"""A gRPC service as teams write it beside their Feast repository: Feast's SDK, then scikit-learn, a pool of threads.

    LOCKSTEP_HOME=… REDIS_URL=… python -m benchmarks.predict.peers.feast_sklearn

It calls scikit-learn as pipeline.py does.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.predict.data import scikit_learn
from benchmarks.predict.peers.features import Features
from benchmarks.predict.peers.pipeline import Pipeline
from benchmarks.predict.peers.wire import Asked, serve_threads
from lockstep.home import default_home

__all__ = ["main"]


def main() -> None:
    """Serve until the process is ended."""
    features, pipeline = Features(), Pipeline(scikit_learn(default_home()))

    def score(asked: Asked) -> NDArray[np.float64]:
        found = features.store.get_online_features(features.references, features.entities(asked))
        return pipeline(features.inputs(asked, found))

    serve_threads(score)


if __name__ == "__main__":
    main()
