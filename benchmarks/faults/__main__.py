"""The scorer under load while its surroundings fail, one thing after the other.

    python -m benchmarks.faults [--json] [--quick] [--home FOLDER] [--faults NAME,…] [--picture FILE]

`lockstep serve` with two workers answers calls of one row that leave at fixed times, at half of its peak rate, on four
connections, each with a deadline of half a second. Between it and its Redis stands a proxy of ours (proxy.py). Around
each fault (faults.py) calls go on for a while before and after; what is taken from Redis is brought back as it was.

Every answer is compared: it must be the score of the row with all its views, or that score with the plan's defaults in
the place of those views that its rung says were lost; anything else is `wrong`. `late`: not answered within the
deadline; `failed`: an error, or a connection that broke, but for the calls that a killed worker held and those refused
while three times the peak came in. `recovery_s`: from the end of the fault to the first half second whose calls are
answered as before. A fault is survived where nothing is wrong, late or failed, and recovery takes 2 s at most.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.expected import Expected, expected
from benchmarks.faults.faults import FAULTS, Fault, Surroundings
from benchmarks.faults.figures import Outcome, totals
from benchmarks.faults.load import Caller, caller
from benchmarks.faults.picture import draw as draw_timeline
from benchmarks.faults.proxy import Proxy, proxy
from benchmarks.faults.store import Store, copy_of, store
from benchmarks.machine import facts
from benchmarks.predict.asked import draw
from benchmarks.predict.data import MODEL, SEED, Data, Size, environment, opened
from benchmarks.predict.load import PREDICT, Closed, Messages, Target, generator
from benchmarks.predict.sides import LOCKSTEP_READY, Side, started
from lockstep.home import Home
from lockstep.model_store import ModelStore
from lockstep.redis_server import free_port

__all__ = ["FAULT_NAMES", "QUICK", "Scope", "main", "measure"]

FAULT_NAMES: Final = tuple(fault.name for fault in FAULTS)
SETTINGS: Final = {
    "LOCKSTEP_SERVE_MAX_CONNECTION_CALLS": "32",  # at its peak it answers those of four connections in time
    "LOCKSTEP_SERVE_SHARE_PORT": "true",  # another one takes its place
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
    with opened(home, scope.size) as data, ExitStack() as stack:
        redis = stack.enter_context(store(home.root / "faults-redis", copy_of(data.redis_url)))
        between = stack.enter_context(proxy(redis.port))
        scorer = stack.enter_context(_Scorer(data, f"redis://127.0.0.1:{between.port}").running())
        messages = draw(data, scorer.address, scope.requests, 1, SEED)
        bundle = ModelStore(home.models).load(MODEL)
        right = expected(bundle, data.redis_url, messages.requests, data.moment_us)
        peak = _peak(scorer.address, messages, scope.peak_s)
        calls = stack.enter_context(caller(messages.requests))
        run = _Run(scope, scorer, redis, between, ModelStore(home.models), calls, right, peak / 2)
        outcomes = [run.outcome(fault) for fault in FAULTS if fault.name in scope.faults]
    if picture is not None:
        draw_timeline(picture, outcomes, f"Faults under load: {peak / 2:,.0f} calls a second, half of the peak")
    return {**totals(outcomes), "rate": round(peak / 2, 1)}


def _peak(address: str, messages: Messages, seconds: float) -> float:
    with generator({"one": messages}) as load:
        return load.run(Target(address, PREDICT, "one"), Closed(16, seconds)).rate


class _Scorer:
    """`lockstep serve` on one port, and the one that takes its place."""

    def __init__(self, data: Data, redis_url: str) -> None:
        self._data, self._redis_url, self._port = data, redis_url, free_port()
        self._stack, self._starts = ExitStack(), 0
        self.side: Side

    @property
    def address(self) -> str:
        """host:port."""
        return self.side.address

    @contextmanager
    def running(self) -> Iterator["_Scorer"]:
        """Itself, until the block ends."""
        try:
            self.side = self._stack.enter_context(self._started())
            yield self
        finally:
            self._stack.close()

    def replace(self) -> None:
        """Start another one on the port, then let this one drain."""
        before = self._stack.pop_all()
        try:
            self.side = self._stack.enter_context(self._started())
        finally:
            before.close()

    def _started(self) -> Any:
        command = [
            str(Path(sys.executable).with_name("lockstep")),
            "serve",
            "--port",
            str(self._port),
            "--workers",
            "2",
        ]
        home = self._data.home
        env = {**environment(home, self._redis_url), **SETTINGS}
        self._starts += 1
        return started(command, env, home.root / f"faults-{self._starts}.log", LOCKSTEP_READY)


@dataclass
class _Run:
    """All faults, one after the other."""

    scope: Scope
    scorer: _Scorer
    redis: Store
    between: Proxy
    models: ModelStore
    calls: Caller
    right: Expected
    rate: float

    def outcome(self, fault: Fault) -> Outcome:
        """Do it, and undo it, while calls go on."""
        around = Surroundings(self.redis, self.between, self.models, self.scorer.side, self.scorer.replace)
        start_s = time.monotonic() + 0.1
        begin_s = start_s + self.scope.before_s
        self.calls.begin(self.scorer.address, self._due(fault, start_s), fault_seed(fault))
        _wait_until(begin_s)
        fault.begin(around)
        _wait_until(begin_s + fault.seconds)
        fault.end(around)
        ended_s = time.monotonic() if fault.lasts else begin_s
        outcome = Outcome.of(fault, self.calls.end(), begin_s, ended_s, self.right)
        print(json.dumps(outcome.summary()), file=sys.stderr, flush=True)
        return outcome

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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="The scorer while things fail.")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--quick", action="store_true", help="two faults on a small log: whether it works")
    parser.add_argument("--home", type=Path, help="keep data and model here and use them again (default: none is kept)")
    parser.add_argument("--picture", type=Path, default=Path("faults.png"), help="the timeline, a PNG")
    parser.add_argument("--faults", type=_names, metavar="NAME,…", help=f"only these of {', '.join(FAULT_NAMES)}")
    return parser


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
    with nullcontext(given.home) if given.home else TemporaryDirectory(prefix="faults-") as folder:
        figures = measure(Home(Path(folder).absolute()), scope, given.picture)
    figures["machine"] = facts("grpcio", "onnxruntime", "numpy", "uvloop")
    if not given.json:
        print("\n".join(sentences(figures)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
