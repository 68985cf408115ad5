"""All that one serving process counts."""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

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
        self._lanes: dict[int, LaneMeter] = {}
        """By identity of the plan: a version has several where callers send features."""
        self._before: dict[Version, Samples] = {}
        """What lanes counted that are no more, by version."""
        self._calls: dict[str, CallMeter] = {}

    def lane(self, bundle: Bundle) -> LaneMeter:
        """That of one plan of one version."""
        meter = self._lanes.get(id(bundle.plan))
        if meter is None:
            meter = self._lanes[id(bundle.plan)] = self._new_lane(bundle)
        return meter

    def no_more(self, bundle: Bundle) -> None:
        """The lane of this plan is no more: of its meter the counts alone are kept."""
        meter = self._lanes.pop(id(bundle.plan), None)
        if meter is not None:
            before = self._before.get(_version(bundle), {})
            self._before[_version(bundle)] = added([before, of(meter.samples())])

    def call(self, name: str) -> CallMeter:
        """That of one call."""
        if name not in self._calls:
            self._calls[name] = self._new_call(name)
        return self._calls[name]

    def around(self, name: str, handle: Callable[..., Any], *, streams: bool) -> Callable[..., Any]:
        """The method of a service with what has to be done before it; here nothing. `name` is service/method."""
        return handle

    def _new_lane(self, bundle: Bundle) -> LaneMeter:
        return LaneMeter(bundle)

    def _new_call(self, name: str) -> CallMeter:
        return CallMeter(name, self._find)

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
        return added([*self._before.values(), *(of(part) for part in (*lanes, *calls, *parts))])

    def _keep(self, catalogue: Catalogue) -> None:
        """A meter for every version that is served, from its first moment on: a count that begins at 1 has no rate."""
        served = catalogue.bundles
        self._lanes = {plan: meter for plan, meter in self._lanes.items() if _version(meter.bundle) in served}
        self._before = {version: counted for version, counted in self._before.items() if version in served}
        for bundle in served.values():
            self.lane(bundle)
        for call in self._calls.values():
            call.keep(catalogue.bundles)


def _version(bundle: Bundle) -> Version:
    return bundle.manifest.name, bundle.manifest.version


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
