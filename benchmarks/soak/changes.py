"""What happens to the scorer while it is loaded: new models, materializes, and faults that end by themselves."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Final

from benchmarks.faults.faults import push_again
from benchmarks.faults.grounds import Ground
from benchmarks.faults.materialize import Materialize, materialize
from benchmarks.faults.proxy import Mode
from benchmarks.predict.data import MODEL, Data
from lockstep.model_store import ModelStore

__all__ = ["Changes"]

KEPT: Final = 3
"""Versions; older ones are deleted, as whoever publishes every hour does."""
SHORT_S: Final = 1.0
CORRUPT: Final = 0.02
"""Share of the rows."""


class Changes:
    """One after the other, over and over."""

    def __init__(self, ground: Ground, data: Data, every_s: float) -> None:
        assert ground.one is not None
        self._store, self._proxy = ground.one
        self._data, self._models = data, ModelStore(data.home.models)
        self._every_s, self._next_s = every_s, every_s
        self._order = cycle(self._all())
        self._stack = ExitStack()
        self._filling: Materialize | None = None
        self.done = Counter[str]()
        """How often each was done."""
        self.times: list[tuple[float, str]] = []
        """When each was done, in seconds since the load began."""

    def at(self, now_s: float) -> None:
        """Do the next one where it is time. Raises RuntimeError where a materialize failed."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._every_s
        kind, act = next(self._order)
        self.times.append((now_s, kind))
        act()
        self.done[kind] += 1

    def close(self) -> None:
        """End what is still under way."""
        self._stack.close()

    def _all(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for fault in (self._slow, self._reset, self._freeze, self._corrupt):
            yield "swap", self._swap
            yield "fault", fault
        yield "materialize", self._materialize

    def _swap(self) -> None:
        push_again(self._models)
        for version in self._models.versions(MODEL)[:-KEPT]:
            shutil.rmtree(Path(self._models.url) / MODEL / version)

    def _materialize(self) -> None:
        if self._filling is not None and not self._filling.is_over:
            return  # the one before is still at it
        self._stack.close()
        self._filling = self._stack.enter_context(materialize(self._data, self._store.url, wait=False))
        self._filling.begin()

    def _slow(self) -> None:
        self._turned(Mode.SLOW)

    def _reset(self) -> None:
        self._turned(Mode.RESET)

    def _turned(self, mode: Mode) -> None:
        self._proxy.turn(mode)
        time.sleep(SHORT_S)
        self._proxy.turn(Mode.PASS)

    def _freeze(self) -> None:
        self._store.freeze()
        time.sleep(SHORT_S)
        self._store.thaw()

    def _corrupt(self) -> None:
        self._store.corrupt(CORRUPT, seed=len(self.times))
        self._store.fill()
