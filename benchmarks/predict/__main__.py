"""From keys to scores over gRPC: the scorer beside what a user would take instead, and a bare echo.

    python -m benchmarks.predict [--json] [--quick] [--home FOLDER] [--loads LOAD,…] [--sides SIDE,…]

Sides, each a process of its own, on one machine, Redis, model and set of rows:

- `ours`: `lockstep serve`, one worker; `two_workers`: with two, each on a core that the others use too.
- `feast`: a service on Feast's SDK and scikit-learn (peers/feast_sklearn.py).
- `stock`: the best that stock parts allow, Feast's SDK on asyncio and ONNX Runtime (peers/best_stock.py).
- `echo`: the floor, a grpc.aio server that takes and sends the same bytes and does nothing else (peers/echo.py).
- `mlserver`: MLServer in an environment of its own (carried.py), for calls that carry all features; and `carried`, the
  scorer with the same model, whose plan then takes every feature from the request.

The peers read Feast's own Redis store and the scorer packed rows, in one Redis, filled from the same tables. The rows
are drawn from the click log. Every side answers every request once before anything is timed, and every answer of every
round is compared too; one that is missing or |Δp| > 1e-6 away ends the run.

The load (load.py) is the same for all sides: `unary_N` has N callers with a row a call, `hundred_8` 8 callers with a
hundred candidates, `hundred_16` 16 of them on 8 connections, which the system spreads over the workers, `stream` 4
streams with 64 requests each on the way, `open` calls at half of the scorer's peak rate, `open_8` at half of what eight
callers reach, which is less, `carried_8` 8 callers by the Open Inference Protocol. A rate is that of the answers within
the round, a CPU time user and system time of the server's process tree for each answer. The sides take turns; ratios
are of turns in the same round, and their median counts.

`p99_over_echo` compares the 99th percentiles of `open`. Half of the scorer's peak can be more than the echo has room
for beside the generator, and its p99 says nothing then: `p99_over_echo_8` compares those of `open_8`. `cold_start_s` is
the time from the start of the process to the first score, `worker_mb` its resident memory after all that load.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.command import home_at, parser, tell
from benchmarks.predict.asked import CANDIDATES, ask, draw
from benchmarks.predict.carried import carrying, mlserver, publish
from benchmarks.predict.data import SEED, Data, Size, opened
from benchmarks.predict.figures import headline, sentences
from benchmarks.predict.load import INFER, PREDICT, STREAM, Closed, Messages, Open, Streams, generator, scores_of
from benchmarks.predict.rounds import Load, Measured, Rounds
from benchmarks.predict.sides import Side, cold_start_s, lockstep, peer
from lockstep.home import Home

__all__ = ["QUICK", "SIDES", "Scope", "main", "measure"]

ONE, HUNDRED, ECHO, ALL_FEATURES = "one", "hundred", "echo", "all_features"
ROWS: Final = {ONE: 1, HUNDRED: CANDIDATES}
"""Of a request."""
SAME: Final = 1e-6

UNARY, OPEN = "unary_", "open"
OPENS: Final = {OPEN: UNARY, "open_8": f"{UNARY}8"}
"""By open loop the closed ones, by the begin of their names, at half of whose highest rate its calls leave."""

_EACH: Final = {"ours": ONE, "echo": ECHO, "feast": ONE, "stock": ONE}
SIDES: Final = (*_EACH, "two_workers", "carried", "mlserver")
LOADS: Final = (
    Load("unary_8", PREDICT, _EACH, partial(Closed, 8), 4, 5),
    Load("unary_1", PREDICT, _EACH, partial(Closed, 1), 2, 3),
    Load("unary_32", PREDICT, _EACH, partial(Closed, 32), 2, 3),
    Load("hundred_8", PREDICT, dict.fromkeys(("ours", "feast", "stock"), HUNDRED), partial(Closed, 8), 4, 5),
    Load("hundred_16", PREDICT, {"two_workers": HUNDRED}, partial(Closed, 16, connections=8), 4, 5),
    Load("stream", STREAM, {"ours": ONE, "echo": ECHO}, partial(Streams, 4, 64), 3, 5),
    Load(OPEN, PREDICT, {"ours": ONE, "echo": ECHO}, partial(Open, 0.0), 5, 5),
    Load("open_8", PREDICT, {"ours": ONE, "echo": ECHO}, partial(Open, 0.0), 5, 5),
    Load("carried_8", INFER, dict.fromkeys(("carried", "mlserver"), ALL_FEATURES), partial(Closed, 8), 3, 5),
)

FULL: Final = Size(clicks=100_000, days=4)
LOAD_NAMES: Final = tuple(load.name for load in LOADS)
ANSWERING: Final = {
    "feast": (PREDICT, (ONE, HUNDRED)),
    "stock": (PREDICT, (ONE, HUNDRED)),
    "two_workers": (PREDICT, (HUNDRED,)),
    "carried": (INFER, (ALL_FEATURES,)),
    "mlserver": (INFER, (ALL_FEATURES,)),
}
"""What is compared of each side: the method and the sets of messages."""


@dataclass(frozen=True)
class Scope:
    """What is measured, and for how long."""

    size: Size = FULL
    loads: Sequence[str] = LOAD_NAMES
    sides: Sequence[str] = SIDES
    requests: Mapping[str, int] = field(default_factory=lambda: {ONE: 500, HUNDRED: 60})
    """How many different ones."""
    cold_starts: int = 5
    seconds: float | None = None
    """Of a turn; None: as each load says. Then there is one round of each."""

    def wanted(self) -> list[Load]:
        """The loads that have a side which is wanted, on these."""
        every = [self._short(load) for load in LOADS if load.name in self.loads]
        return [load for load in every if load.kinds]

    def _short(self, load: Load) -> Load:
        kinds = {side: kind for side, kind in load.kinds.items() if side in self.sides}
        if self.seconds is None:
            return replace(load, kinds=kinds)
        return replace(load, kinds=kinds, seconds=self.seconds, rounds=1)


QUICK: Final = Scope(
    Size(clicks=20_000, days=3),
    sides=(*_EACH, "two_workers", "carried"),
    requests={ONE: 100, HUNDRED: 20},
    cold_starts=1,
    seconds=0.4,
)
"""Whether it works, not how fast. Without MLServer, which would first have to be installed."""


def measure(home: Home, scope: Scope) -> dict[str, Any]:
    """All figures. Raises ValueError where an answer is missing or two sides score a row differently."""
    with opened(home, scope.size) as data, lockstep(data) as ours:
        asked = requests(data, scope, ours.address)
        with peers(data, scope.sides, ours, asked) as sides, generator(asked) as load:
            rows, largest = compare(sides, asked)
            found = run(Rounds(load, sides), scope)
        worker_mb = round(ours.memory_mb(), 1)
        cold = [cold_start_s(data, asked[ONE].requests[0]) for _ in range(scope.cold_starts)]
    return {
        **headline(found),
        "cold_start_s": round(median(cold), 3),
        "worker_mb": worker_mb,
        "rows_compared": rows,
        "max_difference": largest,
        "loads": {name: each.summary() for name, each in found.items()},
        "cold_starts_s": [round(one, 3) for one in cold],
    }


def requests(data: Data, scope: Scope, address: str) -> dict[str, Messages]:
    """All sets of messages, with the scores of the scorer at this address."""
    asked = {kind: draw(data, address, count, ROWS[kind], SEED) for kind, count in scope.requests.items()}
    asked[ECHO] = Messages(asked[ONE].requests, None)
    asked[ALL_FEATURES] = carrying(data, address, asked[ONE])
    return asked


@contextmanager
def peers(data: Data, names: Sequence[str], ours: Side, asked: Mapping[str, Messages]) -> Iterator[dict[str, Side]]:
    """The scorer, which is running, and of the other sides those of these names."""
    (reply,) = ask(ours.address, PREDICT, asked[ONE].requests[:1])
    starts: dict[str, Callable[[], AbstractContextManager[Side]]] = {
        "echo": partial(peer, data, "echo", reply.hex()),
        "feast": partial(peer, data, "feast_sklearn"),
        "stock": partial(peer, data, "best_stock"),
        "two_workers": partial(lockstep, data, workers=2),
        "carried": lambda: lockstep(data, publish(data)),
        "mlserver": partial(mlserver, data),
    }
    wanted = [name for name in names if name in starts]
    if {"carried", "mlserver"} & set(wanted):
        publish(data)  # both serve it, and both start at once
    with ExitStack() as stack:
        with ThreadPoolExecutor() as threads:  # an import of Feast takes seconds
            entered = list(threads.map(lambda name: stack.enter_context(starts[name]()), wanted))
        yield {"ours": ours, **dict(zip(wanted, entered, strict=True))}


def compare(sides: Mapping[str, Side], asked: Mapping[str, Messages]) -> tuple[int, float]:
    """Ask every side every request once. Returns the rows compared with the scorer's, and the largest |Δp|.

    Raises ValueError where it is too large.
    """
    rows, largest = 0, 0.0
    for name, (method, kinds) in ANSWERING.items():
        for messages in [asked[kind] for kind in kinds if name in sides]:
            assert messages.scores is not None
            for reply, expected in zip(
                ask(sides[name].address, method, messages.requests), messages.scores, strict=True
            ):
                largest = max(largest, float(np.abs(scores_of(method, reply) - expected).max()))
                rows += len(expected)
        if largest > SAME:
            raise ValueError(f"the scores of {name!r} are up to {largest} from the scorer's; at most {SAME} is allowed")
    return rows, largest


def run(rounds: Rounds, scope: Scope) -> dict[str, Measured]:
    """All loads in their order, the open ones at the rates that were found before them."""
    found: dict[str, Measured] = {}
    for load in scope.wanted():
        if load.name in OPENS:
            closed = OPENS[load.name]
            peak = max(each.median("ours", "rate") for name, each in found.items() if name.startswith(closed))
            load = replace(load, order=partial(Open, peak / 2))
        found[load.name] = rounds.run(load)
    return found


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    made = parser("benchmarks.predict", "From keys to scores over gRPC.")
    made.add_argument("--quick", action="store_true", help="one short round of each: whether it works, not how fast")
    made.add_argument(
        "--loads", type=_names(LOAD_NAMES), metavar="LOAD,…", help=f"only these of {','.join(LOAD_NAMES)}"
    )
    made.add_argument("--sides", type=_names(SIDES), metavar="SIDE,…", help=f"only these of {','.join(SIDES)}")
    return made


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads names with commas between them. Raises argparse.ArgumentTypeError for one that is not known."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; the names are {', '.join(known)}")
        return names

    return read


def main() -> None:
    """Measure, and print the figures."""
    command = arguments()
    given = command.parse_args()
    for name, closed in OPENS.items():
        if given.loads and name in given.loads and not any(other.startswith(closed) for other in given.loads):
            command.error(f"the rate of {name!r} is half of what single calls reach; add unary_8 to --loads")
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    chosen = {name: names for name in ("loads", "sides") if (names := getattr(given, name))}
    scope = replace(QUICK if given.quick else Scope(), **chosen)
    with home_at(given.home) as home:
        figures = measure(home, scope)
    tell(
        figures,
        ("feast", "grpcio", "onnxruntime", "scikit-learn", "numpy", "redis", "uvloop"),
        sentences,
        as_json=given.json,
    )


if __name__ == "__main__":
    main()
