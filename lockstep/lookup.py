"""From a plan's join keys to the keys of packed rows, and from the rows found to what `resolve` takes: all views at
once. The hot path of serving; it knows no store.

It expects what nearly every row is: sound, and of its view's newest schema. The values of all views are then gathered
from one stack of bytes, one numpy call for all fields of a type. A view with any other row is read by `rows.unpack`,
which knows every case. Both ways give the same values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import DefinitionDiffers
from lockstep.gathers import Gathers
from lockstep.plan import Array, Plan, View
from lockstep.ragged import Ints
from lockstep.resolve import PlanRows
from lockstep.row_stack import Expected, RowStack
from lockstep.schema import NO_CREATED
from lockstep.status import NOT_FOUND, PRESENT, Status
from lockstep.unique_keys import GivenKeys
from lockstep.view_reader import ViewReader
from lockstep.view_record import ViewRecord

__all__ = ["Asked", "Found", "Lookup"]


@dataclass(frozen=True)
class Asked:
    """What to read for one request."""

    keys: list[bytes]
    """The keys of all views, each once."""
    parts: tuple[slice, ...]
    """Of each view that is read the place of its keys among `keys`."""
    inverse: Ints
    """For each row of the request the place of its key in its view's part. Shape (views that are read, rows)."""


@dataclass(frozen=True)
class Found:
    """What was read."""

    rows: PlanRows
    """In the order of the request."""
    unreadable: tuple[tuple[str, bytes], ...]
    """View and key of rows that are there and cannot be read, one of each view."""


class Lookup:
    """How the rows of one plan are found and read, given the view records that the store holds."""

    def __init__(self, plan: Plan, records: Mapping[str, Sequence[ViewRecord] | None]) -> None:
        """`records` by view, the newest first; a view without any was never filled, or its store was emptied. None: the
        store did not say.
        """
        self._plan = plan
        self._readers: list[ViewReader] = []
        self.without_record: list[str] = []
        """The views of which the store holds no record: nothing is found for them."""
        self._unknown = [view.name for view in plan.stored_columns.views if records.get(view.name, ()) is None]
        self.differing: list[DefinitionDiffers] = []
        """The views that mean something else than when the plan was trained: their rows are unreadable."""
        for view in plan.stored_columns.views:
            if view.name not in self._unknown:
                self._add(view, records.get(view.name) or ())
        names = [view.name for view in plan.stored_columns.views]
        self._places = np.array([names.index(reader.name) for reader in self._readers], np.intp)
        """Of each view that is read its place in the plan."""
        self._expected = Expected([reader.schema for reader in self._readers])
        self._gathers = Gathers(plan.stored_columns, self._readers)

    def _add(self, view: View, records: Sequence[ViewRecord]) -> None:
        if not records:
            self.without_record.append(view.name)
            return
        try:
            self._readers.append(ViewReader(view, self._plan.reads[view.name], records))
        except DefinitionDiffers as error:
            self.differing.append(error)

    def ask(self, given: Mapping[str, Array], rows: int) -> Asked:
        """The keys to read. `given` by column, shape (rows,), int64 or objects that are str."""
        join_keys, keys, parts = GivenKeys(given, rows), list[bytes](), list[slice]()
        inverse = np.empty((len(self._readers), rows), np.int64)
        for place, reader in enumerate(self._readers):
            unique, inverse[place] = join_keys.of(reader.space, reader.key_columns)
            parts.append(slice(len(keys), len(keys) + len(unique)))
            keys += unique
        return Asked(keys, tuple(parts), inverse)

    def read(self, asked: Asked, answers: Sequence[bytes | None], lost: NDArray[np.bool_] | None = None) -> Found:
        """What the rows hold; `answers[i]` was found under `asked.keys[i]`, None where nothing was.

        `lost`: the keys whose server did not answer. Shape (keys,).
        """
        rows = self._expected.stack(answers, asked.parts) if answers else None
        # What is beyond float32 is infinity, in training too; every NaN is NULL, a signalling one as well.
        with np.errstate(over="ignore", invalid="ignore"):
            if rows is None:
                found, strange = self._nothing(asked), set(range(len(self._readers) if answers else 0))
            else:
                found, strange = self._gathered(asked, rows)
            for place in strange:
                self._read_slowly(place, asked, answers, found)
        for status, names in (
            (Status.NOT_FOUND, self.without_record),
            (Status.UNREADABLE, self._differing_names),
            (Status.UNREACHABLE, self._unknown),
        ):
            for name in names:
                found.found[self._place_of(name)] = status
        if lost is not None:
            _mark_lost(asked, lost, self._places, found)
        return Found(found, tuple(self._unreadable(asked, found, sorted(strange))))

    @property
    def _differing_names(self) -> list[str]:
        return [error.view for error in self.differing]

    def _place_of(self, name: str) -> int:
        return next(i for i, view in enumerate(self._plan.stored_columns.views) if view.name == name)

    def _nothing(self, asked: Asked) -> PlanRows:
        rows = asked.inverse.shape[1]
        shape = len(self._plan.stored_columns.views), rows
        return replace(PlanRows.missing(self._plan, rows, Status.NOT_FOUND), created_us=self._no_created(shape))

    def _no_created(self, shape: tuple[int, int]) -> Ints | None:
        """Room for created timestamps where any row may have one."""
        return np.full(shape, NO_CREATED) if any(reader.any_created for reader in self._readers) else None

    def _gathered(self, asked: Asked, rows: RowStack) -> tuple[PlanRows, set[int]]:
        """All views, as if every row were sound and of its newest schema; and those of which that is not so."""
        first = np.array([[part.start] for part in asked.parts])
        stacked = asked.inverse + first
        shape = len(self._plan.stored_columns.views), stacked.shape[1]
        whole = len(self._readers) == shape[0]
        found = np.zeros(shape, np.int8) if whole else np.full(shape, NOT_FOUND)
        event_us = rows.event_us[stacked]
        if not rows.sound.all():
            found[self._places] = np.where(rows.sound[stacked], PRESENT, NOT_FOUND)
        elif not whole:
            found[self._places] = PRESENT
        if not whole:
            some, event_us = event_us, np.zeros(shape, np.int64)
            event_us[self._places] = some
        states, values, strange = self._gathers.run(rows, stacked, asked.parts, asked.inverse)
        whole_rows = PlanRows(found, event_us, self._created(rows, stacked, shape), states, values)
        return whole_rows, strange | self._damaged(asked, rows)

    def _created(self, rows: RowStack, stacked: Ints, shape: tuple[int, int]) -> Ints | None:
        created = self._no_created(shape)
        for place, reader, row in zip(self._places, self._readers, stacked, strict=True):
            if created is not None and reader.schema.created:
                created[place] = rows.fixed(reader.schema, slice(0, len(rows.lengths)))["created"][row]
        return created

    def _damaged(self, asked: Asked, rows: RowStack) -> set[int]:
        """The views that have a row which is there and not as expected."""
        bad = ~rows.sound & (rows.lengths > 0)
        return {place for place, part in enumerate(asked.parts) if bad[part].any()} if bad.any() else set()

    def _read_slowly(self, place: int, asked: Asked, answers: Sequence[bytes | None], found: PlanRows) -> None:
        reader, part = self._readers[place], asked.parts[place]
        rows = reader.read(answers[part], asked.inverse[place])
        at = self._places[place]
        found.found[at], found.event_us[at] = rows.found, rows.event_us
        if found.created_us is not None and rows.created_us is not None:
            found.created_us[at] = rows.created_us
        found.put(self._plan, reader.name, rows)

    def _unreadable(self, asked: Asked, found: PlanRows, strange: Sequence[int]) -> list[tuple[str, bytes]]:
        named = []
        for place in strange:
            rows = np.flatnonzero(found.found[self._places[place]] == Status.UNREADABLE)
            if len(rows):
                key = asked.keys[asked.parts[place].start + int(asked.inverse[place, rows[0]])]
                named.append((self._readers[place].name, key))
        return named


def _mark_lost(asked: Asked, lost: NDArray[np.bool_], places: NDArray[np.intp], found: PlanRows) -> None:
    for place, part, inverse in zip(places, asked.parts, asked.inverse, strict=True):
        found.found[place][lost[part][inverse]] = Status.UNREACHABLE
