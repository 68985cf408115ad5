"""The keys that a request asks for: each once, however many of its rows share it.

A request for one user and a hundred candidates has a hundred rows and one key of the user's view. Few rows are encoded
one by one, many with numpy; both give the bytes of `KeySpace.encode_one`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lockstep.keys import KeySpace, leb128, varint
from lockstep.plan import Array
from lockstep.ragged import Ints

__all__ = ["GivenKeys", "UniqueKeys"]

_FEW: Final = 24
"""Up to here rows are encoded faster one by one."""


@dataclass(frozen=True)
class UniqueKeys:
    """The keys of one view."""

    keys: list[bytes]
    inverse: Ints | None
    """For each row the place of its key; None where row i has key i. Shape (rows,)."""


@dataclass
class GivenKeys:
    """The join keys of one request. What several views need of one column is worked out once."""

    columns: Mapping[str, Array]
    """By name: int64 or objects that are str. Shape (rows,)."""
    rows: int
    _lists: dict[str, list[Any]] = field(default_factory=dict)
    _distinct: dict[tuple[str, ...], tuple[Ints, Ints]] = field(default_factory=dict)

    def of(self, space: KeySpace, names: Sequence[str]) -> UniqueKeys:
        """The keys of a view; `names` are the columns that carry its join keys, in the order of `space.in_order`.

        A value that the join key's type cannot hold has a key too, which no row has.
        """
        if not names:
            return UniqueKeys([space.prefix], np.zeros(self.rows, np.int64) if self.rows > 1 else None)
        if self.rows > _FEW and all(self.columns[name].dtype.kind == "i" for name in names):
            return self._many(space, tuple(names))
        return self._few(space, names)

    def _few(self, space: KeySpace, names: Sequence[str]) -> UniqueKeys:
        values = self._list(names[0]) if len(names) == 1 else list(zip(*map(self._list, names), strict=True))
        places: dict[Any, int] = {}
        inverse = [places.setdefault(value, len(places)) for value in values]
        keys = [_key(space, (value,) if len(names) == 1 else value) for value in places]
        return UniqueKeys(keys, None if len(keys) == self.rows else np.array(inverse, np.int64))

    def _list(self, name: str) -> list[Any]:
        if name not in self._lists:
            self._lists[name] = self.columns[name].tolist()
        return self._lists[name]

    def _many(self, space: KeySpace, names: tuple[str, ...]) -> UniqueKeys:
        first, inverse = self._unique(names)
        if len(first) == self.rows:
            return UniqueKeys(_int_keys(space.prefix, [self.columns[name] for name in names]), None)
        return UniqueKeys(_int_keys(space.prefix, [self.columns[name][first] for name in names]), inverse)

    def _unique(self, names: tuple[str, ...]) -> tuple[Ints, Ints]:
        """For each distinct key one row that has it, and for each row the place of its key."""
        if names not in self._distinct:
            if len(names) == 1:
                values = self.columns[names[0]]
            else:  # the pair of places says as much as the pair of values, and fits in an int64
                (_, before), (last, after) = self._unique(names[:-1]), self._unique(names[-1:])
                values = before * len(last) + after
            _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
            self._distinct[names] = first, inverse
        return self._distinct[names]


def _key(space: KeySpace, values: Sequence[Any]) -> bytes:
    last = len(values) - 1
    parts = [
        _int(value) if type(value) is int else _text(value, counted=place < last) for place, value in enumerate(values)
    ]
    return space.prefix + b"".join(parts)


@lru_cache(maxsize=1 << 16)
def _int(value: int) -> bytes:
    return varint((value << 1) ^ (value >> 63))


def _text(value: str, *, counted: bool) -> bytes:
    text = value.encode()
    return varint(len(text)) + text if counted else text


def _int_keys(prefix: bytes, columns: Sequence[NDArray[np.int64]]) -> list[bytes]:
    """The key of each row of int64 columns."""
    groups, kept = zip(*(leb128(((values << 1) ^ (values >> 63)).view(np.uint64)) for values in columns), strict=True)
    count = len(columns[0])
    head = np.broadcast_to(np.frombuffer(prefix, np.uint8), (count, len(prefix)))
    data = np.hstack([head, *groups])[np.hstack([np.ones(head.shape, bool), *kept])].tobytes()
    ends = np.cumsum(len(prefix) + np.sum([part.sum(axis=1) for part in kept], axis=0)).tolist()
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
