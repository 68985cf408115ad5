"""Several workers, seen as one server. Asked of the supervisor, which scores nothing itself."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from lockstep.errors import WorkerSilent
from serving.metrics.process import process_samples
from serving.metrics.samples import Samples, added, from_plain, of
from serving.metrics.totals import Totals
from serving.outlook.described import Model
from serving.outlook.link import Link

__all__ = ["Team"]

PATIENCE_S = 1.0
"""For counts and models, which a worker has at hand; one that is busy is counted as it was."""
TRIAL_S = 5.0


class Team:
    """The workers that are ready, by number."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._totals = Totals()
        self._restarts = 0

    def joined(self, worker: int, link: Link) -> None:
        """It is ready."""
        self._links[worker] = link

    async def left(self, worker: int, *, replaced: bool) -> None:
        """It ended; what it counted stays."""
        link = self._links.pop(worker, None)
        self._totals.ended(worker)
        self._restarts += replaced
        if link is not None:
            await link.close()

    async def samples(self) -> Samples:
        """What they counted together, and what the supervisor costs."""
        await asyncio.gather(*(self._ask(worker, link) for worker, link in self._links.items()))
        restarts = ("lockstep_worker_restarts_total", (), float(self._restarts))
        return added([self._totals.samples(), of([restarts, *process_samples("supervisor")])])

    async def _ask(self, worker: int, link: Link) -> None:
        try:
            found = from_plain(await link.ask("samples", within_s=PATIENCE_S))
        except WorkerSilent:
            return  # it is counted as it was when it last answered
        if self._links.get(worker) is link:
            self._totals.tell(worker, found)

    async def models(self) -> Sequence[Model]:
        """Those of a worker: all follow the same store. None where no worker answers."""
        found: Sequence[Model] | None = await self._first("models", within_s=PATIENCE_S)
        return found or []

    async def report(self, model: str, version: str) -> str | None:
        """As a worker has it."""
        found: str | None = await self._first("report", model, version, within_s=PATIENCE_S)
        return found

    async def attempt(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """By one of them."""
        found: Mapping[str, Any] | None = await self._first("attempt", asked, within_s=TRIAL_S)
        return found or {"error": "no worker answers."}

    async def _first(self, question: str, *facts: Any, within_s: float) -> Any:
        """What the first one answers that answers; None where none does."""
        for link in list(self._links.values()):
            try:
                return await link.ask(question, *facts, within_s=within_s)
            except WorkerSilent:
                continue
        return None
