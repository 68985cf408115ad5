"""All that one serving process counts."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lockstep import __version__
from lockstep.bundle import Bundle
from serving.metrics.calls import CallMeter, Find
from serving.metrics.lane_meter import LaneMeter
from serving.metrics.process import process_samples
from serving.metrics.samples import Key, Samples, Value, added, of
from serving.models import Catalogue, Published

__all__ = ["Load", "Meters"]

Version = tuple[str, str]


class Load(NamedTuple):
    """What a lane has to do."""

    waiting: int
    """Requests that wait for their batch."""
    batches: int
    """Batches under way."""


class Meters:
    """The meters of a process, made as they are needed."""

    def __init__(self, find: Find, *, worker: str = "1") -> None:
        """`find` finds a model as `serving.models.Models` does."""
        self._find, self._worker = find, worker
        self._lanes: dict[Version, LaneMeter] = {}
        self._calls: dict[str, CallMeter] = {}

    def lane(self, bundle: Bundle) -> LaneMeter:
        """That of one version."""
        version = bundle.manifest.name, bundle.manifest.version
        meter = self._lanes.get(version)
        if meter is None or meter.bundle.plan is not bundle.plan:
            meter = self._lanes[version] = LaneMeter(bundle)
        return meter

    def call(self, name: str) -> CallMeter:
        """That of one call."""
        if name not in self._calls:
            self._calls[name] = CallMeter(name, self._find)
        return self._calls[name]

    def settle(self) -> None:
        """Count what was kept to be counted later."""
        for lane in self._lanes.values():
            lane.settle()
        for call in self._calls.values():
            call.settle()

    def samples(self, catalogue: Catalogue, published: Iterable[Published], loads: Mapping[Version, Load]) -> Samples:
        """Everything counted so far, and how things are now; what is no longer served is forgotten."""
        self._keep(catalogue)
        parts = [_state(catalogue, published, loads), process_samples(self._worker)]
        lanes = [lane.samples() for lane in self._lanes.values()]
        calls = [call.samples() for call in self._calls.values()]
        return added(of(part) for part in (*lanes, *calls, *parts))

    def _keep(self, catalogue: Catalogue) -> None:
        """A meter for every version that is served, from its first moment on: a count that begins at 1 has no rate."""
        self._lanes = {version: self.lane(bundle) for version, bundle in catalogue.bundles.items()}
        for call in self._calls.values():
            call.keep(catalogue.bundles)


def _state(
    catalogue: Catalogue, published: Iterable[Published], loads: Mapping[Version, Load]
) -> Iterator[tuple[str, Key, Value]]:
    yield "lockstep_ready", (), float(bool(catalogue.bundles))
    yield "lockstep_workers", (), 1.0
    yield "lockstep_build_info", (__version__, platform.python_version()), 1.0
    for version, bundle in catalogue.bundles.items():
        load = loads.get(version, Load(0, 0))
        yield "lockstep_queue_requests", version, float(load.waiting)
        yield "lockstep_batches_in_flight", version, float(load.batches)
        yield "lockstep_model_info", (*version, bundle.manifest.kind), 1.0
        yield "lockstep_model_created_timestamp_seconds", version, bundle.manifest.created_us / 1e6
    for (name, alias), pointed in catalogue.aliases.items():
        yield "lockstep_model_alias_info", (name, pointed, alias), 1.0
    for one in published:
        if one.why_not:
            yield "lockstep_model_refused_info", (one.name, one.version), 1.0
