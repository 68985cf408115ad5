"""The keys that a request asks for: each once, however many of its rows share it.

A request for one user and a hundred candidates has a hundred rows and one key of the user's view. A loop over Python
integers is faster here than numpy up to a thousand rows, which is the most a request has.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import repeat
from operator import add
from typing import Any

import numpy as np

from lockstep.keys import KeySpace, key_part, last_key_part
from lockstep.plan import Array
from lockstep.ragged import Ints

__all__ = ["GivenKeys"]


class GivenKeys:
    """The join keys of one request. What several views need of one column is worked out once."""

    def __init__(self, columns: Mapping[str, Array], rows: int) -> None:
        """`columns` by name: int64 or objects that are str. Shape (rows,)."""
        self._columns, self._rows = columns, rows
        self._lists: dict[str, list[Any]] = {}

    def of(self, space: KeySpace, names: Sequence[str]) -> tuple[list[bytes], Ints]:
        """The distinct keys of a view, in the order in which they come, and for each row the place of its key.

        `names` are the columns that carry its join keys, in the order of `space.in_order`. A value that the join key's
        type cannot hold has a key too, which no row has.
        """
        if not names:
            return [space.prefix], np.zeros(self._rows, np.int64)
        values = self._list(names[0]) if len(names) == 1 else list(zip(*map(self._list, names), strict=True))
        first = values[0]
        if values.count(first) == self._rows:  # one user, a hundred candidates
            return _keys(space, [first], len(names)), np.zeros(self._rows, np.int64)
        distinct = dict.fromkeys(values)
        if len(distinct) == self._rows:
            return _keys(space, values, len(names)), np.arange(self._rows)
        places = {value: place for place, value in enumerate(distinct)}
        return _keys(space, places, len(names)), np.fromiter(map(places.__getitem__, values), np.int64, self._rows)

    def _list(self, name: str) -> list[Any]:
        if name not in self._lists:
            self._lists[name] = self._columns[name].tolist()
        return self._lists[name]


def _keys(space: KeySpace, values: Collection[Any], width: int) -> list[bytes]:
    """As `KeySpace.key`, written out for the widths of most views: a third of the time."""
    prefixes = repeat(space.prefix, len(values))
    if width == 1:
        return list(map(add, prefixes, map(last_key_part, values)))
    if width == 2:
        firsts, lasts = zip(*values, strict=True)
        return list(map(b"".join, zip(prefixes, map(key_part, firsts), map(last_key_part, lasts), strict=True)))
    return [space.key(value) for value in values]
