"""The rows that every pattern scores: clicks of the log, all at one moment, some of addresses that nobody has seen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.predict.data import SEED, Data
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureStore

    from lockstep.bundle import Bundle
    from training.frame import Frame

__all__ = ["TIME", "Columns", "Rows", "draw", "frame"]

Columns = Mapping[str, NDArray[Any]]
"""Join keys and request columns by name, each of shape (rows,)."""
TIME: Final = pa.timestamp("us", tz="UTC")
UNKNOWN: Final = 0.1
"""Share of the rows whose address stands in no log."""
NEVER_SEEN: Final = 2_000_000_000


@dataclass(frozen=True)
class Rows:
    """Rows to score."""

    columns: Columns
    moment_us: int
    """t of all of them."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, place: slice) -> "Rows":
        """Some of them."""
        return Rows({name: values[place] for name, values in self.columns.items()}, self.moment_us)

    def calls(self, size: int) -> Iterator["Rows"]:
        """All of them, so many a call."""
        return (self.take(slice(start, start + size)) for start in range(0, len(self), size))

    def keys(self) -> pa.Table:
        """Without their time."""
        return pa.table(dict(self.columns))

    def spine(self) -> pa.Table:
        """With it, as a spine has it."""
        t = pa.array(np.full(len(self), self.moment_us)).cast(TIME)
        return self.keys().append_column(EVENT_TIMESTAMP, t)

    def write(self, path: Path, *, timed: bool) -> Path:
        """As a Parquet file, with or without their time."""
        pq.write_table(self.spine() if timed else self.keys(), path)
        return path


def draw(data: Data, count: int) -> Rows:
    """So many clicks of the whole log; a tenth of them come from addresses of their own."""
    from training.events import read_log

    names, rng = [*data.plan.given], np.random.default_rng(SEED)
    log = read_log(data.home.events, columns=names)
    places = rng.integers(len(log), size=count)
    columns = {name: log[name].to_numpy()[places] for name in names}
    unknown = np.flatnonzero(rng.random(count) < UNKNOWN)
    columns["ip"][unknown] = NEVER_SEEN + unknown
    return Rows(columns, data.moment_us)


def frame(store: "FeatureStore", bundle: "Bundle", rows: Rows) -> "Frame":
    """The rows as training sees them: by Feast's point-in-time join from the tables, without Redis."""
    from training.frame import assemble, fetch

    spine = rows.spine()
    return assemble(bundle.plan, bundle.functions, fetch(store, bundle.plan, spine), spine)
