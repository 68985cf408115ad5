"""What the parts of a C file have in common: values that they hand on, and one static function each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.exports.c.literals import C_TYPES

__all__ = ["Part", "Tensor", "Tensors"]


@dataclass(frozen=True)
class Tensor:
    """A value between two parts: a small array on the stack of one call."""

    name: str
    """Its name in C."""
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    """For one row; (1, 1) for a column."""

    @property
    def dimensions(self) -> str:
        """As C writes them after a name."""
        return "".join(f"[{size}]" for size in self.shape)

    @property
    def c_type(self) -> str:
        """Of its elements."""
        return C_TYPES[self.dtype.name]

    def parameter(self, name: str, *, constant: bool) -> str:
        """How a function takes it."""
        return f"{'const ' if constant else ''}{self.c_type} {name}{self.dimensions}"

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))


Tensors = Mapping[str, Tensor]
"""By the name in the graph."""


class Part(Protocol):
    """Some nodes of the graph, computed by one C function."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors or text columns that the function takes, in its order."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that it fills, its arguments after the inputs."""

    def code(self, name: str, tensors: Tensors) -> str:
        """The function of that name, static, with the tables it needs."""
