"""From a plan's join keys to the keys of packed rows, and from the rows found to what `resolve` takes: all views at
once. The hot path of serving; it knows no store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.errors import DefinitionDiffers
from lockstep.plan import Array, Plan, View
from lockstep.ragged import Ints
from lockstep.resolve import ViewRows
from lockstep.row_stack import stack
from lockstep.status import Status
from lockstep.unique_keys import GivenKeys
from lockstep.view_reader import ViewReader
from lockstep.view_record import ViewRecord

__all__ = ["Asked", "Found", "Lookup"]


@dataclass(frozen=True)
class Asked:
    """What to read for one request."""

    keys: list[bytes]
    """The keys of all views, each once."""
    parts: tuple[tuple[ViewReader, slice, Ints | None], ...]
    """Of each view: the place of its keys among `keys`, and for each row of the request the place of its key there."""
    rows: int


@dataclass(frozen=True)
class Found:
    """What was read."""

    views: dict[str, ViewRows]
    """By view, rows in the order of the request."""
    unreadable: tuple[tuple[str, bytes], ...]
    """View and key of rows that are there and cannot be read, one of each view."""


class Lookup:
    """How the rows of one plan are found and read, given the view records that the store holds."""

    def __init__(self, plan: Plan, records: Mapping[str, Sequence[ViewRecord]]) -> None:
        """`records` by view, the newest first; a view without any was never filled, or its store was emptied."""
        self._views: list[ViewReader] = []
        self.without_record: list[str] = []
        """The views of which the store holds no record: nothing is found for them."""
        self.differing: list[DefinitionDiffers] = []
        """The views that mean something else than when the plan was trained: their rows are unreadable."""
        for view in plan.views:
            if plan.reads[view.name]:
                self._add(view, plan, records.get(view.name, ()))

    def _add(self, view: View, plan: Plan, records: Sequence[ViewRecord]) -> None:
        if not records:
            self.without_record.append(view.name)
            return
        try:
            self._views.append(ViewReader(view, plan.reads[view.name], records))
        except DefinitionDiffers as error:
            self.differing.append(error)

    def ask(self, given: Mapping[str, Array], rows: int) -> Asked:
        """The keys to read. `given` by column, shape (rows,), int64 or objects that are str."""
        join_keys, parts = GivenKeys(given, rows), []
        keys: list[bytes] = []
        for view in self._views:
            unique = join_keys.of(view.space, view.key_columns)
            parts.append((view, slice(len(keys), len(keys) + len(unique.keys)), unique.inverse))
            keys += unique.keys
        return Asked(keys, tuple(parts), rows)

    def read(self, asked: Asked, answers: Sequence[bytes | None]) -> Found:
        """What the rows hold; `answers[i]` was found under `asked.keys[i]`, None where nothing was."""
        with np.errstate(over="ignore"):  # what is beyond float32 is infinity, in training too
            return self._read(asked, answers)

    def _read(self, asked: Asked, answers: Sequence[bytes | None]) -> Found:
        found = {name: ViewRows.missing(asked.rows, Status.NOT_FOUND) for name in self.without_record}
        found.update({each.view: ViewRows.missing(asked.rows, Status.UNREADABLE) for each in self.differing})
        rows = stack(answers, [(view.schema, part) for view, part, _ in asked.parts]) if answers else None
        unreadable = []
        for view, part, inverse in asked.parts:
            fast = None if rows is None else view.fast(rows, part, inverse)
            if fast is not None:
                found[view.name] = fast
                continue
            found[view.name] = view.read(answers[part], inverse)
            key = _first_unreadable(asked.keys[part], found[view.name], inverse)
            unreadable += [] if key is None else [(view.name, key)]
        return Found(found, tuple(unreadable))


def _first_unreadable(keys: Sequence[bytes], rows: ViewRows, inverse: Ints | None) -> bytes | None:
    places = np.flatnonzero(rows.found == Status.UNREADABLE)
    if not len(places):
        return None
    first = int(places[0])
    return keys[first if inverse is None else int(inverse[first])]
