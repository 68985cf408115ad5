"""What a cached prediction is known by: the canonical bytes of everything that a request says about a row but its time.

    form      8 bytes hash of this format and of the names, types and defaults of the given columns
    numbers           the given columns of fixed width, ordered by name: int64, float32 or float64, little-endian
    strings           the others, ordered by name: length as LEB128, UTF-8

Two rows have the same bytes exactly where the model is given the same: every NaN is the one NULL, a column that was
left out is its default, 0.0 and -0.0 stay apart. A hash of the bytes is part of the row's key in the store, the bytes
themselves are part of the row: whoever reads compares them, so a collision of hashes is a miss and no wrong score.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import nan
from struct import Struct
from typing import Any, Final

import numpy as np

from lockstep.keys import key_part
from lockstep.plan import Array, Column, DType, Plan, digest

__all__ = ["HASH_BYTES", "PredictionKeys", "hashed"]

_FORMAT: Final = 1
HASH_BYTES: Final = 16
_CODES: Final = {DType.INT64: "q", DType.FLOAT32: "f", DType.FLOAT64: "d", DType.TIMESTAMP: "d"}
"""As struct calls them."""
_FLOATS: Final = frozenset({DType.FLOAT32, DType.FLOAT64, DType.TIMESTAMP})


def hashed(request: bytes) -> bytes:
    """The hash of canonical bytes, as it stands in the key of a row."""
    return blake2b(request, digest_size=HASH_BYTES, person=b"lockstep predict").digest()


class PredictionKeys:
    """The canonical bytes of requests to one model."""

    def __init__(self, plan: Plan) -> None:
        self._columns = [plan.given[name] for name in sorted(plan.given)]
        self._numbers = [column for column in self._columns if column.dtype is not DType.STRING]
        self._strings = [column for column in self._columns if column.dtype is DType.STRING]
        parts: list[Any] = [(f"column {place}", _stored(column)) for place, column in enumerate(self._numbers)]
        self._fixed = np.dtype([("form", "V8"), *parts])
        self._form = np.void(bytes.fromhex(self.sha256)[: self._fixed["form"].itemsize])

        self._head = self._form.tobytes()
        self._one = None if self._strings else Struct("<8s" + "".join(_CODES[one.dtype] for one in self._numbers))
        """One row, which numpy takes longer for; None where there are strings."""

    @property
    def sha256(self) -> str:
        """Identity of the form: the same for plans with the same given columns, types and defaults."""
        plain = [[_FORMAT], *([one.name, one.dtype, one.default] for one in self._columns)]
        return digest(json.dumps(plain))

    def of(self, given: Mapping[str, Array], rows: int) -> list[bytes]:
        """The bytes of each row; `given` as a checked request has them: in the plan's dtypes, shape (rows,)."""
        if rows == 1 and self._one is not None:
            return [self._one_row(self._one, given)]
        fixed = np.zeros(rows, self._fixed)
        fixed["form"] = self._form
        for place, column in enumerate(self._numbers):
            fixed[f"column {place}"] = _canonical(column, given)
        data, width = fixed.tobytes(), self._fixed.itemsize
        heads = [data[start : start + width] for start in range(0, rows * width, width)]
        if not self._strings:
            return heads
        tails = [map(key_part, _texts(column, given, rows)) for column in self._strings]
        return [b"".join(parts) for parts in zip(heads, *tails, strict=True)]

    def _one_row(self, one: Struct, given: Mapping[str, Array]) -> bytes:
        """As `of`, of numbers alone."""
        found = [_given(column, given).item() for column in self._numbers]
        return one.pack(self._head, *[value if value == value else nan for value in found])


def _stored(column: Column) -> np.dtype[Any]:
    return column.dtype.numpy.newbyteorder("<")


def _canonical(column: Column, given: Mapping[str, Array]) -> Array:
    """The values of a number, every NaN the same one. Shape (rows,), or () where the column was left out."""
    values = _given(column, given)
    return np.where(np.isnan(values), column.dtype.numpy.type(np.nan), values) if column.dtype in _FLOATS else values


def _given(column: Column, given: Mapping[str, Array]) -> Array:
    values = given.get(column.name)
    return column.instead if values is None else values  # asked for only then: an int64 without a default has none


def _texts(column: Column, given: Mapping[str, Array], rows: int) -> Sequence[str]:
    values = given.get(column.name)
    found: list[str] = [column.instead.item()] * rows if values is None else values.tolist()
    return found
