"""Every metric that a serving process exports: one table. docs/metrics.md is made of it.

Names follow https://prometheus.io/docs/practices/naming/: base units, plural, `_total` behind what only grows.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

__all__ = ["FAMILIES", "MILLISECONDS", "ROWS", "Dropped", "Family", "Kind", "Stage"]


class Kind(StrEnum):
    """What Prometheus calls a metric's type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Stage(IntEnum):
    """What a request goes through, in order. The stages do not overlap."""

    QUEUE = 0
    """From its arrival in the lane to the start of its batch."""
    CHECK = 1
    """Its columns are laid beside those of the batch, and checked."""
    READ = 2
    """The online store is asked and answers."""
    DECODE = 3
    """Keys are made, and the rows found are turned into columns; 0 where a reader does not tell it from READ."""
    TRANSFORM = 4
    """Values, defaults and NULLs are decided, and the plan's functions run."""
    MODEL = 5
    """The model runs."""
    ANSWER = 6
    """The scores are handed to the requests of the batch."""
    ENCODE = 7
    """The reply is written."""

    @property
    def label(self) -> str:
        """As a label says it."""
        return self.name.lower()


class Dropped(StrEnum):
    """Why a request was not scored."""

    OVERLOAD = "overload"
    """There was no room for it, or it would have been answered too late: RESOURCE_EXHAUSTED."""
    GONE = "gone"
    """Its caller had left, or its deadline had passed, before its batch began."""


MILLISECONDS: Final = (
    *(0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_2, 0.000_35, 0.000_5, 0.000_75),
    *(0.001, 0.001_5, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
"""Upper bounds in seconds, closest together from 50 µs to 10 ms, where a scorer works or does not."""
ROWS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0)
REQUESTS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
AGES: Final = (
    *(1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 10_800.0, 21_600.0, 43_200.0),
    *(86_400.0, 172_800.0, 604_800.0, 2_592_000.0),
)
"""Seconds, from one to 30 days."""

_VERSION = ("model", "version")


@dataclass(frozen=True)
class Family:
    """One metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, without the last, which is infinite."""
    largest: bool = False
    """Over several workers the largest value counts, not the sum: what is true of one is true of all."""


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str, largest: bool = False) -> Family:
    return Family(name, Kind.GAUGE, text, labels, largest=largest)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, text, labels, buckets)


_ALL = (
    _counter(
        "lockstep_requests_total",
        "Requests that were answered or failed, by gRPC status; CANCELLED: the caller left, or its deadline passed.",
        *("call", *_VERSION, "code"),
    ),
    _histogram(
        "lockstep_request_duration_seconds",
        "Time from a request's message to its reply, of those that were answered with scores or features.",
        *(MILLISECONDS, "call", *_VERSION),
    ),
    _histogram(
        "lockstep_stage_duration_seconds",
        "Time in one stage: per request in queue and encode, per batch in the others.",
        *(MILLISECONDS, "stage", *_VERSION),
    ),
    _counter("lockstep_requests_dropped_total", "Requests dropped before they cost anything.", *_VERSION, "reason"),
    _counter("lockstep_rows_total", "Rows scored, by their rung of the fallback ladder.", *_VERSION, "rung"),
    _histogram("lockstep_request_rows", "Rows of a request.", ROWS, *_VERSION),
    _histogram("lockstep_batch_rows", "Rows that shared one read and one run of the model.", ROWS, *_VERSION),
    _histogram("lockstep_batch_requests", "Requests that shared them.", REQUESTS, *_VERSION),
    _counter(
        "lockstep_feature_values_total",
        "Stored feature values that were asked for, by what was found.",
        *(*_VERSION, "view", "status"),
    ),
    _counter(
        "lockstep_feature_defaults_total",
        "Stored feature values in whose place the plan's default was used.",
        *(*_VERSION, "view"),
    ),
    _histogram(
        "lockstep_feature_age_seconds",
        "Age at t of the stored rows that were found, stale ones included.",
        *(AGES, *_VERSION, "view"),
    ),
    _gauge("lockstep_queue_requests", "Requests that wait for their batch.", *_VERSION),
    _gauge("lockstep_batches_in_flight", "Batches under way.", *_VERSION),
    _gauge("lockstep_redis_down", "1 while a Redis server does not answer and is not asked.", "node", largest=True),
    _counter(
        "lockstep_redis_failures_total",
        "How often a Redis server left reads unanswered, broke a connection off or could not be reached.",
        "node",
    ),
    _gauge("lockstep_ready", "1 while at least one model can be asked, 0 otherwise.", largest=True),
    _gauge("lockstep_model_info", "1 for every version that is loaded.", *_VERSION, "kind", largest=True),
    _gauge(
        "lockstep_model_alias_info", "1 for every alias and the version it means.", *_VERSION, "alias", largest=True
    ),
    _gauge("lockstep_model_created_timestamp_seconds", "When a loaded version was trained.", *_VERSION, largest=True),
    _gauge(
        "lockstep_model_refused_info",
        "1 for every published version that this server refuses to load; /readyz says why.",
        *_VERSION,
        largest=True,
    ),
    _gauge("lockstep_workers", "Serving processes that are ready."),
    _counter("lockstep_worker_restarts_total", "Serving processes that ended and were replaced."),
    _gauge("lockstep_build_info", "1, with the version of Lockstep.", "lockstep", "python", largest=True),
    _counter("process_cpu_seconds_total", "CPU time of a serving process, user and system.", "worker"),
    _gauge("process_resident_memory_bytes", "Resident memory of a serving process.", "worker"),
    _gauge("process_start_time_seconds", "When a serving process started, since 1970-01-01 UTC.", "worker"),
)

FAMILIES: Final = {family.name: family for family in _ALL}
"""By name, in the order in which they are exported."""
