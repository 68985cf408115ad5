"""The scorer as a library, inside the process of whoever needs the scores: no server, no gRPC.

The plan, the reader, `resolve` and the graph are the server's own, so the scores are too. `LocalScorer` is for threads,
`AsyncLocalScorer` is the same with `await`. A caller may send stored features by name: what is sent wins over what is
stored, in every row.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from lockstep.bundle import Bundle
from lockstep.errors import BadRequest
from lockstep.model import CACHED
from lockstep.model_store import CHAMPION, ModelStore
from serving.columns import Columns, arrays, times_us
from serving.deadline import Deadline
from serving.loop import new_loop
from serving.models import Catalogue
from serving.reader import PREPARE_S, Reader, open_reader
from serving.scorer import Query, Scorer, Scores
from serving.settings import Settings

__all__ = ["AsyncLocalScorer", "LocalScorer"]

MOST_ROWS = 2**31 - 1
"""A caller in one's own process needs no guard against itself."""

Result = TypeVar("Result")
log = logging.getLogger(__name__)


class _Only:
    """One bundle, as `Scorer` asks for its models."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.catalogue = Catalogue({(bundle.manifest.name, bundle.manifest.version): bundle})

    def find(self, name: str, version: str) -> Bundle:
        """The bundle, whatever is asked."""
        return self.bundle


class AsyncLocalScorer:
    """Scores of one version of one model, on the event loop of the caller."""

    def __init__(
        self,
        model: str | Bundle,
        version: str = "",
        *,
        reader: Reader | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Load `model`, a name in the model store, or take a bundle that is in memory already; blocking.

        `version` is a version or an alias, '' the champion; what it means now stays until the scorer is closed. Without
        `settings` those of the environment count (LOCKSTEP_SERVE_…), without `reader` the one that they name. A reader
        that is given is closed with the scorer. Raises UnknownModel, BundleRefused, BadSetting.
        """
        if version and isinstance(model, Bundle):
            raise BadRequest("a bundle in memory has one version; leave `version` out.")
        self._settings = replace(settings or Settings.from_env(os.environ), max_rows=MOST_ROWS)
        self.bundle = model if isinstance(model, Bundle) else self._load(model, version or CHAMPION)
        """The bundle that scores, with its manifest and plan."""
        if self.bundle.manifest.kind == CACHED.name:
            raise BadRequest("a cached model is answered by a server; load the model whose predictions it has.")
        self._reader = reader if reader is not None else open_reader(self._settings)
        self._scorer = Scorer(_Only(self.bundle), self._reader, self._settings)

    def _load(self, name: str, version: str) -> Bundle:
        return ModelStore(self._settings.models_url, self._settings.bundle_key).load(name, version)

    async def predict(
        self,
        rows: Columns,
        *,
        features: Columns | None = None,
        at: object = None,
        timeout_s: float | None = None,
        explain: bool = False,
        strict: bool = False,
    ) -> Scores:
        """The score of every row; a store that is slow or fails does not raise, the rung says so.

        `rows` holds the join keys and request features by name. `features` holds stored features by name, which take
        the place of what is stored, in every row: their status is REQUEST, and NaN is NULL. A view of which all
        features are sent is not read, and join keys that only such views need may be left out. `at` is t, one for all
        rows or one per row: datetimes (UTC where they name no zone), datetime64 or whole microseconds; None: now.
        `strict` asks for an error instead of an answer below the first rung: RowRefused or RowUnreachable.

        Raises UnknownColumn or BadColumn naming the column and the row.
        """
        query = Query("", "", arrays(rows), times_us(at), explain, strict, arrays(features or {}))
        patience_s = self._settings.default_deadline_ms / 1e3 if timeout_s is None else timeout_s
        return await self._scorer.score(query, Deadline.after(patience_s))

    async def prepare(self) -> None:
        """Ask the store what its views mean. Raises DefinitionDiffers; a store that does not answer is no error."""
        if not self.bundle.plan.views:
            return
        try:
            async with asyncio.timeout(PREPARE_S):
                await self._reader.prepare(self.bundle.plan)
        except TimeoutError:
            log.warning("the online store did not say what its views mean; scores go on unchecked")

    async def close(self) -> None:
        """Give the reader's connections back."""
        await self._reader.close()

    async def __aenter__(self) -> Self:
        """Prepare. Raises DefinitionDiffers."""
        try:
            await self.prepare()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()


class LocalScorer:
    """The same for any number of threads; their requests share reads and runs, as those of a server do.

    A process that forks makes its scorer after the fork.
    """

    def __init__(
        self,
        model: str | Bundle,
        version: str = "",
        *,
        reader: Reader | None = None,
        settings: Settings | None = None,
    ) -> None:
        """As `AsyncLocalScorer`, and prepared: raises DefinitionDiffers too."""
        self._scorer = AsyncLocalScorer(model, version, reader=reader, settings=settings)
        self._thread = _LoopThread()
        try:
            self._thread.run(self._scorer.prepare)
        except BaseException:
            self.close()
            raise

    @property
    def bundle(self) -> Bundle:
        """The bundle that scores, with its manifest and plan."""
        return self._scorer.bundle

    def predict(
        self,
        rows: Columns,
        *,
        features: Columns | None = None,
        at: object = None,
        timeout_s: float | None = None,
        explain: bool = False,
        strict: bool = False,
    ) -> Scores:
        """As `AsyncLocalScorer.predict`."""
        return self._thread.run(
            lambda: self._scorer.predict(
                rows, features=features, at=at, timeout_s=timeout_s, explain=explain, strict=strict
            )
        )

    def close(self) -> None:
        """Give the connections and the thread back."""
        if self._thread.alive:
            self._thread.run(self._scorer.close)
            self._thread.stop()

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class _LoopThread:
    """A thread that does nothing but turn an event loop."""

    def __init__(self) -> None:
        self._loop = new_loop()
        self._thread = Thread(target=self._loop.run_forever, name="lockstep-local-scorer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False once it was stopped, and in a process that was forked from the one that started it."""
        return self._thread.is_alive()

    def run(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """What the coroutine returns or raises. Raises BadRequest where the loop does not turn: it would never end."""
        if not self.alive:
            raise BadRequest("this scorer is closed, or was made before a fork; make one in this process.")
        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def stop(self) -> None:
        """Let the thread end."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
