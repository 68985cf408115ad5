"""Stored predictions: the rows of a batch of requests and the pointer to their version, in one round trip.

The keys are made for the version that the pointer named last. The pointer is read along with them, so a batch sees one
state of it: where it names another version by now, the rows of that one are read, and no others.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Bundle
from lockstep.cached_model import CachedModel
from lockstep.plan import Array, Plan
from lockstep.plan import DType as Served
from lockstep.prediction_key import PredictionKeys
from lockstep.predictions import Pointer, PredictionView
from lockstep.ragged import Ints
from lockstep.resolve import PlanRows
from lockstep.status import Rung, Status
from lockstep.times import now_us
from serving.redis import UNREACHED, RedisClient, Unreached
from serving.redis.terms import Answer

__all__ = ["Found", "Predictions"]

_UNREADABLE = bytes([Status.UNREADABLE])

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found(PlanRows):
    """The predictions of a batch, as the rows of a view that has the score as its one feature."""

    version: str
    """Whose rows were read; '' where no version is known."""
    requests: Sequence[bytes]
    """The canonical bytes of each row."""
    rungs: NDArray[np.int8]
    """The rung of each stored score. Shape (rows,)."""


class Predictions:
    """The predictions that one cached model answers with."""

    def __init__(self, bundle: Bundle, client: RedisClient, champion: Callable[[], str]) -> None:
        """`champion`: the version that answers while no pointer is there, '' for none."""
        (view,) = bundle.plan.views
        self._view = PredictionView(bundle.plan.project, view.name)
        self._expire_ms = None if view.ttl_us is None else max(2 * view.ttl_us // 1000, 1)  # one TTL of grace
        self._keys, self._client, self._champion = PredictionKeys(bundle.plan), client, champion
        assert isinstance(bundle.graph, CachedModel)
        self._form = bundle.graph.cache.keys
        self._pointed = ""
        """The version that the pointer named last; '' where there was none."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Found:
        """What is stored for each row. A server that does not answer gives UNREACHABLE rows."""
        requests = self._keys.of(given, rows)
        version = self._pointed or self._champion()
        pointer, *answers = await self._client.get([self._view.pointer, *self._view.keys(version, requests)])
        if not isinstance(pointer, Unreached):
            self._follow(self._version(pointer))
            now = self._pointed or self._champion()
            if now != version:
                version = now
                answers = [*await self._client.get(self._view.keys(version, requests))]
        return self._found(version, requests, answers)

    def _follow(self, version: str) -> None:
        """Read from that version on; a fill that flips the pointer is said once."""
        if version != self._pointed:
            facts = {"view": self._view.name, "version": version, "before": self._pointed}
            log.info("cached predictions come from another version", extra=facts)
        self._pointed = version

    def _version(self, pointer: bytes | None) -> str:
        """The version that a pointer names; '' where it names none that can be read."""
        found = None if pointer is None else Pointer.read(pointer)
        if found is None:
            if pointer is not None:
                log.error("the pointer of %r cannot be read; fill it again", self._view.name, extra=self._facts)
            return ""
        if found.keys != self._form:
            log.error(
                "version %s of %r takes other columns than this cached model was published with; publish it again",
                found.version,
                self._view.name,
                extra=self._facts,
            )
        return found.version

    @property
    def _facts(self) -> dict[str, str]:
        return {"reason": f"pointer {self._view.name}"}

    def _found(self, version: str, requests: Sequence[bytes], answers: Sequence[Answer]) -> Found:
        if UNREACHED in answers:
            read = self._view.read(requests, [None if isinstance(each, Unreached) else each for each in answers])
            read.found[[each is UNREACHED for each in answers]] = Status.UNREACHABLE
        else:
            read = self._view.read(requests, answers)  # type: ignore[arg-type] # none of them is Unreached
        if _UNREADABLE in read.found.tobytes():
            self._report(version, requests, read.found)
        return Found(
            found=read.found[None],
            event_us=read.event_us[None],
            created_us=None,
            states=np.zeros((1, len(requests)), np.int8),
            values={Served.FLOAT64: read.scores[None]},
            version=version,
            requests=requests,
            rungs=read.rungs,
        )

    def _report(self, version: str, requests: Sequence[bytes], found: NDArray[np.int8]) -> None:
        row = int(np.flatnonzero(found == Status.UNREADABLE)[0])
        log.error(
            "view %r holds predictions that are damaged or of other requests, e.g. under key %s; fill it again",
            self._view.name,
            self._view.keys(version, [requests[row]])[0].hex(),
            extra={"reason": f"unreadable {self._view.name}"},
        )

    async def keep(
        self, version: str, requests: Sequence[bytes], scores: NDArray[np.float64], rungs: NDArray[np.int8], t: Ints
    ) -> None:
        """Store scores that were made now, where they are worth it: no last resorts, and none dated after the clock."""
        good = np.flatnonzero((rungs <= Rung.DEFAULTS) & (t <= now_us()))
        if not len(good):
            return
        kept = [requests[row] for row in good.tolist()]
        rows = self._view.pack(kept, scores[good], rungs[good], t[good])
        if not await self._client.put(self._view.keys(version, kept), rows.to_pylist(), self._expire_ms):
            log.error(
                "predictions of %r could not be stored", self._view.name, extra={"reason": f"store {self._view.name}"}
            )
