"""The proof that both sides compute the same: the scorer's answers against scores made offline, row by row.

Twice. At one moment T, for keys that were seen, never seen together, unknown, and whose features are NULL or stale. And
as a replay of the held-out rows, with a materialize before each step: what the scorer answered then is what the offline
side says that it must have answered, features as served, functions and TTL at the row's own time.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from lockstep.bundle import parts_at
from lockstep.errors import TablesRefused
from lockstep.functions import Function
from lockstep.plan import Array, Plan
from lockstep.progress import bar
from lockstep.status import Status
from training.checks import check_transformers
from training.fit import Fitted
from training.frame import Frame, assemble, fetch, fetch_as_served
from training.given import given_columns, micros
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = [
    "Answers",
    "Ask",
    "Comparison",
    "Read",
    "Side",
    "auc",
    "combinations",
    "first_differences",
    "prove",
    "replay",
]

ROWS_PER_CALL = 100


@dataclass
class Answers:
    """What the scorer said, in the order of the rows asked."""

    scores: list[float] = field(default_factory=list)
    by_status: Counter[str] = field(default_factory=Counter)
    """Feature values by what was found for them."""


Ask = Callable[[Mapping[str, Array], NDArray[np.int64]], tuple[Sequence[float], Mapping[str, int]]]
"""Ask the scorer about some rows: columns and t in µs, to scores in order and feature values by status."""

Read = Callable[[Plan, Mapping[str, Array], NDArray[np.int64]], Mapping[str, Array]]
"""Read the resolved columns of some rows from the online store: plan, given columns, t in µs."""


@dataclass(frozen=True)
class Side:
    """Everything that the offline side needs."""

    store: "FeatureStore"
    plan: Plan
    functions: Mapping[str, Function]
    fitted: Fitted


@dataclass(frozen=True)
class Comparison:
    """Scores of both sides, row by row."""

    frame: Frame
    online: NDArray[np.float64]
    offline: NDArray[np.float64]
    by_status: Mapping[str, int]

    @property
    def differing(self) -> NDArray[np.int64]:
        """Rows that differ by more than the tolerance of the design: |Δ log-odds| > 1e-5 or |Δp| > 1e-6."""
        return parts_at(self.online, self.offline)

    @property
    def max_abs_diff(self) -> float:
        """Largest |Δp| of any row."""
        return float(np.abs(self.online - self.offline).max())


def combinations(
    side: Side, spine: pa.Table, asked: pa.Table, moment_us: int, seed: int, scale: float = 1.0
) -> pa.Table:
    """Keys and request columns to ask about at one moment: 10,000 rows times `scale`.

    7,500 as in `asked` (the held-out rows), 1,500 pairs of an address and an app that the spine never holds, 500 of
    unknown keys, 500 for which a stored feature is NULL or stale at the moment. Raises TablesRefused where the spine
    holds too few rows for one of these.
    """
    rng = np.random.default_rng(seed)
    counts = [max(1, round(count * scale)) for count in (7_500, 1_500, 500, 500)]
    names = [name for name in side.plan.given if name in spine.column_names]
    drawn = asked.select(names).take(pa.array(rng.integers(0, len(asked), counts[0])))
    parts = [
        drawn,
        _never_seen(spine.select(names), counts[1], rng),
        _unknown(spine.select(names), counts[2], rng),
        _null_or_stale(side, spine.select(names), moment_us, counts[3], rng),
    ]
    nullable = pa.schema([entry.with_nullable(True) for entry in drawn.schema])
    table = pa.concat_tables([part.select(names).cast(nullable) for part in parts])
    return table.append_column(EVENT_TIMESTAMP, _times(np.full(len(table), moment_us)))


def _times(us: NDArray[np.int64]) -> pa.Array:
    return pa.array(us, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def _never_seen(spine: pa.Table, count: int, rng: np.random.Generator) -> pa.Table:
    """Rows of the spine with the app of another row, such that the pair of address and app occurs nowhere."""
    ip, app = spine["ip"].to_numpy(), spine["app"].to_numpy()
    width = int(app.max()) + 1
    rows, others = rng.integers(0, len(spine), (2, 8 * count + 100))
    fresh = np.flatnonzero(~np.isin(ip[rows] * width + app[others], ip * width + app))[:count]
    _enough(len(fresh), count, "pairs of an address and an app that never met")
    made = spine.take(pa.array(rows[fresh]))
    return made.set_column(made.column_names.index("app"), "app", pa.array(app[others[fresh]]))


def _unknown(spine: pa.Table, count: int, rng: np.random.Generator) -> pa.Table:
    """Rows in which every id is larger than any that the spine holds."""
    return pa.table(
        {name: int(spine[name].to_numpy().max()) + 1 + rng.integers(0, 1_000, count) for name in spine.column_names}
    )


def _null_or_stale(side: Side, spine: pa.Table, moment_us: int, count: int, rng: np.random.Generator) -> pa.Table:
    """Rows of the spine for which, at the moment, some stored feature is NULL or its row stale."""
    sample = spine.take(pa.array(rng.permutation(len(spine))[: 40 * count]))
    asked = sample.append_column(EVENT_TIMESTAMP, _times(np.full(len(sample), moment_us)))
    found = fetch_as_served(side.store, side.plan, asked, [moment_us])
    status = np.stack(list(assemble(side.plan, side.functions, found, asked).resolved.status.values()))
    rows = np.flatnonzero(((status == Status.NULL) | (status == Status.STALE)).any(axis=0))[:count]
    _enough(len(rows), count, "rows with a NULL or stale feature")
    return sample.take(pa.array(rows))


def _enough(found: int, wanted: int, what: str) -> None:
    if found < wanted:
        raise TablesRefused(f"the proof needs {wanted} {what}, and the log holds {found}; bring a longer log.")


def prove(side: Side, rows: pa.Table, ask: Ask) -> Comparison:
    """Ask the scorer about rows and score the same rows offline: Feast's point-in-time join, resolve, scikit-learn."""
    answers = _ask_all(side.plan, rows, ask, "proof: ask the scorer")
    frame = assemble(side.plan, side.functions, fetch(side.store, side.plan, rows), rows)
    check_transformers(side.fitted, frame.inputs)
    return Comparison(frame, np.array(answers.scores), side.fitted.reference(frame.inputs), answers.by_status)


def replay(
    side: Side, rows: pa.Table, runs_us: Sequence[int], materialize: Callable[[int], None], ask: Ask
) -> Comparison:
    """Replay rows in time order, with a materialize up to each of `runs_us` before the rows from then on.

    `rows` are in time order and none lies before the first run. Offline each row is scored as served.
    """
    t = micros(rows[EVENT_TIMESTAMP])
    answers = Answers()
    for run, (start, end) in zip(runs_us, _steps(t, runs_us), strict=True):
        materialize(run)
        part = _ask_all(side.plan, rows.slice(start, end - start), ask, "replay: ask the scorer")
        answers.scores += part.scores
        answers.by_status += part.by_status
    found = fetch_as_served(side.store, side.plan, rows, runs_us)
    frame = assemble(side.plan, side.functions, found, rows)
    return Comparison(frame, np.array(answers.scores), side.fitted.reference(frame.inputs), answers.by_status)


def _steps(t: NDArray[np.int64], runs_us: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last row (exclusive) of each run."""
    starts = [*np.searchsorted(t, np.asarray(runs_us), side="left").tolist(), len(t)]
    assert starts[0] == 0, "a row lies before the first run"
    yield from pairwise(starts)


def _ask_all(plan: Plan, rows: pa.Table, ask: Ask, what: str) -> Answers:
    given, t = given_columns(plan, rows), micros(rows[EVENT_TIMESTAMP])
    answers = Answers()
    with bar(what, len(t)) as done:
        for start in range(0, len(t), ROWS_PER_CALL):
            part = slice(start, start + ROWS_PER_CALL)
            scores, by_status = ask({name: values[part] for name, values in given.items()}, t[part])
            answers.scores += scores
            answers.by_status.update(by_status)
            done(len(scores))
    return answers


def first_differences(side: Side, comparison: Comparison, read: Read, most: int = 5) -> list[str]:
    """For the first rows that differ, one sentence each: which column, its value offline and online."""
    rows = comparison.differing[:most]
    frame = comparison.frame.take(rows)
    given = {name: frame.resolved.columns[name] for name in side.plan.given}
    online = read(side.plan, given, frame.t)
    return [
        _difference(row, given, at, frame.resolved.columns, online, comparison) for at, row in enumerate(rows.tolist())
    ]


def _difference(
    row: int,
    given: Mapping[str, Array],
    at: int,
    offline: Mapping[str, Array],
    online: Mapping[str, Array],
    comparison: Comparison,
) -> str:
    keys = ", ".join(f"{name} {values[at]}" for name, values in given.items())
    parts = [
        f"{name} is {values[at]!r} offline and {online[name][at]!r} online"
        for name, values in offline.items()
        if not np.array_equal(values[at : at + 1], online[name][at : at + 1], equal_nan=values.dtype.kind == "f")
    ]
    what = "; ".join(parts) or "every stored feature is the same now; the functions or the model differ"
    return (
        f"row {row} ({keys}): score {comparison.offline[row]:.9f} offline, {comparison.online[row]:.9f} online: {what}"
    )


def auc(y: NDArray[np.int8], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve."""
    area: float = roc_auc_score(y, scores)
    return area
