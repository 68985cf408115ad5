"""From packed rows to a plan's columns in C: what `row_stack.Expected` and `gathers.Gathers` do with numpy.

Two tables say where everything lies, a line for each view that is read and one for each column.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lockstep.gathers import Placed, has_lists, placed
from lockstep.plan import Array, StoredColumns
from lockstep.plan import DType as Served
from lockstep.ragged import Ints
from lockstep.resolve import PlanRows
from lockstep.schema import DType, Schema
from lockstep.status import Status
from lockstep.view_reader import Place, ViewReader, place_in

__all__ = ["CompiledNumbers", "CompiledRows"]

_TYPES: Final = {
    DType.INT64: 0,
    DType.TIMESTAMP: 0,
    DType.FLOAT64: 1,
    DType.INT32: 2,
    DType.FLOAT32: 3,
    DType.BOOL: 4,
    DType.STRING: 5,
}
"""As _core.c numbers them."""
_NONE: Final = -1
_PRESENT: Final = bytes([Status.PRESENT])
_WIDTH: Final = 8
"""Numbers in a line of a table."""


class CompiledRows:
    """Where the columns lie in rows of the newest schemas, as `_core.gather` takes it."""

    def __init__(
        self, core: Any, stored: StoredColumns, readers: Sequence[ViewReader], views: Sequence[int], *, created: bool
    ) -> None:
        """`views`: of each reader the place of its view in the plan; `created`: whether any row may have a created
        timestamp.
        """
        self._core, self._stored, self._created = core, stored, created
        lines = [_reader(reader.schema, view) for reader, view in zip(readers, views, strict=True)]
        self._readers = np.array(lines, np.int64).reshape(len(lines), _WIDTH)
        found = list(placed(stored, readers))
        groups = list(stored.places)
        columns = [_column(one, one.at, groups) for one in found if isinstance(one.at, Place)]
        self._columns = np.array(columns, np.int64).reshape(len(columns), _WIDTH)
        self._constant = [(one.column, one.at) for one in found if isinstance(one.at, Status)]
        self._slow = {place for place, reader in enumerate(readers) if has_lists(reader.schema)}

    def rows(self, answers: Sequence[bytes | None], ends: Ints, places: Ints) -> tuple[PlanRows, set[int]]:
        """What the answers hold, and the readers that must read in another way.

        `ends`: of each reader where its keys end among the answers. `places` as in `lookup.Asked`.
        """
        stored = self._stored
        found, event_us, created_us, states, values, strange = self._core.gather(
            self._readers,
            self._columns,
            answers if type(answers) is list else list(answers),
            ends,
            places,
            len(stored.views),
            len(stored.columns),
            stored.groups,
            self._created,
        )
        for column, status in self._constant:
            states[column] = status
        rows = PlanRows(found, event_us, created_us, states, dict(zip(stored.places, values, strict=True)))
        return rows, self._slow if strange is None else self._slow.union(np.flatnonzero(strange).tolist())


class CompiledNumbers:
    """Some numbers of the rows of one schema, read by C."""

    def __init__(self, core: Any, schema: Schema, fields: Mapping[str, Served]) -> None:
        """`fields`: by name what each is read as."""
        self._core = core
        self._readers = np.array([_reader(schema, 0)], np.int64)
        places = [place_in(schema, schema.names.index(name)) for name in fields]
        lines = [_line(0, at, group, 0, group) for group, at in enumerate(places)]
        self._columns = np.array(lines, np.int64)
        self._groups = tuple((served.numpy.num, 1) for served in fields.values())

    def read(self, rows: Sequence[bytes | None]) -> tuple[NDArray[np.int8], Ints, list[Array]] | None:
        """PRESENT or NOT_FOUND of each row, its event timestamp, and the numbers of each field; shape (rows,).

        None where a row is not sound, or a number is NULL or NaN.
        """
        ends, places = _one_each(len(rows))
        found, event_us, _, states, values, strange = self._core.gather(
            self._readers,
            self._columns,
            rows if type(rows) is list else list(rows),
            ends,
            places,
            1,
            len(self._groups),
            self._groups,
            False,
        )
        if strange is not None or states.tobytes().strip(_PRESENT):
            return None
        return found[0], event_us[0], [one[0] for one in values]


@lru_cache(maxsize=64)
def _one_each(count: int) -> tuple[Ints, Ints]:
    """Where the keys of one reader end and where they are, each row having one of its own."""
    return np.array([count]), np.arange(count).reshape(1, count)


def _reader(schema: Schema, view: int) -> list[int]:
    fixed, layout = schema.layout.fixed, schema.layout
    fields = fixed.fields
    assert fields is not None
    bools = len(layout.block(DType.BOOL).fields) if layout.has_bools else 0
    return [
        fixed.itemsize,
        int(np.uint64(schema.fingerprint).view(np.int64)),
        fields["created"][1] if schema.created else _NONE,
        fields["ends"][1] if layout.variable else _NONE,
        len(layout.variable),
        fields[DType.BOOL.value][1] if bools else _NONE,
        bools,
        view,
    ]


def _column(one: Placed, at: Place, groups: Sequence[Served]) -> list[int]:
    return _line(one.reader, at, groups.index(one.served), one.row, one.column)


def _line(reader: int, at: Place, group: int, row: int, column: int) -> list[int]:
    return [reader, _TYPES[at.dtype], at.offset, at.null_byte, at.null_bit, group, row, column]
