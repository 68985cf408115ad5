"""The ways over gRPC: what each is asked with, and what it answers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.patterns.models import CACHED, LINEAR
from benchmarks.patterns.rows import Rows
from benchmarks.patterns.speed import CANDIDATES
from benchmarks.predict.asked import ask
from benchmarks.predict.carried import carrying, publish
from benchmarks.predict.data import MODEL, Data
from benchmarks.predict.load import INFER, PREDICT, Messages, scores_of
from benchmarks.predict.sides import Side, lockstep
from lockstep_client.requests import predict
from protos.inference import grpc_service_pb2 as oip
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["CACHED_WAY", "GRPC", "Way", "by_method", "check_hits", "inferring", "served"]

GRPC: Final = "grpc"
"""The way that all others are compared with."""
CACHED_WAY: Final = "cached"


@dataclass(frozen=True)
class Way:
    """One way over gRPC."""

    side: Side
    method: str
    requests: Callable[[Sequence[Rows]], Sequence[bytes]]
    """Makes the messages of some calls."""

    def scores(self, calls: Sequence[Rows]) -> list[NDArray[np.float64]]:
        """The answers, call by call."""
        replies = ask(self.side.address, self.method, self.requests(calls))
        return [scores_of(self.method, reply) for reply in replies]

    def messages(self, rows: Rows, singles: int) -> dict[str, Messages]:
        """What it is loaded with, by rows a call, and the scores to expect of it."""
        found = {}
        for size, some in ((1, rows.take(slice(singles))), (CANDIDATES, rows)):
            calls = list(some.calls(size))
            found[str(size)] = Messages(self.requests(calls), self.scores(calls))
        return found


@contextmanager
def served(data: Data) -> Iterator[dict[str, Way]]:
    """All ways by name; two servers run meanwhile."""
    with lockstep(data) as side, lockstep(data, publish(data)) as carried:
        named = {GRPC: MODEL, CACHED_WAY: CACHED, **LINEAR}
        ways = {way: Way(side, PREDICT, _predicting(model)) for way, model in named.items()}
        sent = Way(carried, INFER, lambda calls: _carrying(data, side, calls))
        yield {**ways, "oip": Way(side, INFER, lambda calls: [inferring(rows) for rows in calls]), "grpc_sent": sent}


def _predicting(model: str) -> Callable[[Sequence[Rows]], Sequence[bytes]]:
    def requests(calls: Sequence[Rows]) -> Sequence[bytes]:
        made = (predict(model, rows.columns, "", rows.moment_us, explain=False) for rows in calls)
        return [one.SerializeToString() for one in made]

    return requests


def _carrying(data: Data, side: Side, calls: Sequence[Rows]) -> Sequence[bytes]:
    return carrying(data, side.address, Messages(_predicting(MODEL)(calls), None)).requests


def inferring(rows: Rows) -> bytes:
    """The request for some rows in the Open Inference Protocol."""
    request = oip.ModelInferRequest(model_name=MODEL)
    request.parameters["event_timestamp_us"].int64_param = rows.moment_us
    for name, values in rows.columns.items():
        request.inputs.add(name=name, datatype="INT64", shape=[len(values)])
        request.raw_input_contents.append(values.astype("<i8").tobytes())
    content: bytes = request.SerializeToString()
    return content


def by_method(ways: Mapping[str, Way]) -> dict[str, list[str]]:
    """Names of the ways by their method."""
    return {method: [name for name, way in ways.items() if way.method == method] for method in (PREDICT, INFER)}


def check_hits(cached: Way, calls: Sequence[Rows]) -> None:
    """Raises ValueError where a row was not answered by its stored prediction."""
    replies = ask(cached.side.address, PREDICT, cached.requests(calls))
    origins = [origin for reply in replies for origin in pb.PredictResponse.FromString(reply).cached.origins]
    hits, rows = origins.count(pb.ORIGIN_HIT), sum(map(len, calls))
    if hits != rows:
        raise ValueError(f"of {rows} rows that the cache was filled with {hits} are answered by it")
