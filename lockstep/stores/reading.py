"""From entity keys to Redis keys, and from what Redis answered to Feast's rows: the part that sync and async reads
share.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from lockstep.one_row import OneRow, read_one
from lockstep.resolve import row_status
from lockstep.rows import Unpacked, unpack
from lockstep.schema import Schema
from lockstep.status import Status
from lockstep.stores.values import to_values, value_maker
from lockstep.stores.views import StoredView
from lockstep.times import to_datetime

__all__ = ["FeastRow", "Request", "RowsRead", "read_rows", "request"]

FeastRow = tuple[datetime | None, dict[str, Value] | None]
"""Event timestamp and features, as Feast's OnlineStore.online_read gives them; no features where the row is not to be
used."""


_PRESENT: Final = int(Status.PRESENT)
_MISSING: Final = int(Status.NOT_FOUND)
_FEW: Final = 8
"""Up to here rows are read faster one by one."""
_NOTHING: Final = frozenset({int(Status.NOT_FOUND), int(Status.UNREADABLE)})
_KNOWN: Final = np.uint8(Status.NULL)
"""PRESENT and NULL are the statuses up to here: the field is in the row."""


@dataclass(frozen=True)
class Request:
    """Some features of some keys of one view."""

    view: StoredView
    wanted: Schema
    keys: list[bytes]


@dataclass(frozen=True)
class RowsRead:
    """The answer to a request."""

    rows: list[FeastRow]
    status: list[int]
    """A Status for each row: PRESENT, NOT_FOUND, STALE, FUTURE or UNREADABLE."""

    @cached_property
    def unreadable(self) -> int:
        """How many rows no known schema explains."""
        return self.status.count(Status.UNREADABLE)


def request(view: StoredView, entity_keys: Sequence[EntityKey], features: Sequence[str] | None) -> Request:
    """What to ask Redis for. Raises UnknownColumn for a feature that the view lacks, BadColumn for a bad key."""
    keyed = view.for_keys(entity_keys)
    names = tuple(features) if features else tuple(view.fields)
    return Request(keyed, keyed.wanted(names), keyed.keys(entity_keys))


def read_rows(asked: Request, answers: Sequence[bytes | None], schemas: Mapping[int, Schema], t_us: int) -> RowsRead:
    """Feast's rows, judged at t by the rule for time."""
    few = _few(asked, answers) if len(answers) <= _FEW else None
    if few is not None:
        return _one_by_one(asked, few, t_us)
    found = unpack(answers, schemas, asked.wanted)
    status = row_status(
        found.status.astype(np.int8),
        found.event_us,
        found.created_us,
        np.full(len(answers), t_us),
        asked.view.record.ttl_us,
    ).tolist()
    return RowsRead(list(_rows(found, status)), status)


def _few(asked: Request, answers: Sequence[bytes | None]) -> list[OneRow | None] | None:
    """A handful of rows of the view's own schema; None where one is anything else."""
    rows = [None if answer is None else read_one(answer, asked.view.schema) for answer in answers]
    strange = any(row is None and answer is not None for row, answer in zip(rows, answers, strict=True))
    return None if strange else rows


def _one_by_one(asked: Request, found: list[OneRow | None], t_us: int) -> RowsRead:
    ttl_us = asked.view.record.ttl_us
    status = [_MISSING if row is None else int(row.status(t_us, ttl_us)) for row in found]
    names, readers = _named_readers(asked.view.schema, asked.wanted)
    rows: list[FeastRow] = []
    for row, here in zip(found, status, strict=True):
        if row is None:
            rows.append((None, None))
            continue
        found_values = row.values
        values = [make(found_values[i]) for i, make in readers] if here == _PRESENT else None
        rows.append((to_datetime(row.event_us), None if values is None else dict(zip(names, values, strict=True))))
    return RowsRead(rows, status)


@lru_cache(maxsize=1024)
def _named_readers(schema: Schema, wanted: Schema) -> tuple[list[str], list[tuple[int, Callable[[Any], Value]]]]:
    """The names asked, and for each its position in the schema and what makes a Value of it."""
    places = {name: i for i, name in enumerate(schema.names)}
    return list(wanted.names), [(places[field.name], value_maker(field.dtype)) for field in wanted.fields]


def _rows(found: Unpacked, status: list[int]) -> Iterator[FeastRow]:
    names = [field.name for field in found.fields]
    columns = to_values(found)
    known = found.field_status <= _KNOWN
    gaps = None if known.all() else known.T.tolist()
    for row, (here, event) in enumerate(zip(status, found.event_us.tolist(), strict=True)):
        if here in _NOTHING:
            yield None, None
        elif here != _PRESENT:
            yield to_datetime(event), None
        else:
            values = {name: column[row] for name, column in zip(names, columns, strict=True)}
            if gaps is not None:
                values = {name: values[name] for name, has in zip(names, gaps[row], strict=True) if has}
            yield to_datetime(event), values
