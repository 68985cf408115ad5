"""A graph that grows operator by operator, and a table in it that a formula is applied to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lockstep.errors import PlanRefused
from lockstep.plan import DType

__all__ = ["Building", "Table"]


class Building:
    """The nodes and constants of a graph that grows; every method returns the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.prefix = ""
        """Before the names, so that an error names the step."""

    def node(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """An operator of one output."""
        name = output or f"{self.prefix}{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def constant(self, values: Any, dtype: str = "float64") -> str:
        """A constant of any shape."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def row(self, values: Sequence[Any], dtype: str = "float64") -> str:
        """A constant of shape (1, values)."""
        return self.constant(np.reshape(np.asarray(values, dtype), (1, -1)), dtype)

    def column(self, x: str, place: int) -> str:
        """One column of a table, shape (rows, 1)."""
        return self.node("Gather", x, self.constant([place], "int64"), axis=1)

    def beside(self, tables: Sequence[str]) -> str:
        """Tables side by side."""
        return self.node("Concat", *tables, axis=1)

    def double(self, x: str) -> str:
        """In float64."""
        return self.node("Cast", x, to=TensorProto.DOUBLE)

    def total(self, x: str, axis: int = 1) -> str:
        """The sums along an axis, which stays with a length of 1."""
        sums = self.node("CumSum", x, self.constant(axis, "int64"))
        return self.node("Gather", sums, self.constant([-1], "int64"), axis=axis)


class Table:
    """What a formula is given: a table in a graph, and the type of its values."""

    def __init__(self, made: Building, name: str, dtype: DType) -> None:
        self.made, self.name, self.dtype = made, name, dtype

    @property
    def numbers(self) -> str:
        """In float64."""
        return self.name if self.dtype is DType.FLOAT64 else self.made.double(self.name)

    def places(self, place: int, keys: Sequence[Any]) -> str:
        """Where a column's values stand among keys, int64 of shape (rows, 1); the number of keys for others."""
        if self.dtype is DType.FLOAT64:
            raise PlanRefused(
                f"step {self.made.prefix[:-1]!r} looks up numbers that are neither ids nor texts, which no graph does "
                "exactly. Train the model with kind='onnx' in its spec."
            )
        kind = "strings" if self.dtype is DType.STRING else "int64s"
        found: dict[str, Any] = {
            f"keys_{kind}": list(keys),
            "values_int64s": list(range(len(keys))),
            "default_int64": len(keys),
        }
        return self.made.node("LabelEncoder", self.made.column(self.name, place), domain="ai.onnx.ml", **found)
