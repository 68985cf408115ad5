"""The transformations that can be written down as data, each a record of plain numbers that computes in float64.

A record takes a table of shape (rows, columns) and gives one of shape (rows, outputs); what it computes for a row does
not depend on the rows beside it. Its name in a coefficients.json stands in FORMULAS, its fields under their own names.
docs/kinds.md says what each one means, for those who write it in another language.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array

__all__ = ["FORMULAS", "FUNCTIONS", "Formula", "weighed"]

Floats = NDArray[np.float64]
Numbers = Sequence[float]
Keys = Sequence[int | float | str]


class Formula(Protocol):
    """One transformation."""

    def __call__(self, x: Array) -> Array:
        """From a table of shape (rows, columns) to one of shape (rows, outputs)."""


@dataclass(frozen=True)
class Impute:
    """NaN becomes the column's fill."""

    fill: Numbers

    def __call__(self, x: Array) -> Array:
        """Same shape."""
        filled: Floats = np.where(np.isnan(x), np.asarray(self.fill, np.float64), x)
        return filled


@dataclass(frozen=True)
class Standardize:
    """(x − minus) / divide, column by column."""

    minus: Numbers
    divide: Numbers

    def __call__(self, x: Array) -> Array:
        """Same shape."""
        scaled: Floats = (x - np.asarray(self.minus)) / np.asarray(self.divide)
        return scaled


@dataclass(frozen=True)
class Stretch:
    """x · times + plus, column by column."""

    times: Numbers
    plus: Numbers

    def __call__(self, x: Array) -> Array:
        """Same shape."""
        stretched: Floats = x * np.asarray(self.times) + np.asarray(self.plus)
        return stretched


@dataclass(frozen=True)
class Clip:
    """Values below `low` become `low`, above `high` become `high`."""

    low: float
    high: float

    def __call__(self, x: Array) -> Array:
        """Same shape."""
        return np.clip(x, self.low, self.high)


FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    name: getattr(np, name) for name in ("absolute", "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "square")
}


@dataclass(frozen=True)
class Function:
    """One of the functions of FUNCTIONS, value by value; NaN where it has no value."""

    name: str

    def __call__(self, x: Array) -> Array:
        """Same shape."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return FUNCTIONS[self.name](x.astype(np.float64))


@dataclass(frozen=True)
class OneHot:
    """For each column its values in order, 1 for the value that the row has and 0 for the others."""

    values: Sequence[Keys]

    def __call__(self, x: Array) -> Floats:
        """Shape (rows, number of all values)."""
        pairs = zip(x.T, self.values, strict=True)
        return np.hstack([(column[:, None] == _keys(keys, x)).astype(np.float64) for column, keys in pairs])


@dataclass(frozen=True)
class Lookup:
    """For each column the number that stands beside the row's value, `otherwise` for a value not among them."""

    values: Sequence[Keys]
    gives: Sequence[Numbers]
    otherwise: Numbers

    def __call__(self, x: Array) -> Floats:
        """Same shape."""
        parts = zip(x.T, self.values, self.gives, self.otherwise, strict=True)
        return np.column_stack([_looked_up(column, _keys(keys, x), gives, rest) for column, keys, gives, rest in parts])


def _keys(keys: Keys, x: Array) -> Array:
    return np.array(keys, x.dtype)


def _looked_up(column: Array, keys: Array, gives: Numbers, otherwise: float) -> Floats:
    if not len(keys):
        return np.full(len(column), otherwise)
    order = np.argsort(keys, kind="stable")
    place = order[np.minimum(np.searchsorted(keys, column, sorter=order), len(keys) - 1)]
    found: Floats = np.where(keys[place] == column, np.asarray(gives, np.float64)[place], otherwise)
    return found


@dataclass(frozen=True)
class Bins:
    """For each column the number of edges that are not greater than the value."""

    edges: Sequence[Numbers]

    def __call__(self, x: Array) -> Floats:
        """Same shape, whole numbers from 0 on."""
        pairs = zip(x.T, self.edges, strict=True)
        return np.column_stack([np.searchsorted(np.asarray(edges), column, side="right") for column, edges in pairs])


@dataclass(frozen=True)
class Project:
    """For each output the sum over the columns of (x − minus) · weight; `onto` holds one list of weights an output."""

    minus: Numbers
    onto: Sequence[Numbers]

    def __call__(self, x: Array) -> Floats:
        """Shape (rows, number of outputs)."""
        centred = x - np.asarray(self.minus, np.float64)
        return np.column_stack([weighed(centred, np.asarray(weights, np.float64)) for weights in self.onto])


def weighed(x: Array, weights: Floats) -> Floats:
    """The weighted sum of each row, shape (rows,). Not a matrix product: that adds one row in another order than many.

    numpy adds along the last axis of a contiguous table row by row, in an order that depends on the width alone.
    """
    products = np.ascontiguousarray(x * weights)
    total: Floats = products.sum(axis=1)
    return total


@dataclass(frozen=True)
class Products:
    """For each output a product of powers of the columns; `powers` holds one list of exponents an output."""

    powers: Sequence[Sequence[int]]

    def __call__(self, x: Array) -> Floats:
        """Shape (rows, number of outputs)."""
        table = x.astype(np.float64)
        return np.column_stack([_product(table, exponents) for exponents in self.powers])


def _product(table: Floats, exponents: Sequence[int]) -> Floats:
    out = np.ones(len(table))
    for column, exponent in zip(table.T, exponents, strict=True):
        for _ in range(exponent):
            out = out * column
    return out


@dataclass(frozen=True)
class CountWords:
    """How often each word of `words` stands in a text; words stand between spaces.

    A word with spaces in it counts as often as its parts stand one after the other.
    """

    words: Sequence[str]

    def __call__(self, x: Array) -> Floats:
        """From (rows, 1) to (rows, number of words)."""
        places = {word: place for place, word in enumerate(self.words)}
        longest = max((word.count(" ") + 1 for word in self.words), default=1)
        counts = np.zeros((len(x), len(places)))
        for row, (text,) in enumerate(x):
            for word in _runs(text.split(" "), longest):
                place = places.get(word)
                if place is not None:
                    counts[row, place] += 1
        return counts


def _runs(split: Sequence[str], longest: int) -> list[str]:
    """Every run of one to `longest` words, the words of a run joined by a space."""
    words = [word for word in split if word]
    return [" ".join(words[at : at + size]) for size in range(1, longest + 1) for at in range(len(words) - size + 1)]


@dataclass(frozen=True)
class UnitLength:
    """Each row divided by its length, the root of the sum of its squares; a row of zeros stays as it is."""

    def __call__(self, x: Array) -> Floats:
        """Same shape."""
        length = np.sqrt(weighed(x * x, np.ones(x.shape[1])))
        return x / np.where(length == 0, 1.0, length)[:, None]


FORMULAS: Mapping[str, type[Any]] = {
    "impute": Impute,
    "standardize": Standardize,
    "stretch": Stretch,
    "clip": Clip,
    "function": Function,
    "one_hot": OneHot,
    "lookup": Lookup,
    "bins": Bins,
    "project": Project,
    "products": Products,
    "count_words": CountWords,
    "unit_length": UnitLength,
}
"""By the name that a coefficients.json gives it under "do"."""
