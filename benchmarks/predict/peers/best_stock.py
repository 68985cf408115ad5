"""The best service that stock parts allow: Feast's SDK on asyncio, the model in ONNX Runtime, grpc.aio on uvloop.

    LOCKSTEP_HOME=… REDIS_URL=… python -m benchmarks.predict.peers.best_stock

Feast's precomputed vectors are out of reach: Feast keeps one by the entity of a service's first view, and the four
views here have three entities and a pair.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.predict.peers.features import Features
from benchmarks.predict.peers.wire import Asked, serve_async
from serving.loop import run

__all__ = ["main"]


def main() -> None:
    """Serve until the process is ended."""
    features = Features()
    graph, link = features.bundle.graph, features.bundle.manifest.link

    async def score(asked: Asked) -> NDArray[np.float64]:
        found = await features.store.get_online_features_async(features.references, features.entities(asked))
        return link(graph.raw(features.inputs(asked, found)))

    run(serve_async(score))


if __name__ == "__main__":
    main()
