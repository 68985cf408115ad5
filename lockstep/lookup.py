"""From a plan's join keys to the keys of packed rows, and from the rows found to what `resolve` takes: all views at
once. The hot path of serving; it knows no store.

It expects what nearly every row is: sound, and of its view's newest schema. The values of all views are then gathered
in C, or where that was not compiled from one stack of bytes, one numpy call for all fields of a type. A view with any
other row is read by `rows.unpack`, which knows every case. All ways give the same values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep.compiled import core
from lockstep.compiled_rows import CompiledRows
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


_AS_TRAINED = np.errstate(over="ignore", invalid="ignore")
"""What is beyond float32 is infinity, in training too; every NaN is NULL, a signalling one as well."""


class Asked(NamedTuple):
    """What to read for one request."""

    keys: list[bytes]
    """The keys of all views, each once."""
    ends: Ints
    """Of each view that is read where its keys end among `keys`. Shape (views that are read,)."""
    places: Ints
    """For each row of the request the place of its key among `keys`. Shape (views that are read, rows)."""

    @property
    def parts(self) -> list[slice]:
        """Of each view that is read the place of its keys among `keys`."""
        return [slice(start, end) for start, end in pairwise([0, *self.ends.tolist()])]


class Found(NamedTuple):
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
        unknown = [view.name for view in plan.stored_columns.views if records.get(view.name, ()) is None]
        self.differing: list[DefinitionDiffers] = []
        """The views that mean something else than when the plan was trained: their rows are unreadable."""
        for view in plan.stored_columns.views:
            if view.name not in unknown:
                self._add(view, records.get(view.name) or ())
        names = [view.name for view in plan.stored_columns.views]
        self._views = np.array([names.index(reader.name) for reader in self._readers], np.intp)
        """Of each view that is read its place in the plan."""
        self._unread = {
            **{names.index(name): Status.NOT_FOUND for name in self.without_record},
            **{names.index(error.view): Status.UNREADABLE for error in self.differing},
            **{names.index(name): Status.UNREACHABLE for name in unknown},
        }
        """What is found for the views that are not read, by their place in the plan."""
        self._spaces = tuple((reader.space.prefix, tuple(reader.key_columns)) for reader in self._readers)
        self._any_created = any(reader.any_created for reader in self._readers)
        self._expected = Expected([reader.schema for reader in self._readers])
        self._gathers = Gathers(plan.stored_columns, self._readers)
        self._compiled = core and CompiledRows(
            core, plan.stored_columns, self._readers, self._views.tolist(), created=self._any_created
        )

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
        if core is not None:
            asked = core.ask(self._spaces, given if type(given) is dict else dict(given), rows)
            if asked is not None:
                return Asked(*asked)
        join_keys, keys, ends = GivenKeys(given, rows), list[bytes](), list[int]()
        places = np.empty((len(self._readers), rows), np.int64)
        for row, reader in zip(places, self._readers, strict=True):
            unique, inverse = join_keys.of(reader.space, reader.key_columns)
            np.add(inverse, len(keys), out=row)
            keys += unique
            ends.append(len(keys))
        return Asked(keys, np.array(ends, np.int64), places)

    def read(self, asked: Asked, answers: Sequence[bytes | None], lost: NDArray[np.bool_] | None = None) -> Found:
        """What the rows hold; `answers[i]` was found under `asked.keys[i]`, None where nothing was.

        `lost`: the keys whose server did not answer. Shape (keys,).
        """
        found, strange = self._quickly(asked, answers)
        for reader in strange:
            self._read_slowly(reader, asked, answers, found)
        for view, status in self._unread.items():
            found.found[view] = status
        if lost is not None:
            found.found[self._views] = np.where(lost[asked.places], Status.UNREACHABLE, found.found[self._views])
        return Found(found, tuple(self._unreadable(asked, found, sorted(strange))))

    def _quickly(self, asked: Asked, answers: Sequence[bytes | None]) -> tuple[PlanRows, set[int]]:
        """All views, as if every row were sound and of its newest schema; and those of which that is not so."""
        if not answers:
            return self._nothing(asked)
        if self._compiled is not None:
            return self._compiled.rows(answers, asked.ends, asked.places)
        rows = self._expected.stack(answers, asked.parts)
        return self._nothing(asked) if rows is None else self._gathered(asked, rows)

    def _shape(self, asked: Asked) -> tuple[int, int]:
        """Views of the plan, rows of the request."""
        return len(self._plan.stored_columns.views), asked.places.shape[1]

    def _nothing(self, asked: Asked) -> tuple[PlanRows, set[int]]:
        """No view's rows, and all views that have keys: they are read one by one."""
        shape = self._shape(asked)
        missing = PlanRows.missing(self._plan, shape[1], Status.NOT_FOUND)
        return replace(missing, created_us=self._no_created(shape)), set(range(len(self._readers)))

    def _no_created(self, shape: tuple[int, int]) -> Ints | None:
        """Room for created timestamps where any row may have one."""
        return np.full(shape, NO_CREATED) if self._any_created else None

    @_AS_TRAINED
    def _gathered(self, asked: Asked, rows: RowStack) -> tuple[PlanRows, set[int]]:
        shape = self._shape(asked)
        found, event_us, created_us = np.zeros(shape, np.int8), np.zeros(shape, np.int64), self._no_created(shape)
        event_us[self._views] = rows.event_us[asked.places]
        states, values, strange = self._gathers.run(rows, asked.places, asked.parts)
        if np.count_nonzero(rows.sound) < len(rows.sound):
            found[self._views] = np.where(rows.sound[asked.places], PRESENT, NOT_FOUND)
            damaged = ~rows.sound & (rows.lengths > 0)
            strange |= {reader for reader, part in enumerate(asked.parts) if damaged[part].any()}
        if created_us is not None:
            for view, reader, places in zip(self._views, self._readers, asked.places, strict=True):
                if reader.schema.created:
                    created_us[view] = rows.created_us(reader.schema)[places]
        return PlanRows(found, event_us, created_us, states, values), strange

    @_AS_TRAINED
    def _read_slowly(self, place: int, asked: Asked, answers: Sequence[bytes | None], found: PlanRows) -> None:
        reader, part, view = self._readers[place], asked.parts[place], self._views[place]
        rows = reader.read(answers[part], asked.places[place] - part.start)
        found.found[view], found.event_us[view] = rows.found, rows.event_us
        if found.created_us is not None and rows.created_us is not None:
            found.created_us[view] = rows.created_us
        found.put(self._plan, reader.name, rows)

    def _unreadable(self, asked: Asked, found: PlanRows, strange: Sequence[int]) -> list[tuple[str, bytes]]:
        named = []
        for place in strange:
            rows = np.flatnonzero(found.found[self._views[place]] == Status.UNREADABLE)
            if len(rows):
                named.append((self._readers[place].name, asked.keys[asked.places[place, rows[0]]]))
        return named
