"""What Spark's executors run: rows of the spine out, and rows with what was found for them back in, to be scored.

They need this package and the files that the spine and the parts lie in; the bundle comes to them as a broadcast. They
do not import Feast.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from pyspark import Broadcast

from lockstep.bundle import Bundle, build
from lockstep.errors import PartsRefused
from lockstep.plan import DType, JoinKey, Plan
from training.batch.fingerprint import Fingerprint
from training.batch.folder import Folder
from training.batch.rows import beside, given_from, scored
from training.batch.run import CHUNK_ROWS
from training.batch.spine import Spine
from training.frame import rows_found

__all__ = ["SCORED", "Work", "asking_schema"]

SCORED: Final = pa.schema({"part": pa.int64(), "rung": pa.string(), "rows": pa.int64()})
"""What is said of a part that was written: its rows by rung."""


def asking_schema(plan: Plan) -> pa.Schema:
    """The columns that a join needs of a spine: `__part`, `__row` as the spine counts, `__t_us`, and the keys."""
    keys = {key.column: pa.string() if key.dtype is DType.STRING else pa.int64() for key in _keys(plan)}
    return pa.schema({"__part": pa.int64(), "__row": pa.int64(), "__t_us": pa.int64(), **keys})


def _keys(plan: Plan) -> list[JoinKey]:
    return [key for view in plan.views for key in view.join_keys]


@dataclass(frozen=True)
class Work:
    """A job as an executor needs it."""

    bundle: Broadcast[Mapping[str, bytes]]
    """Its files."""
    spine: Spine
    folder: Folder
    """In a file system that all machines see, as the spine is."""
    fingerprint: Fingerprint
    moment_us: int | None
    part_rows: int

    def asking(self, parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows of the parts whose numbers come in, in `asking_schema`. Raises BadRequest for a spine's NULL."""
        for batch in parts:
            for part in batch[0].to_pylist():
                yield self._asking(part)

    def _asking(self, part: int) -> pa.RecordBatch:
        plan, start = _built(self.bundle).plan, part * self.part_rows
        given, t = given_from(plan, self.spine.rows(start, self.part_rows), start, self.moment_us)
        counted = {"__part": np.full(len(t), part), "__row": np.arange(start, start + len(t)), "__t_us": t}
        schema = asking_schema(plan)
        return pa.RecordBatch.from_pydict({name: {**given, **counted}[name] for name in schema.names}, schema)

    def scored(self, joined: pa.Table) -> pa.Table:
        """Score one part, of which `joined` has all rows, write it, and say what it holds in `SCORED`."""
        bundle, part = _built(self.bundle), joined["__part"][0].as_py()
        start = part * self.part_rows
        rows = self.spine.rows(start, self.part_rows)
        joined = joined.sort_by("__row").combine_chunks()
        if not np.array_equal(joined["__row"].to_numpy(), np.arange(start, start + len(rows))):
            raise PartsRefused(
                f"part {part} has {len(rows)} rows, and the join has found features for {len(joined)}: the spine "
                "changed while it was read. Begin anew with --redo."
            )
        whole = beside(rows, self._results(bundle, rows, joined, start), self.moment_us)
        self.folder.write(part, whole, self.fingerprint)
        rungs = Counter(whole["rung"].to_pylist())
        counts = {"part": [part] * len(rungs), "rung": list(rungs), "rows": list(rungs.values())}
        return pa.table(counts, SCORED)

    def _results(self, bundle: Bundle, rows: pa.Table, joined: pa.Table, start: int) -> pa.Table:
        given, t = given_from(bundle.plan, rows, start, self.moment_us)
        batches = []
        for at in range(0, len(t), CHUNK_ROWS):
            here = slice(at, at + CHUNK_ROWS)
            found = rows_found(bundle.plan, joined.slice(at, CHUNK_ROWS))
            batches.append(scored(bundle, {name: values[here] for name, values in given.items()}, t[here], found))
        return pa.Table.from_batches(batches)


@lru_cache(maxsize=1)
def _built(files: Broadcast[Mapping[str, bytes]]) -> Bundle:
    """The bundle, checked and built once a process: Spark's Python workers live on from task to task."""
    return build(files.value)
