"""What a packed row holds: fields with types, and the place of each in the bytes.

A schema is known by its fingerprint, which every row carries. The layout follows from the schema alone;
docs/online-store.md draws it byte by byte.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa

from lockstep.errors import SchemaRefused

__all__ = ["FORMAT_CREATED", "FORMAT_PLAIN", "NO_CREATED", "Block", "DType", "Field", "Layout", "Schema"]

FORMAT_PLAIN: Final = 1
"""Format byte of a row without a created timestamp."""

FORMAT_CREATED: Final = 2
"""Format byte of a row with a created timestamp."""

NO_CREATED: Final = -(2**63)
"""Created timestamp of a row that has none; before every other, so that it is never after t and never wins a tie."""


class DType(StrEnum):
    """The types of a packed row. The text of each is part of the fingerprint, so it never changes."""

    INT64 = "int64"
    FLOAT64 = "float64"
    TIMESTAMP = "timestamp"
    """int64 microseconds since 1970-01-01 UTC."""
    INT32 = "int32"
    FLOAT32 = "float32"
    BOOL = "bool"
    STRING = "string"
    BYTES = "bytes"
    OPAQUE = "opaque"
    """Feast's serialized Value: returned as it is, never decoded here."""
    LIST_INT64 = "list<int64>"
    LIST_FLOAT64 = "list<float64>"
    LIST_TIMESTAMP = "list<timestamp>"
    LIST_INT32 = "list<int32>"
    LIST_FLOAT32 = "list<float32>"
    LIST_BOOL = "list<bool>"
    LIST_STRING = "list<string>"
    LIST_BYTES = "list<bytes>"

    @property
    def element(self) -> "DType | None":
        """Type of a list's elements; None where this is no list."""
        return DType(self.value[5:-1]) if self.value.startswith("list<") else None

    @property
    def numpy(self) -> np.dtype[Any] | None:
        """How one value lies in the bytes; None where its width is not fixed."""
        return _NUMPY.get(self)

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type that `rows.pack` takes and `rows.Unpacked.arrow` gives."""
        element = self.element
        return pa.list_(element.arrow) if element else _ARROW[self]


# Widest first; this is the order of the blocks in a row.
_NUMPY: Final[dict[DType, np.dtype[Any]]] = {
    DType.INT64: np.dtype("<i8"),
    DType.FLOAT64: np.dtype("<f8"),
    DType.TIMESTAMP: np.dtype("<i8"),
    DType.INT32: np.dtype("<i4"),
    DType.FLOAT32: np.dtype("<f4"),
    DType.BOOL: np.dtype("u1"),
}
_ARROW: Final[dict[DType, pa.DataType]] = {
    DType.INT64: pa.int64(),
    DType.FLOAT64: pa.float64(),
    DType.TIMESTAMP: pa.timestamp("us", "UTC"),
    DType.INT32: pa.int32(),
    DType.FLOAT32: pa.float32(),
    DType.BOOL: pa.bool_(),
    DType.STRING: pa.string(),
    DType.BYTES: pa.binary(),
    DType.OPAQUE: pa.binary(),
}


@dataclass(frozen=True)
class Field:
    """One feature of a view."""

    name: str
    dtype: DType


@dataclass(frozen=True)
class Block:
    """All scalars of one type lie side by side in a row, so that a read moves them together."""

    dtype: DType
    fields: tuple[int, ...]
    """Positions in the schema, ascending."""


@dataclass(frozen=True)
class Layout:
    """Where the values of a schema lie in a row."""

    blocks: tuple[Block, ...]
    """The fixed-width values, in the order of `DType`."""
    variable: tuple[int, ...]
    """Positions in the schema of the values with a payload, ascending."""
    nulls: int
    """Bytes of the null bitmap; bit i % 8 of byte i // 8 is set where field i is NULL."""
    created: bool
    """Whether rows have a created timestamp."""

    def block(self, dtype: DType) -> Block:
        """The block of a fixed-width type that the schema has."""
        return next(block for block in self.blocks if block.dtype is dtype)

    @cached_property
    def has_bools(self) -> bool:
        """Whether there is a block of booleans."""
        return any(block.dtype is DType.BOOL for block in self.blocks)

    @cached_property
    def fixed(self) -> np.dtype[Any]:
        """The part of a row that has the same width in every row of the schema."""
        head: list[Any] = [("checksum", "<u4"), ("format", "u1"), ("fingerprint", "<u8"), ("event", "<i8")]
        created = [("created", "<i8")] if self.created else []
        blocks = [(block.dtype.value, block.dtype.numpy, (len(block.fields),)) for block in self.blocks]
        ends = [("ends", "<u4", (len(self.variable),))] if self.variable else []
        parts = [*head, *created, ("nulls", "u1", (self.nulls,)), *blocks, *ends]
        filler = -np.dtype(parts).itemsize % 4  # whole words: rows side by side are then summed without a copy
        return np.dtype([*parts, ("filler", "u1", (filler,))] if filler else parts)


@dataclass(frozen=True, eq=False)
class Schema:
    """The fields of a feature view's rows, in order. Raises SchemaRefused for two fields of one name."""

    fields: tuple[Field, ...]
    created: bool = False
    """Whether rows have a created timestamp."""
    owner: str = ""
    """Whose rows these are (project, view, join keys). It enters the fingerprint: should two views ever share a key,
    the rows of one are unreadable to the other, not wrong numbers."""

    def __post_init__(self) -> None:
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SchemaRefused(f"two fields are called {twice[0]!r}. Rename one of them in the feature view.")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def format(self) -> int:
        """The format byte of its rows."""
        return FORMAT_CREATED if self.created else FORMAT_PLAIN

    @cached_property
    def fingerprint(self) -> int:
        """64 bits over the format, the owner, and the names and types in order, as an unsigned integer."""
        text = json.dumps([self.format, self.owner, [[field.name, field.dtype.value] for field in self.fields]])
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def __hash__(self) -> int:
        return self.fingerprint

    def __eq__(self, other: object) -> bool:
        """Schemas of one fingerprint are the same, to rows and to caches alike."""
        return self is other or (isinstance(other, Schema) and self.fingerprint == other.fingerprint)

    @cached_property
    def layout(self) -> Layout:
        """Where each value lies."""
        dtypes = [field.dtype for field in self.fields]
        places = {dtype: tuple(i for i, found in enumerate(dtypes) if found is dtype) for dtype in _NUMPY}
        blocks = tuple(Block(dtype, fields) for dtype, fields in places.items() if fields)
        variable = tuple(i for i, dtype in enumerate(dtypes) if dtype.numpy is None)
        return Layout(blocks, variable, -(-len(dtypes) // 8), self.created)
