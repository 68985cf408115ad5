"""What became of the calls: counted where they leave, by call, model, version and status."""

import time
from collections import Counter
from collections.abc import Callable, Container, Iterator
from typing import Any, NamedTuple

import numpy as np

from lockstep.bundle import Bundle
from lockstep.errors import LockstepError
from serving.metrics.families import MILLISECONDS, Stage
from serving.metrics.histogram import Histogram
from serving.metrics.samples import Key, Value

__all__ = ["Answered", "CallMeter", "Refused"]

Find = Callable[[str, str], Bundle]
OK = "OK"
MOST_KEPT = 1024
"""Answers after which they are counted."""


class Answered(NamedTuple):
    """A reply, and whose scores or features it holds."""

    reply: Any
    """A message, or its bytes."""
    model: str
    version: str
    scored_s: float
    """When the writing of the reply began, by `time.perf_counter`."""
    since_s: float = 0.0
    """When its request came, where that is not when the call began: one of a stream."""


class Refused(NamedTuple):
    """A reply of a stream that says what was wrong with a request."""

    reply: Any
    request: Any
    code: str
    """Name of the gRPC status."""


class _Version:
    """The answers of one call for one version of a model."""

    def __init__(self) -> None:
        self.durations, self.encoding = Histogram(MILLISECONDS), Histogram(MILLISECONDS)

    def add(self, kept: list[float]) -> None:
        """For each answer three readings of the clock: its request came, its reply was begun, and was written."""
        moments = np.fromiter(kept, np.float64).reshape(-1, 3)
        self.durations.add(moments[:, 2] - moments[:, 0])
        self.encoding.add(moments[:, 2] - moments[:, 1])


class CallMeter:
    """The counts of one call."""

    def __init__(self, call: str, find: Find) -> None:
        """`find` finds a model as `serving.models.Models` does."""
        self.call, self._find = call, find
        self._versions: dict[tuple[str, str], _Version] = {}
        self._kept: dict[tuple[str, str], list[float]] = {}
        """By version what is still to be added to it."""
        self._others: Counter[Key] = Counter()

    def answered(self, answer: Answered, began_s: float) -> None:
        """A reply was written; its request came at `began_s`, by `time.perf_counter`."""
        _, model, version, scored_s, since_s = answer
        kept = self._kept.get((model, version))
        if kept is None:
            kept = self._kept[model, version] = []
        kept += since_s or began_s, scored_s, time.perf_counter()
        if len(kept) >= 3 * MOST_KEPT:
            self.settle()

    def told(self) -> None:
        """A reply without scores was written."""
        self._others["", "", OK] += 1

    def refused(self, request: Any, code: str) -> None:
        """A request failed. `request` is its message, None where it was none."""
        self._others[(*self._labels(request), code)] += 1

    def turned_away(self, code: str) -> None:
        """A call was refused before its message was read. It has to be cheap."""
        self._others["", "", code] += 1

    def _labels(self, request: Any) -> tuple[str, str]:
        """Model and version where the request names one that is served: what strangers invent is no label."""
        name = getattr(request, "model", None) or getattr(request, "model_name", None)
        wanted = getattr(request, "version", None) or getattr(request, "model_version", None) or ""
        try:
            manifest = self._find(name or "", wanted).manifest
        except LockstepError:
            return "", ""
        return manifest.name, manifest.version

    def keep(self, versions: Container[tuple[str, str]]) -> None:
        """Forget all other versions: nobody will ask for them again."""
        self.settle()
        self._versions = {key: version for key, version in self._versions.items() if key in versions}
        self._others = Counter({key: count for key, count in self._others.items() if not key[0] or key[:2] in versions})

    def settle(self) -> None:
        """Count what was kept."""
        kept, self._kept = self._kept, {}
        for key, moments in kept.items():
            self._versions.setdefault(key, _Version()).add(moments)

    def samples(self) -> Iterator[tuple[str, Key, Value]]:
        """Name, labels and value of all its metrics."""
        self.settle()
        codes = Counter[Key](self._others)
        for key, version in self._versions.items():
            durations = version.durations.distribution()
            codes[(*key, OK)] += durations.size
            yield "lockstep_request_duration_seconds", (self.call, *key), durations
            yield "lockstep_stage_duration_seconds", (Stage.ENCODE.label, *key), version.encoding.distribution()
        for labels, count in codes.items():
            yield "lockstep_requests_total", (self.call, *labels), float(count)
