"""The scorer's reader: packed rows from Redis in one round trip, straight into the plan's columns. It imports no Feast.

What a row means stands in the view records, which the reader looks at again every second: an emptied Redis is known by
their absence, a row of a new schema by theirs, and a view that was defined anew is not taken for the old one.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from lockstep.errors import RecordRefused
from lockstep.lookup import Lookup
from lockstep.plan import Array, Plan
from lockstep.resolve import PlanRows
from lockstep.status import Status
from lockstep.view_record import ViewRecord, read_records, record_key, watermark_field
from serving.metrics import decoding
from serving.redis import UNREACHED, RedisClient, Unreached, open_client
from serving.redis.watch import Watch
from serving.settings import Settings

__all__ = ["PackedReader"]

_PLANS: Final = 256
"""Plans that are kept compiled; the one that came first goes first."""
_UNUSED_S: Final = 60.0
"""How long one that nobody asks for is kept: those of models that were swapped out are not to pile up."""

log = logging.getLogger(__name__)


@dataclass
class _Compiled:
    """A plan and how its rows are read, as of some state of the view records."""

    plan: Plan
    lookup: Lookup
    state: int
    used_s: float = field(default_factory=time.monotonic)


class PackedReader:
    """Reads packed rows, as `serving.reader.Reader` says."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._records: dict[bytes, dict[bytes, bytes] | None] = {}
        """By record key what Redis holds there; None where it was never reached."""
        self._state = 0
        """Counts the changes of the records."""
        self._compiled: dict[int, _Compiled] = {}
        self._watch = Watch(self._look)

    @staticmethod
    def open(settings: Settings) -> "PackedReader":
        """On the Redis that the settings name. Raises BadConnection."""
        return PackedReader(open_client(settings.redis_where, **settings.redis_times))

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> PlanRows:
        """The rows of the keys. A server that does not answer gives UNREACHABLE rows."""
        lookup = await self._lookup(plan)
        if lookup is None:
            return PlanRows.missing(plan, rows, Status.UNREACHABLE)
        began_s = time.perf_counter()
        asked = lookup.ask(given, rows)
        decoding(began_s)
        answers = await self._client.get(asked.keys) if asked.keys else []
        began_s = time.perf_counter()
        lost = None
        if UNREACHED in answers:
            lost = np.array([each is UNREACHED for each in answers])
            answers = [None if isinstance(each, Unreached) else each for each in answers]
        found = lookup.read(asked, answers, lost)  # type: ignore[arg-type] # none of them is Unreached
        for view, key in found.unreadable:
            self._report(view, key)
        decoding(began_s)
        return found.rows

    async def prepare(self, plan: Plan) -> None:
        """Compile a plan before it takes traffic. Raises DefinitionDiffers where a view of it means something else now;
        does not raise where Redis cannot be reached.
        """
        lookup = await self._lookup(plan)
        if lookup is not None and lookup.differing:
            raise lookup.differing[0]

    async def close(self) -> None:
        """Close the connections."""
        await self._watch.close()
        await self._client.close()

    async def _lookup(self, plan: Plan) -> Lookup | None:
        """How to read the plan's rows; None where Redis never told what they mean."""
        known = self._compiled.get(id(plan))
        if known is not None and known.plan is plan and known.state == self._state:
            known.used_s = time.monotonic()
            return known.lookup
        keys = [record_key(plan.project, view.name) for view in plan.views]
        if any(key not in self._records for key in keys):
            self._records.update(dict.fromkeys((key for key in keys if key not in self._records), None))
            await self._look()
        await self._watch.looked()
        found = {view.name: self._records[key] for view, key in zip(plan.views, keys, strict=True)}
        if found and all(each is None for each in found.values()):
            return None
        lookup = Lookup(plan, {view: None if each is None else _newest_first(each) for view, each in found.items()})
        _say_what_is_wrong(lookup)
        self._drop_unused()
        self._compiled[id(plan)] = _Compiled(plan, lookup, self._state)
        return lookup

    def _drop_unused(self) -> None:
        """Make room for another plan."""
        since_s = time.monotonic() - _UNUSED_S
        self._compiled = {key: one for key, one in self._compiled.items() if one.used_s > since_s}
        while len(self._compiled) >= _PLANS:
            self._compiled.pop(next(iter(self._compiled)))

    async def _look(self) -> None:
        """Read the view records again."""
        keys = list(self._records)
        for key, found in zip(keys, await self._client.hashes(keys), strict=True):
            if not isinstance(found, Unreached) and found != self._records[key]:
                self._records[key] = found
                self._state += 1

    def _report(self, view: str, key: bytes) -> None:
        log.error(
            "view %r holds rows that cannot be read, e.g. under key %s; materialize it again",
            view,
            key.hex(),
            extra={"reason": f"unreadable {view}"},
        )
        self._watch.hurry()  # perhaps they are of a schema that was not there a second ago


def _newest_first(found: Mapping[bytes, bytes]) -> list[ViewRecord]:
    """The records of one view, the one that was materialized last first; none where they cannot be read."""
    try:
        records = read_records(found)
    except RecordRefused:
        log.exception("a view record cannot be read", extra={"reason": "record refused"})
        return []
    marks = {fingerprint: int(found.get(watermark_field(fingerprint), b"-1")) for fingerprint in records}
    return [records[fingerprint] for fingerprint in sorted(records, key=lambda each: -marks[each])]


def _say_what_is_wrong(lookup: Lookup) -> None:
    for view in lookup.without_record:
        log.error(
            "Redis holds no record of view %r: it was emptied, or never filled; run `feast materialize`",
            view,
            extra={"reason": f"no record {view}"},
        )
    for error in lookup.differing:
        log.error("%s", error, extra={"reason": f"definition {error.view}"})
