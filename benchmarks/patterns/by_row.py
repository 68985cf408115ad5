"""All that scores the rows of requests: compared first, then timed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.patterns.equal import Equal
from benchmarks.patterns.local import Local, locals_of
from benchmarks.patterns.models import LINEAR, in_c, in_memory
from benchmarks.patterns.rows import Rows, frame
from benchmarks.patterns.served import CACHED_WAY, GRPC, Way, by_method, check_hits, served
from benchmarks.patterns.speed import ALONE, CANDIDATES, Speed, Timing, alone, carried_out, of_server
from benchmarks.patterns.tables import batch_scores
from benchmarks.predict.data import MODEL, Data
from benchmarks.predict.load import PREDICT, generator
from benchmarks.predict.rounds import ratio
from lockstep.model_store import ModelStore

if TYPE_CHECKING:
    from feast import FeatureStore

    from lockstep.bundle import Bundle
    from training.frame import Frame

__all__ = ["Bench", "Found"]


@dataclass(frozen=True)
class Found:
    """What came of it."""

    equal: Equal
    speeds: Mapping[str, Speed]
    """By way."""
    hit_over_live: float


@dataclass(frozen=True)
class Bench:
    """One home and the rows that all ways score."""

    data: Data
    store: "FeatureStore"
    rows: Rows
    folder: Path

    def run(self, singles: int, timing: Timing) -> Found:
        """Compare and time; `singles` rows are asked for one a call. Raises ValueError where a call fails."""
        seen, unwritten = self._frame(MODEL), in_memory(self.store, self.data.home)
        with served(self.data) as ways, locals_of(self.data, self.rows, seen, unwritten) as own:
            equal = self._compared(ways, own)
            speeds, hit_over_live = self._timed(ways, singles, timing)
            speeds |= {name: alone(one.call, len(self.rows), timing) for name, one in own.items()}
        speeds["c"] = self._in_c(equal, seen)
        return Found(equal, speeds, hit_over_live)

    def _bundle(self, model: str) -> "Bundle":
        return ModelStore(self.data.home.models).load(model)

    def _frame(self, model: str) -> "Frame":
        return frame(self.store, self._bundle(model), self.rows)

    def _compared(self, ways: Mapping[str, Way], own: Mapping[str, Local]) -> Equal:
        calls, singles = list(self.rows.calls(CANDIDATES)), list(self.rows.calls(1))
        check_hits(ways[CACHED_WAY], calls)
        equal = Equal(np.concatenate(ways[GRPC].scores(calls)))
        equal.add("grpc, a row a call", np.concatenate(ways[GRPC].scores(singles)))
        for name, way in ways.items():
            if name != GRPC:
                equal.add(name, np.concatenate(way.scores(calls)), self._expected(name))
        for name, one in own.items():
            equal.add(name, one.scores())
        equal.add("batch", batch_scores(self.store, self._bundle(MODEL), self.rows, self.folder))
        return equal

    def _expected(self, way: str) -> NDArray[np.float64] | None:
        """Scores of a model of its own as in training; None where the model is the reference's."""
        if way not in LINEAR:
            return None
        return self._bundle(LINEAR[way]).score_inputs(self._frame(LINEAR[way]).inputs)

    def _timed(self, ways: Mapping[str, Way], singles: int, timing: Timing) -> tuple[dict[str, Speed], float]:
        """The speeds of the ways over gRPC, and a hit's latency over a live score's."""
        messages = {
            f"{name}_{size}": some
            for name, way in ways.items()
            for size, some in way.messages(self.rows, singles).items()
        }
        sides = {name: way.side for name, way in ways.items()}
        with generator(messages) as load:
            found = carried_out(load, sides, by_method(ways), timing)
        one = found[ALONE][PREDICT]
        speeds = {name: of_server(found, way.method, name) for name, way in ways.items()}
        hit_over_live = ratio(one.of(CACHED_WAY, "p50_ms"), one.of(GRPC, "p50_ms"))
        if hit_over_live is None:
            raise ValueError(f"{GRPC}: no round has a time; run the benchmark again.")
        return speeds, hit_over_live

    def _in_c(self, equal: Equal, seen: "Frame") -> Speed:
        """The model in C: what it takes is the model's inputs, so the caller has fetched and computed them."""
        compiled = in_c(self._bundle(MODEL), self.folder / "c")
        equal.add("c", compiled.score(seen.inputs), closely=True)
        us = compiled.ns_per_row(seen.inputs) / 1e3
        return Speed(p50_ms=us / 1e3, single_rows_per_second=1e6 / us, single_cpu_s_per_million=us)
