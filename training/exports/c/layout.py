"""A row as C takes it: a struct with a field for each column, and the same bytes made by numpy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lockstep.plan import Array, DType
from training.exports.c.literals import identifiers

__all__ = ["Layout"]

_TYPES = {DType.FLOAT32: "float", DType.FLOAT64: "double", DType.INT64: "int64_t"}
_TEXT = np.dtype([("data", np.uintp), ("size", np.uintp)])


@dataclass(frozen=True)
class Layout:
    """The struct NAME_row, and NAME_text for texts: a pointer and a size."""

    name: str
    """Prefix of everything that C declares."""
    dtypes: Mapping[str, DType]
    """By column, in the order of the fields."""

    @cached_property
    def fields(self) -> Mapping[str, str]:
        """Field of the struct by column."""
        return identifiers(self.dtypes)

    def member(self, column: str) -> str:
        """The line that declares a column's field."""
        dtype = self.dtypes[column]
        kind = f"struct {self.name}_text" if dtype is DType.STRING else _TYPES[dtype]
        return f"    {kind} {self.fields[column]};"

    def members(self) -> Iterator[str]:
        """A line for each field."""
        return map(self.member, self.dtypes)

    @cached_property
    def numpy(self) -> np.dtype[np.void]:
        """The struct as numpy has it."""
        kinds = {
            field: _TEXT if self.dtypes[name] is DType.STRING else self.dtypes[name].numpy
            for name, field in self.fields.items()
        }
        return np.dtype(list(kinds.items()), align=True)

    def empty_row(self) -> dict[str, Array]:
        """One row of zeros and empty texts, columns of shape (1,): it shows the shapes that a graph makes."""
        return {
            name: np.array([""], object) if dtype is DType.STRING else np.zeros(1, dtype.numpy)
            for name, dtype in self.dtypes.items()
        }

    def rows(self, columns: Mapping[str, Array]) -> tuple[NDArray[np.void], list[NDArray[np.uint8]]]:
        """Columns of shape (rows,) as C has them, and the buffers of their texts, which must outlive the call."""
        count = len(columns[next(iter(self.fields))])
        rows = np.zeros(count, self.numpy)
        kept = []
        for name, field in self.fields.items():
            if self.dtypes[name] is DType.STRING:
                kept.append(_fill_texts(rows[field], columns[name]))
            else:
                rows[field] = columns[name]
        return rows, kept


def _fill_texts(field: NDArray[np.void], texts: Array) -> NDArray[np.uint8]:
    encoded = [text.encode() for text in texts]
    sizes = np.array([len(one) for one in encoded], np.uintp)
    buffer = np.frombuffer(b"".join(encoded) + b"\0", np.uint8)
    field["data"] = np.uintp(buffer.ctypes.data) + np.cumsum(sizes) - sizes
    field["size"] = sizes
    return buffer
