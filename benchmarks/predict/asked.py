"""The requests: rows drawn from the last hours of the click log, as the wire carries them, and what the scorer answers.

Feast's own Redis store knows no TTL, so requests for which the scorer finds a stale row are left out: there the sides
differ by design (docs/differences-from-stock-feast.md). All others every side must answer alike.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import grpc
import numpy as np

from benchmarks.predict.data import MODEL, Data
from benchmarks.predict.load import PREDICT, Messages
from lockstep.cli.pool import Pool
from lockstep.times import HOUR
from lockstep_client.requests import predict
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["CANDIDATES", "ask", "draw"]

CANDIDATES: Final = 100
RECENT_US: Final = 6 * HOUR
SHARED: Final = frozenset({"ip", "device", "os"})
"""What the candidates of one call have in common: one click, a hundred apps and channels."""
_ALIKE: Final = frozenset({pb.STATUS_PRESENT, pb.STATUS_NULL, pb.STATUS_NOT_FOUND, pb.STATUS_REQUEST})
_DEADLINE_S: Final = 20.0


def ask(address: str, method: str, requests: Sequence[bytes]) -> Iterator[bytes]:
    """The answers to some requests, one after the other."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(method, None, None)
        for request in requests:
            yield call(request, timeout=_DEADLINE_S)


def draw(data: Data, address: str, count: int, rows: int, seed: int) -> Messages:
    """So many requests of so many rows that the scorer at this address finds fresh rows for, and its scores."""
    pool, rng = _pool(data), np.random.default_rng(seed)
    drawn = [pool.draw(rows, SHARED if rows > 1 else frozenset(), rng)[0] for _ in range(2 * count)]
    explained = [predict(MODEL, columns, "", data.moment_us, explain=True).SerializeToString() for columns in drawn]
    kept = [
        columns
        for columns, reply in zip(drawn, ask(address, PREDICT, explained), strict=True)
        if _alike(pb.PredictResponse.FromString(reply))
    ][:count]
    if len(kept) < count:
        raise ValueError(f"only {len(kept)} of {2 * count} requests found no stale row; {count} are needed")
    requests = [predict(MODEL, columns, "", data.moment_us, explain=False).SerializeToString() for columns in kept]
    replies = map(pb.PredictResponse.FromString, ask(address, PREDICT, requests))
    return Messages(requests, [np.array(reply.scores) for reply in replies])


def _pool(data: Data) -> Pool:
    """The clicks of the last hours."""
    from training.events import read_log
    from training.events.log import times_us

    log = read_log(data.home.events, columns=[*data.plan.given, "click_time"])
    recent = log.filter(times_us(log["click_time"]) > data.moment_us - RECENT_US)
    return Pool({name: recent[name].to_numpy() for name in data.plan.given}, None)


def _alike(reply: pb.PredictResponse) -> bool:
    return all(entry.status in _ALIKE for view in reply.views for entry in view.counts)
