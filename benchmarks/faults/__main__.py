"""The scorer under load while its surroundings fail, one thing after the other.

    python -m benchmarks.faults [--json] [--quick] [--home FOLDER] [--faults NAME,…] [--picture FILE]

`lockstep serve` with two workers answers calls of one row that leave at fixed times, at half of its peak rate, on four
connections, each with a deadline of half a second. Between it and its Redis stands a proxy of ours (proxy.py). A
node is lost to a scorer on a cluster, a master to one that asks a Sentinel (grounds.py). Around each fault (faults.py)
calls go on for a while before and after; what is taken from Redis is brought back as it was.

Every answer is compared: it must be the score of the row with all its views, or that score with the plan's defaults in
the place of those views that its rung says were lost; anything else is `wrong`. `late`: not answered within the
deadline, when the client gives the call up; `failed`: an error, or a connection that broke, but for the calls that a
killed worker held and those refused or given up while three times the peak came in, as long as no fewer are answered in
time than before. `recovery_s`: from the end of the fault to the first half second whose calls are answered as before. A
fault is survived where nothing is wrong, late or failed, and recovery takes 2 s at most.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.command import home_at, parser, tell
from benchmarks.faults.expected import Expected, expected
from benchmarks.faults.faults import FAULTS, Fault, Surroundings
from benchmarks.faults.figures import Outcome, totals
from benchmarks.faults.grounds import Ground, on_ground
from benchmarks.faults.load import Caller, caller
from benchmarks.faults.picture import draw as draw_timeline
from benchmarks.faults.rows import copy_of
from benchmarks.faults.scorer import Scorer
from benchmarks.predict.asked import draw
from benchmarks.predict.data import MODEL, SEED, Data, Size, environment, opened
from benchmarks.predict.load import PREDICT, Closed, Messages, Target, generator
from lockstep.home import Home
from lockstep.model_store import ModelStore

__all__ = ["FAULT_NAMES", "QUICK", "Scope", "main", "measure"]

FAULT_NAMES: Final = tuple(fault.name for fault in FAULTS)
SETTINGS: Final = {
    "LOCKSTEP_SERVE_MAX_CONNECTION_CALLS": "32",  # at its peak it answers those of four connections in time
    "LOCKSTEP_SERVE_POLL_S": "0.5",  # so that none of the models that are pushed is skipped
    "LOCKSTEP_SERVE_METRICS": "false",
}


FULL: Final = Size(clicks=100_000, days=4)


@dataclass(frozen=True)
class Scope:
    """What is done, and for how long."""

    size: Size = FULL
    faults: Sequence[str] = FAULT_NAMES
    requests: int = 300
    """How many different ones."""
    peak_s: float = 5.0
    before_s: float = 1.0
    after_s: float = 4.0


QUICK: Final = Scope(
    Size(clicks=20_000, days=3),
    faults=("redis killed", "connections never answered"),
    requests=50,
    peak_s=1.0,
    before_s=0.5,
    after_s=3.0,
)
"""Whether it works."""


def measure(home: Home, scope: Scope, picture: Path | None = None) -> dict[str, Any]:
    """All figures. Raises ValueError where the requests cannot be drawn."""
    outcomes: list[Outcome] = []
    rates: list[float] = []
    with opened(home, scope.size) as data:
        keys = copy_of(data.redis_url)
        for kind in dict.fromkeys(fault.ground for fault in FAULTS if fault.name in scope.faults):
            with on_ground(kind, home.root / f"faults-{kind}", keys) as ground, _running(ground, data, scope) as run:
                rates.append(run.rate)
                outcomes += [run.outcome(one) for one in FAULTS if one.name in scope.faults and one.ground is kind]
    if picture is not None:
        draw_timeline(picture, outcomes, f"Faults under load: {rates[0]:,.0f} calls a second, half of the peak")
    return {**totals(outcomes), "rate": round(rates[0], 1)}


@contextmanager
def _running(ground: Ground, data: Data, scope: Scope) -> Iterator["_Run"]:
    """A scorer on that ground, whose peak is known, and who calls it."""
    models = ModelStore(data.home.models)
    env = {**environment(data.home, data.redis_url), **SETTINGS, **ground.env}
    with Scorer(data.home, env).running() as scorer:
        messages = draw(data, scorer.address, scope.requests, 1, SEED)
        right = expected(models.load(MODEL), data.redis_url, messages.requests, data.moment_us)
        peak = _peak(scorer.address, messages, scope.peak_s)
        with caller(messages.requests) as calls:
            yield _Run(scope, scorer, ground, data, models, calls, right, peak / 2)


def _peak(address: str, messages: Messages, seconds: float) -> float:
    with generator({"one": messages}) as load:
        return load.run(Target(address, PREDICT, "one"), Closed(16, seconds)).rate


@dataclass
class _Run:
    """All faults, one after the other."""

    scope: Scope
    scorer: Scorer
    ground: Ground
    data: Data
    models: ModelStore
    calls: Caller
    right: Expected
    rate: float

    def outcome(self, fault: Fault) -> Outcome:
        """Do it, and undo it, while calls go on."""
        with ExitStack() as stack:
            side = self.scorer.side
            around = Surroundings(self.ground, self.data, self.models, side, self.scorer.replace, stack)
            fault.prepare(around)
            outcome = self._done(fault, around)
        print(json.dumps(outcome.summary()), file=sys.stderr, flush=True)
        return outcome

    def _done(self, fault: Fault, around: Surroundings) -> Outcome:
        start_s = time.monotonic() + 0.1
        begin_s = start_s + self.scope.before_s
        self.calls.begin(self.scorer.address, self._due(fault, start_s), fault_seed(fault))
        _wait_until(begin_s)
        fault.begin(around)
        _wait_until(begin_s + fault.seconds)
        fault.end(around)
        ended_s = time.monotonic() if fault.lasts else begin_s
        return Outcome.of(fault, self.calls.end(), begin_s, ended_s, self.right)

    def _due(self, fault: Fault, start_s: float) -> NDArray[np.float64]:
        """When calls leave: by `time.monotonic`. What ends a fault may take a while, the calls after it go on."""
        scope, rate = self.scope, self.rate
        parts = [(scope.before_s, rate), (fault.seconds, rate * fault.load), (fault.ending_s + scope.after_s, rate)]
        due, at = [], start_s
        for seconds, each in parts:
            due.append(at + np.arange(0, seconds, 1 / each))
            at += seconds
        return np.concatenate(due)


def fault_seed(fault: Fault) -> int:
    """The request with which its calls begin."""
    return 37 * FAULT_NAMES.index(fault.name)


def _wait_until(moment_s: float) -> None:
    time.sleep(max(moment_s - time.monotonic(), 0.0))


def sentences(figures: dict[str, Any]) -> Iterator[str]:
    """The figures as a table to read."""
    yield f"{'fault':28} {'calls':>7} {'in time':>7} {'late':>5} {'failed':>6} {'wrong':>5} {'recovery':>8}  rungs"
    for one in figures["each"]:
        recovery = "never" if one["recovery_s"] is None else f"{one['recovery_s']:.1f} s"
        rungs = ", ".join(f"{count:,} {rung}" for rung, count in one["rungs"].items() if count)
        counts = (
            f"{one['requests']:7,} {one['answered_in_time']:7,} {one['late']:5,} {one['failed']:6,} {one['wrong']:5,}"
        )
        yield f"{one['fault']:28} {counts} {recovery:>8}  {rungs}"
    yield f"{figures['survived']} of {figures['faults']} faults survived at {figures['rate']:,.0f} calls a second"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    made = parser("benchmarks.faults", "The scorer while things fail.")
    made.add_argument("--quick", action="store_true", help="two faults on a small log: whether it works")
    made.add_argument("--picture", type=Path, default=Path("faults.png"), help="the timeline, a PNG")
    made.add_argument("--faults", type=_names, metavar="NAME,…", help=f"only these of {', '.join(FAULT_NAMES)}")
    return made


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them. Raises argparse.ArgumentTypeError for one that there is not."""
    names = tuple(text.split(","))
    for name in names:
        if name not in FAULT_NAMES:
            raise argparse.ArgumentTypeError(f"there is no {name!r}; the names are {', '.join(FAULT_NAMES)}")
    return names


def main() -> None:
    """Measure, and print the figures."""
    given = arguments().parse_args()
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    scope = QUICK if given.quick else Scope()
    if given.faults:
        scope = replace(scope, faults=given.faults)
    with home_at(given.home) as home:
        figures = measure(home, scope, given.picture)
    tell(figures, ("grpcio", "onnxruntime", "numpy", "uvloop"), sentences, as_json=given.json)


if __name__ == "__main__":
    main()
