"""How far the columns of a training frame have moved from those that an earlier model was trained on.

The measure is the population stability index of credit scoring, Σ (now − before) · ln(now / before) over the shares of
bins, read as is usual there: below 0.1 nothing, from 0.25 on much. What it can and cannot see, and where the two
numbers come from: du Pisanie, Allison, Budde and Visagie, https://arxiv.org/abs/2303.01227.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array
from training.baseline import column_facts, counts_between
from training.evaluate import Floats

__all__ = ["MOVED", "MUCH", "Drift", "drifts", "range_text", "stability_index"]

MOVED = 0.1
MUCH = 0.25
_LEAST = 1e-4
"""Share that an empty bin counts as: the logarithm of none is infinite."""
_FEW_VALUES = 0.5
"""An int64 column whose commonest values make up this share of its rows is compared by them, else by its deciles."""


@dataclass(frozen=True)
class Drift:
    """One column of the training frame, beside the same column of an earlier one."""

    column: str
    null_before: float
    """Share of the rows without a value."""
    null_now: float
    range_before: tuple[float, float] | None
    """Smallest and largest finite value; None for text, and where there are no values."""
    range_now: tuple[float, float] | None
    index: float | None
    """Population stability index; None where the earlier frame was not described well enough."""

    @property
    def emptied(self) -> bool:
        """It held values and now holds none."""
        return self.null_before < 1 and self.null_now == 1

    @property
    def moved(self) -> bool:
        """Enough to be told."""
        return self.emptied or (self.index is not None and self.index >= MOVED)

    @property
    def verdict(self) -> str:
        """In words."""
        if self.emptied:
            return "holds no value any more"
        if self.index is None:
            return "not compared"
        return "much" if self.index >= MUCH else "some" if self.moved else "no"


def range_text(of: tuple[float, float] | None) -> str:
    """A range as people read it; '' where there is none."""
    return "" if of is None else f"{of[0]:.6g} to {of[1]:.6g}"


def stability_index(before: Floats, now: Floats) -> float:
    """The index of two rows of shares of the same bins, shape (bins,), each adding up to 1.

    >>> round(stability_index(np.array([0.5, 0.5]), np.array([0.8, 0.2])), 4)
    0.4159
    """
    old, new = np.maximum(before, _LEAST), np.maximum(now, _LEAST)
    return float(((new - old) * np.log(new / old)).sum())


def drifts(baseline: Mapping[str, Any], columns: Mapping[str, Array]) -> list[Drift]:
    """Every column that both frames have, in the order of `columns`: by name, shape (rows,), as `distributions` takes
    them. `baseline` is the content of the earlier baseline.json.

    A column whose dtype differs is left out: that is a change of the schema.
    """
    described: Mapping[str, Any] = baseline["columns"]
    both = [name for name in columns if name in described]
    facts = {name: column_facts(name, columns[name], columns[name].size) for name in both}
    alike = [name for name in both if facts[name]["dtype"] == described[name]["dtype"]]
    return [_drift(name, described[name], facts[name], columns[name]) for name in alike]


def _drift(name: str, before: Mapping[str, Any], now: Mapping[str, Any], column: Array) -> Drift:
    index = _of_text(before, column) if before["dtype"] == "string" else _of_numbers(before, column)
    return Drift(name, before["null_share"], now["null_share"], _range(before), _range(now), index)


def _range(facts: Mapping[str, Any]) -> tuple[float, float] | None:
    quantiles = facts.get("quantiles", {})
    low, high = quantiles.get("0.0"), quantiles.get("1.0")
    return None if low is None or high is None else (low, high)


def _of_numbers(before: Mapping[str, Any], column: Array) -> float | None:
    if column.dtype == np.int64 and sum(one["share"] for one in before["top"]) >= _FEW_VALUES:
        return _of_values(before["top"], column)
    if "histogram" not in before:
        return None
    histogram, values = before["histogram"], column.astype(np.float64)
    then = np.asarray(histogram["counts"], np.int64)
    now = counts_between(np.asarray(histogram["edges"], np.float64), values)
    return stability_index(_shares(then, before["null_share"]), _shares(now, float(np.isnan(values).mean())))


def _shares(counts: NDArray[np.int64], null_share: float) -> Floats:
    """The share of the rows without a value, then those of the bins."""
    return np.concatenate([[null_share], (1 - null_share) * counts / max(counts.sum(), 1)])


def _of_values(top: list[dict[str, Any]], column: NDArray[np.int64]) -> float:
    """By the commonest values, and all others together."""
    then = np.array([one["share"] for one in top])
    now = np.array([(column == one["value"]).mean() for one in top])
    return stability_index(np.append(then, 1 - then.sum()), np.append(now, 1 - now.sum()))


def _of_text(before: Mapping[str, Any], column: Array) -> float:
    """The greatest index of a token that occurs or does not, over the commonest tokens and the empty text."""
    held = [set(value.split()) for value in column.tolist()]
    pairs = [(before["null_share"], float(np.mean([value == "" for value in column.tolist()])))]
    pairs += [(one["share"], float(np.mean([one["value"] in tokens for tokens in held]))) for one in before["top"]]
    return max(stability_index(np.array([then, 1 - then]), np.array([now, 1 - now])) for then, now in pairs)
