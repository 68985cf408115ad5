"""The scores of some rows and what they were made of, as Arrow columns. Pure: no file, no join, no clock."""

import logging
from collections.abc import Iterable, Mapping
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.errors import BadColumn, BadRequest
from lockstep.plan import Array, Plan
from lockstep.request import Query
from lockstep.resolve import Resolved, ViewRows, resolve
from lockstep.status import Rung, Status
from training.given import given_and_times
from training.plans import EVENT_TIMESTAMP

__all__ = ["TIME", "beside", "check_free", "given_from", "result_schema", "scored"]

TIME = pa.timestamp("us", tz="UTC")
_NAMED = pa.dictionary(pa.int8(), pa.string())
_OWN = {"score": pa.float64(), "rung": _NAMED, "defaulted": pa.bool_(), "model_version": _NAMED}

log = logging.getLogger(__name__)


def result_schema(plan: Plan) -> pa.Schema:
    """The columns that scoring adds to a spine.

    `score` is a probability, `rung` the row's rung, `defaulted` whether the plan's default took the place of any stored
    value, `<view>__status` the worst status of any feature of the view, `model_version` the version that scored.
    """
    statuses = {_status(view.name): _NAMED for view in plan.stored_columns.views}
    return pa.schema(list({**_OWN, **statuses}.items()))


def check_free(plan: Plan, names: Iterable[str]) -> None:
    """Raises BadColumn where a spine has a column that scoring adds."""
    taken = set(result_schema(plan).names)
    for name in names:
        if name in taken:
            raise BadColumn(name, "the scores need this name for a column of their own; rename the spine's.")


def given_from(plan: Plan, rows: pa.Table, start: int, moment_us: int | None) -> Query:
    """The given columns and t of the spine's rows from `start` on. Raises BadRequest saying where they do not fit."""
    try:
        return given_and_times(plan, rows, moment_us)
    except BadColumn as error:
        raise BadRequest(f"the spine from row {start} on: {error}") from error


def beside(rows: pa.Table, results: pa.Table, moment_us: int | None) -> pa.Table:
    """Rows of the spine with their results beside them, and with the one t of all where there is one."""
    if moment_us is not None:
        t = pa.array(np.full(len(rows), moment_us), pa.int64()).cast(TIME)
        rows = rows.append_column(EVENT_TIMESTAMP, t)
    for name in results.column_names:
        rows = rows.append_column(results.schema.field(name), results[name])
    return rows


def scored(
    bundle: Bundle, given: Mapping[str, Array], t: NDArray[np.int64], found: Mapping[str, ViewRows]
) -> pa.RecordBatch:
    """The columns of `result_schema` for rows whose given columns were checked; `t` in µs, shape (rows,)."""
    resolved = resolve(bundle.plan, found, given, t)
    scores, rungs = _scores(bundle, resolved), resolved.rungs()
    broken = ~np.isfinite(scores)
    if broken.any():
        scores, rungs = np.where(broken, bundle.manifest.prior, scores), np.where(broken, np.int8(Rung.PRIOR), rungs)
    columns = {
        "score": pa.array(scores),
        "rung": _named(rungs, Rung),
        "defaulted": pa.array(resolved.replaced.any(axis=0)),
        "model_version": _same(bundle.manifest.version, len(t)),
        **dict(_statuses(resolved)),
    }
    return pa.RecordBatch.from_pydict(columns, result_schema(bundle.plan))


def _scores(bundle: Bundle, resolved: Resolved) -> NDArray[np.float64]:
    """Probabilities, NaN for a row that the model cannot score: the others of its batch must not suffer."""
    try:
        return bundle.score(resolved.columns, resolved.rows)
    except Exception:  # functions and graphs are the user's: anything can come out of them
        if resolved.rows == 1:
            log.exception("the model failed on a row, its prior is written", extra={"reason": "model failed"})
            return np.array([np.nan])
        half = resolved.rows // 2
        return np.concatenate([_scores(bundle, resolved.take(part)) for part in (slice(half), slice(half, None))])


def _statuses(resolved: Resolved) -> Iterable[tuple[str, pa.DictionaryArray]]:
    stored = resolved.plan.stored_columns
    for place, view in enumerate(stored.views):
        yield _status(view.name), _named(resolved.found[stored.view_of == place].max(axis=0), Status)


def _status(view: str) -> str:
    return f"{view}__status"


def _named(numbers: NDArray[np.int8], names: type[IntEnum]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int8()), [one.name for one in names])


def _same(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), [text])
