"""baseline.json: what the columns and scores of the training frame looked like, to tell later that they have moved."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import EvaluationRefused
from lockstep.graph import log_odds
from lockstep.plan import Array
from training.evaluate import Floats, clip

__all__ = ["QUANTILES", "column_facts", "counts_between", "distributions", "edges_of"]

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

_TOP = 20
_BINS = 20
_DECILES = np.linspace(0, 1, 11)


def distributions(columns: Mapping[str, Array], scores: NDArray[Any]) -> dict[str, Any]:
    """The content of baseline.json: plain data, every number finite.

    `columns` are those of the training frame by name, each of shape (rows,): float32 or float64 with NaN for missing,
    int64, or object with strings and '' for missing. `scores` are probabilities, shape (rows,). A measure that nothing
    can be said about, such as the mean of a column of NaN, is None. Raises EvaluationRefused for any other column,
    for scores that are no probabilities, and where there are no rows.
    """
    rows = scores.size
    if not rows:
        raise EvaluationRefused("scores: no rows to describe. Give the training frame and its scores.")
    return {
        "rows": rows,
        "columns": {name: column_facts(name, column, rows) for name, column in columns.items()},
        "scores": _scores(scores.astype(np.float64)),
    }


def column_facts(name: str, column: Array, rows: int) -> dict[str, Any]:
    """What baseline.json says of one column of `rows` rows; raises as `distributions` does."""
    if column.shape != (rows,):
        raise EvaluationRefused(f"column {name!r}: shape {column.shape}, but there are {rows} scores. Give equal rows.")
    if column.dtype in (np.float32, np.float64):
        return {"dtype": column.dtype.name, **_floats(column.astype(np.float64))}
    if column.dtype == np.int64:
        return {"dtype": "int64", **_integers(column)}
    if column.dtype == object:
        return {"dtype": "string", **_strings(name, column)}
    raise EvaluationRefused(f"column {name!r}: {column.dtype} is no dtype of a plan. Cast it as the plan does.")


def _floats(column: Floats) -> dict[str, Any]:
    finite = column[np.isfinite(column)]
    return {
        "count": column.size,
        "null_share": float(np.isnan(column).mean()),
        "infinite_share": float(np.isinf(column).mean()),
        **_moments(finite),
        **_deciles(column),
    }


def _integers(column: NDArray[np.int64]) -> dict[str, Any]:
    """Ids and counts look alike to a program: an int64 gets both its commonest values and its moments."""
    values, counts = np.unique(column, return_counts=True)
    top = np.argsort(-counts, kind="stable")[:_TOP]
    return {
        "count": column.size,
        "null_share": 0.0,
        "distinct": values.size,
        "top": [{"value": int(values[i]), "share": float(counts[i] / column.size)} for i in top],
        **_moments(column.astype(np.float64)),
        **_deciles(column.astype(np.float64)),
    }


def edges_of(values: Floats) -> Floats:
    """Upper edges of bins that each hold about a tenth of the finite values, ascending; none where there are none.

    The edges are values that occur, and the first bin ends just below the smallest: a value that is much of the column,
    such as 0, has a bin of its own, and so has what lies below all that was seen.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return finite
    deciles = np.unique(np.quantile(finite, _DECILES, method="inverted_cdf"))
    with np.errstate(over="ignore"):  # below the least float64 there is nothing
        edges: Floats = np.concatenate([np.nextafter(deciles[:1], -np.inf), deciles])
    return edges[np.isfinite(edges)]


def counts_between(edges: Floats, values: Floats) -> NDArray[np.int64]:
    """How many values lie up to each edge, and beyond the last; NaN is left out. Shape (edges + 1,)."""
    known = values[~np.isnan(values)]
    return np.bincount(np.searchsorted(edges, known, side="left"), minlength=edges.size + 1)


def _deciles(values: Floats) -> dict[str, Any]:
    edges = edges_of(values)
    return {"histogram": {"edges": edges.tolist(), "counts": counts_between(edges, values).tolist()}}


def _strings(name: str, column: Array) -> dict[str, Any]:
    """A token is a stretch without blanks; its share is that of the rows in which it occurs."""
    values = Counter(column.tolist())
    strange = next((value for value in values if not isinstance(value, str)), None)
    if strange is not None or None in values:
        raise EvaluationRefused(f"column {name!r}: {strange!r} is no string. Missing text is '' in a resolved frame.")
    tokens: Counter[str] = Counter()
    for value, count in values.items():
        for token in set(value.split()):
            tokens[token] += count
    top = sorted(tokens.items(), key=lambda item: (-item[1], item[0]))[:_TOP]
    return {
        "count": column.size,
        "null_share": values[""] / column.size,
        "distinct": len(values),
        "distinct_tokens": len(tokens),
        "top": [{"value": token, "share": count / column.size} for token, count in top],
    }


def _moments(values: Floats) -> dict[str, Any]:
    """Mean, standard deviation and quantiles of finite values; None where there are none or float64 overflows."""
    if not values.size:
        return {"mean": None, "std": None, "quantiles": {str(q): None for q in QUANTILES}}
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std, *quantiles = (values.mean(), values.std(), *np.quantile(values, QUANTILES))
    return {
        "mean": _finite(mean),
        "std": _finite(std),
        "quantiles": {str(q): _finite(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _scores(scores: Floats) -> dict[str, Any]:
    if not ((scores >= 0) & (scores <= 1)).all():
        raise EvaluationRefused("scores: some are no probabilities. Apply the link to the raw scores.")
    # Bins of equal width in probability would put a rare class into one: they are equal in log-odds.
    counts, edges = np.histogram(log_odds(clip(scores)), bins=_BINS)
    return {**_moments(scores), "histogram": {"log_odds_edges": edges.tolist(), "counts": counts.tolist()}}
