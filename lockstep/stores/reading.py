"""From entity keys to Redis keys, and from what Redis answered to Feast's rows: the part that sync and async reads
share.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from numpy.typing import NDArray

from lockstep.errors import UnknownColumn
from lockstep.resolve import ViewRows, row_status
from lockstep.rows import Unpacked, unpack
from lockstep.schema import Schema
from lockstep.status import Status
from lockstep.stores.values import to_values
from lockstep.stores.views import StoredView
from lockstep.times import to_datetime

__all__ = ["FeastRow", "Request", "RowsRead", "read_rows", "request"]

FeastRow = tuple[datetime | None, dict[str, Value] | None]
"""Event timestamp and features, as Feast's OnlineStore.online_read gives them; no features where the row is not to be
used."""


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
    status: NDArray[np.int8]
    """PRESENT, NOT_FOUND, STALE, FUTURE or UNREADABLE for each row. Shape (n,)."""

    @property
    def unreadable(self) -> int:
        """How many rows no known schema explains."""
        return int((self.status == Status.UNREADABLE).sum())


def request(view: StoredView, entity_keys: Sequence[EntityKey], features: Sequence[str] | None) -> Request:
    """What to ask Redis for. Raises UnknownColumn for a feature that the view lacks, BadColumn for a bad key."""
    keyed = view.for_keys(entity_keys)
    names = tuple(features) if features else tuple(view.fields)
    return Request(keyed, _wanted(keyed, names), keyed.keys(entity_keys))


@lru_cache(maxsize=1024)
def _wanted(view: StoredView, names: tuple[str, ...]) -> Schema:
    unknown = [name for name in names if name not in view.fields]
    if unknown:
        raise UnknownColumn(unknown[0], view.fields)
    return Schema(tuple(view.fields[name] for name in names))


def read_rows(asked: Request, answers: Sequence[bytes | None], schemas: Mapping[int, Schema], t_us: int) -> RowsRead:
    """Feast's rows, judged at t by the rule for time."""
    found = unpack(answers, schemas, asked.wanted)
    judged = ViewRows(found.status.astype(np.int8), found.event_us, {}, {}, found.created_us)
    status = row_status(judged, np.full(len(answers), t_us), asked.view.record.ttl_us)
    return RowsRead(list(_rows(found, status)), status)


def _rows(found: Unpacked, status: NDArray[np.int8]) -> Iterator[FeastRow]:
    names = [field.name for field in found.fields]
    columns = zip(*(to_values(found, field) for field in found.fields), strict=True)
    known = (found.field_status == Status.PRESENT).T | (found.field_status == Status.NULL).T
    whole = np.all(known, axis=1).tolist()
    for row, values in enumerate(columns):
        if status[row] in (Status.NOT_FOUND, Status.UNREADABLE):
            yield None, None
            continue
        event = to_datetime(int(found.event_us[row]))
        if status[row] != Status.PRESENT:
            yield event, None
        elif whole[row]:
            yield event, dict(zip(names, values, strict=True))
        else:
            yield event, {name: value for name, value, has in zip(names, values, known[row], strict=True) if has}
