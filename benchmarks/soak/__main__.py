"""The scorer under mixed load for a long time, while what it stands on changes.

    python -m benchmarks.soak [--json] [--minutes N] [--quick] [--home FOLDER] [--picture FILE]

`lockstep serve` with two workers answers single calls, calls of a hundred candidates, calls by the Open Inference
Protocol and streams, at fixed rates far below its peak (load.py), each within half a second. Meanwhile the model is
published again and promoted, all rows are materialized again, Redis is slow, frozen, reset and partly corrupt for
moments (changes.py); no process is killed, so that what each takes can be followed.

Every row's score is compared: `wrong` is one that neither the row with all its views nor the row without any of them
may have. `failed`: an error; `late`: an answer after the deadline, or none. `leak_mb_per_hour` is the median slope of
the resident memory of all its processes, added up, between any two looks after the warm-up, the first quarter of the
time; `descriptors_per_hour` the same of their descriptors; `p99_drift` the p99 of single calls in the last third of
what follows the warm-up over that in its first third. `memory_mb` counts once what the processes share.
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.command import home_at, parser, tell
from benchmarks.faults.expected import columns_of, expected
from benchmarks.faults.grounds import on_ground
from benchmarks.faults.rows import copy_of
from benchmarks.faults.scorer import Scorer
from benchmarks.patterns.rows import Rows
from benchmarks.patterns.served import inferring
from benchmarks.predict.asked import CANDIDATES, draw
from benchmarks.predict.data import MODEL, SEED, Data, Size, environment, opened
from benchmarks.soak.changes import Changes
from benchmarks.soak.figures import Soaked
from benchmarks.soak.load import Known, Slot, mixed
from benchmarks.soak.picture import draw as draw_picture
from benchmarks.soak.watched import Taken, taken
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.progress import bar
from lockstep.redis_where import RedisType

__all__ = ["QUICK", "Scope", "main", "measure"]

FULL: Final = Size(clicks=100_000, days=4)
SETTINGS: Final = {"LOCKSTEP_SERVE_METRICS_PORT": "0"}


@dataclass(frozen=True)
class Scope:
    """How much, and for how long."""

    size: Size = FULL
    minutes: float = 10.0
    slot_s: float = 5.0
    """Between two looks at what is taken; latencies are told of such stretches."""
    change_s: float = 10.0
    """Between two changes."""
    singles: int = 300
    hundreds: int = 10
    """How many different requests."""


QUICK: Final = Scope(Size(clicks=20_000, days=3), minutes=0.2, slot_s=1.0, change_s=1.2, singles=30, hundreds=2)
"""Whether it works."""


def measure(home: Home, scope: Scope, picture: Path | None = None) -> dict[str, Any]:
    """All figures. Raises ValueError where the requests cannot be drawn, RuntimeError where a materialize fails."""
    with opened(home, scope.size) as data:
        keys = copy_of(data.redis_url)
        with on_ground(RedisType.REDIS, home.root / "soak-redis", keys) as ground:
            env = {**environment(home, data.redis_url), **SETTINGS, **ground.env}
            with (
                Scorer(home, env, "soak").running() as scorer,
                closing(Changes(ground, data, scope.change_s)) as changes,
            ):
                soaked = _soaked(scorer, _known(data, scorer.address, scope), changes, scope)
    if picture is not None:
        draw_picture(picture, soaked, changes.times, f"{scope.minutes:g} minutes of mixed load")
    return {**soaked.summary(), "changes": dict(changes.done)}


def _known(data: Data, address: str, scope: Scope) -> dict[str, Known]:
    """The requests by kind, and what their rows may score."""
    one = draw(data, address, scope.singles, 1, SEED).requests
    hundred = draw(data, address, scope.hundreds, CANDIDATES, SEED).requests
    singles, hundreds = ([_allowed(data, request) for request in some] for some in (one, hundred))
    oip = [inferring(Rows(columns_of([request]), data.moment_us)) for request in one]
    return {
        "one": Known(one, singles),
        "stream": Known(one, singles),
        "oip": Known(oip, singles),
        "hundred": Known(hundred, hundreds),
    }


def _allowed(data: Data, request: bytes) -> Any:
    """What the rows of a request may score. Shape (ways, rows)."""
    right = expected(ModelStore(data.home.models).load(MODEL), data.redis_url, [request], data.moment_us)
    prior = np.full((1, right.by_loss.shape[1]), right.prior)
    return np.concatenate([right.by_loss, prior])


def _soaked(scorer: Scorer, known: dict[str, Known], changes: Changes, scope: Scope) -> Soaked:
    """Let time pass."""
    seconds, slots, looks = scope.minutes * 60, list[Slot](), list[Taken]()
    with (
        bar("soak", int(seconds)) as done,
        mixed(scorer.address, known, seconds, scope.slot_s) as pipe,
    ):
        begun = time.monotonic()
        for slot in _slots(pipe, lambda: changes.at(time.monotonic() - begun), until_s=begun + seconds):
            slots.append(slot)
            looks.append(taken(scorer.side.process, time.monotonic() - begun))
            done(int(scope.slot_s))
    return Soaked(slots, looks)


def _slots(pipe: "Pipe[Any, Any]", meanwhile: Any, until_s: float) -> Iterator[Slot]:
    """What the load tells; `meanwhile` is called between two words of it."""
    while True:
        if pipe.poll(0.2):
            slot = pipe.recv()
            if slot is None:
                return
            yield slot
        if time.monotonic() < until_s:
            meanwhile()


def sentences(figures: dict[str, Any]) -> Iterator[str]:
    """The figures to read."""
    calls = ", ".join(f"{count:,} {kind}" for kind, count in figures["by_kind"].items())
    yield f"{figures['requests']:,} answers in {figures['minutes']:g} minutes ({calls})"
    yield ", ".join(f"{count} of {kind}" for kind, count in figures["changes"].items()) + " meanwhile"
    yield f"failed {figures['failed']}, late {figures['late']}, wrong {figures['wrong']}"
    yield f"memory {figures['memory_mb']:g} MB, {figures['leak_mb_per_hour']:+g} MB an hour"
    yield f"descriptors {figures['descriptors']}, {figures['descriptors_per_hour']:+g} an hour"
    yield f"p99 {figures['p99_ms'].get('one')} ms, at the end {figures['p99_drift']} times that of the begin"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    made = parser("benchmarks.soak", "The scorer for a long time.")
    made.add_argument("--minutes", type=_minutes, help=f"how long (default: {Scope().minutes:g})")
    made.add_argument("--quick", action="store_true", help="some seconds on a small log: whether it works")
    made.add_argument("--picture", type=Path, metavar="FILE", help="memory, descriptors and latency over time, a PNG")
    return made


def _minutes(text: str) -> float:
    """Raises argparse.ArgumentTypeError for what is too short to say anything."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not QUICK.minutes <= minutes < 7 * 24 * 60:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes from {QUICK.minutes:g} on")
    return minutes


def main() -> None:
    """Measure, and print the figures."""
    given = arguments().parse_args()
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    scope = QUICK if given.quick else Scope()
    if given.minutes:
        scope = replace(scope, minutes=given.minutes)
    with home_at(given.home) as home:
        figures = measure(home, scope, given.picture)
    tell(figures, ("grpcio", "onnxruntime", "numpy", "uvloop"), sentences, as_json=given.json)


if __name__ == "__main__":
    main()
