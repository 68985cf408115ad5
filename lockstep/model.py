"""What a bundle scores with: one interface, whatever the kind, and the kinds by name.

A kind is what lies between building and scoring. All compute the same numbers from the same columns; they differ in
what they can express, in what the scorer must have installed, and in speed: docs/kinds.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BundleRefused, did_you_mean
from lockstep.plan import Array, DType, Plan

__all__ = ["KINDS", "Kind", "Model", "Transformations", "check_inputs", "kind_of", "side_by_side"]


class Transformations(Protocol):
    """From columns to features, or to a score."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the columns that it takes."""

    def run(self, columns: Mapping[str, Array]) -> Array:
        """Columns of shape (rows,) to an output of shape (rows, width)."""


class Model(Transformations, Protocol):
    """From the plan's inputs to the raw score."""

    model: bytes
    """The file that it was made from."""

    def raw(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Raw scores, float64 of shape (rows,); the bundle's link makes probabilities of them."""

    def check(self, plan: Plan) -> None:
        """Raises BundleRefused unless it takes what the plan provides."""


@dataclass(frozen=True)
class Kind:
    """One interface between building and scoring."""

    name: str
    """As a spec and a manifest name it."""
    path: str
    """The model's file in the bundle."""
    open: Callable[[bytes, Sequence[str]], Model]
    """Build the model from its file and the types that the manifest lists. Raises BundleRefused, MissingTool."""


def kind_of(name: str) -> Kind:
    """The kind of that name. Raises BundleRefused."""
    known = {**KINDS, CACHED.name: CACHED}
    if name not in known:
        raise BundleRefused(f"this Lockstep knows no model of kind {name!r}.{did_you_mean(name, known)}")
    return known[name]


# Each kind imports what it needs when the first bundle of that kind is met.


def _onnx(content: bytes, _: Sequence[str]) -> Model:
    from lockstep.graph import Graph

    return Graph(content)


def _coefficients(content: bytes, _: Sequence[str]) -> Model:
    from lockstep.coefficients import Coefficients

    return Coefficients(content)


def _skops(content: bytes, trusted: Sequence[str]) -> Model:
    from lockstep.skops_model import SkopsModel

    return SkopsModel(content, trusted)


def _cached(content: bytes, _: Sequence[str]) -> Model:
    from lockstep.cached_model import CachedModel

    return CachedModel(content)


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("onnx", "model.onnx", _onnx),
        Kind("coefficients", "coefficients.json", _coefficients),
        Kind("skops", "model.skops", _skops),
        Kind("c", "model.onnx", _onnx),  # its C code is for others; training proved that the graph scores the same
    )
}
"""The kinds that a spec may name."""
CACHED = Kind("cached", "cached.json", _cached)
"""Answers with the predictions of another model: nobody trains it."""


def check_inputs(wanted: Mapping[str, str], provided: Mapping[str, str]) -> None:
    """Raises BundleRefused unless each column that a model takes, type by name, is provided in that type."""
    for name, dtype in wanted.items():
        if provided.get(name) != dtype:
            raise BundleRefused(
                f"the model takes {name!r} as {dtype}; the plan provides {provided.get(name, 'nothing of that name')}."
            )


def side_by_side(columns: Mapping[str, Array], names: Sequence[str], dtype: DType) -> Array:
    """Some columns as one table of shape (rows, len(names)), in the dtype."""
    return np.column_stack([columns[name] for name in names]).astype(dtype.numpy, copy=False)
