"""The scorer: a gRPC server that fetches features by key and applies the model.

`LocalScorer` and `AsyncLocalScorer` are the same scorer without the server, in the process of whoever needs the scores.

Edges translate, the core thinks: `scorer` knows neither gRPC nor Redis, `convert` is where protobuf meets domain
values, `reader` says what an online store must offer. Nothing here imports feast, lockstep.stores or training.
"""

from serving.local import AsyncLocalScorer, LocalScorer

__all__ = ["AsyncLocalScorer", "LocalScorer"]
