"""The faults: what is done to the scorer, for how long, and what is done to end it."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.faults.grounds import Ground
from benchmarks.faults.materialize import Materialize, materialize
from benchmarks.faults.proxy import Mode, Proxy
from benchmarks.faults.store import Store
from benchmarks.faults.topologies import Cluster, Watched
from benchmarks.predict.data import MODEL, Data
from benchmarks.predict.sides import Side
from lockstep.bundle import pack
from lockstep.model_store import ModelStore
from lockstep.redis_where import RedisType

__all__ = ["FAULTS", "Fault", "Surroundings", "push_again"]

CORRUPT: Final = 0.1
PUSHES, PUSHES_APART_S = 20, 0.5
LOST: Final = 0.5
"""Share of the rows that a materialize has to bring back."""
_CAUGHT: Final = 0.1
"""Share of these that are back where the materialize is killed."""
_PATIENCE_S: Final = 120.0


@dataclass
class Surroundings:
    """What the scorer stands on."""

    ground: Ground
    data: Data
    models: ModelStore
    side: Side
    replace_side: Callable[[], None]
    """Start another scorer on the port, and let this one drain."""
    stack: ExitStack
    """Ends what a fault has prepared."""
    fills: Sequence[Materialize] = ()

    @property
    def store(self) -> Store:
        """The only Redis."""
        assert self.ground.one is not None
        return self.ground.one[0]

    @property
    def proxy(self) -> Proxy:
        """What stands before it."""
        assert self.ground.one is not None
        return self.ground.one[1]

    @property
    def nodes(self) -> Cluster | Watched:
        """Where it is more than one server."""
        assert self.ground.many is not None
        return self.ground.many

    @property
    def worker(self) -> psutil.Process:
        """One of the scorer's serving processes."""
        found: psutil.Process = self.side.process.children()[0]
        return found


Act = Callable[[Surroundings], Any]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. `begin` and `end` return when it has gone wrong, and when it is over."""

    name: str
    begin: Act
    end: Act = lambda _: None
    prepare: Act = lambda _: None
    """Before the first call."""
    seconds: float = 2.0
    """Between the two."""
    load: float = 1.0
    """Times the usual rate meanwhile."""
    ending_s: float = 0.0
    """How long `end` may take."""
    lasts: bool = True
    """Whether it is over when `end` has returned, else with `begin`."""
    held: bool = False
    """Whether the calls that a killed process held may be lost."""
    refused: bool = False
    """Whether calls may be refused: more come in than can be answered."""
    ground: RedisType = RedisType.REDIS
    """What it is done to."""


def _kill_redis(around: Surroundings) -> None:
    around.store.kill()


def _start_full(around: Surroundings) -> None:
    around.store.start()
    around.store.fill()


def _restart_empty(around: Surroundings) -> None:
    around.store.kill()
    around.store.start()


def _corrupt(around: Surroundings) -> None:
    around.store.corrupt(CORRUPT, 1)


def _turn(mode: Mode) -> Act:
    return lambda around: around.proxy.turn(mode)


def _push_bad(around: Surroundings) -> None:
    """A version with a broken file, and the alias on it."""
    models, folder = around.models, _folder(around)
    version = str(max(int(one) for one in models.versions(MODEL)) + 1)
    shutil.copytree(folder / models.resolve(MODEL), folder / version)
    (folder / version / "model.onnx").write_bytes(b"not a model")
    models.promote(MODEL, version)


def _pull_bad(around: Surroundings) -> None:
    bad = around.models.resolve(MODEL)
    around.models.rollback(MODEL)
    shutil.rmtree(_folder(around) / bad)


def _folder(around: Surroundings) -> Path:
    return Path(around.models.url) / MODEL


def _push_good(around: Surroundings) -> None:
    """The same model, as many new versions one after the other."""
    for _ in range(PUSHES):
        push_again(around.models)
        time.sleep(PUSHES_APART_S)


def push_again(models: ModelStore) -> str:
    """Publish the champion once more, as the newest version, and promote that; returns its version."""
    bundle = models.load(MODEL)
    files = models.read(MODEL, bundle.manifest.version)
    rest = {name: content for name, content in files.items() if name != "manifest.json"}
    made = models.publish(MODEL, lambda version: pack(replace(bundle.manifest, version=version, files={}), rest))
    models.promote(MODEL, made.manifest.version)
    return made.manifest.version


def _pull_good(around: Surroundings) -> None:
    """Leave the home with the versions that it had."""
    models = around.models
    before, *pushed = models.versions(MODEL)[-PUSHES - 1 :]
    models.promote(MODEL, before)
    for version in pushed:
        shutil.rmtree(_folder(around) / version)


def _prepare_materializes(around: Surroundings) -> None:
    """One to be killed, and the next one."""
    around.fills = [around.stack.enter_context(materialize(around.data, around.store.url)) for _ in range(2)]


def _kill_materialize(around: Surroundings) -> None:
    """Lose rows, let a materialize bring them back, kill it on its way. Raises RuntimeError where it was quicker."""
    store, first = around.store, around.fills[0]
    whole = store.count()
    store.drop(LOST, 1)
    lost = whole - store.count()
    first.begin()
    give_up = time.monotonic() + _PATIENCE_S
    while store.count() < whole - (1 - _CAUGHT) * lost:
        if first.is_over or time.monotonic() > give_up:
            raise RuntimeError("the materialize brought nothing back")
        time.sleep(0.002)
    first.kill()
    if store.count() >= whole:
        raise RuntimeError("the materialize was done before it could be killed; take a larger log")


def _materialize(around: Surroundings) -> None:
    around.fills[1].begin()
    around.fills[1].finish()


def _kill_worker(around: Surroundings) -> None:
    os.kill(around.worker.pid, signal.SIGKILL)


def _lose(around: Surroundings) -> None:
    around.nodes.lose()


def _wait_for_heir(around: Surroundings) -> None:
    """What Redis needs to notice is Redis' own; the scorer has to follow."""
    around.nodes.wait_for_heir()


FAULTS: Final = (
    Fault("redis killed", _kill_redis, _start_full, ending_s=4.0),
    Fault("redis restarted empty", _restart_empty, lambda around: around.store.fill(), ending_s=4.0),
    Fault("redis frozen", lambda around: around.store.freeze(), lambda around: around.store.thaw(), seconds=5.0),
    Fault("redis 50 ms slow", _turn(Mode.SLOW), _turn(Mode.PASS)),
    Fault("connections reset", _turn(Mode.RESET), _turn(Mode.PASS)),
    Fault("connections never answered", _turn(Mode.SILENT), _turn(Mode.PASS)),
    Fault("a tenth of the rows corrupt", _corrupt, lambda around: around.store.fill(), ending_s=4.0),
    Fault("a worker killed", _kill_worker, lasts=False, held=True),
    Fault("a bad model pushed", _push_bad, _pull_bad, seconds=3.0),
    Fault("a good model pushed 20 times", _push_good, _pull_good, seconds=PUSHES * PUSHES_APART_S + 2.0),
    Fault("three times the peak", lambda _: None, load=6.0, refused=True),
    Fault("a drain", lambda around: around.replace_side(), ending_s=8.0),
    Fault("a materialize killed", _kill_materialize, _materialize, _prepare_materializes, seconds=5.0, ending_s=10.0),
    Fault("a cluster node lost", _lose, _wait_for_heir, seconds=0.0, ending_s=6.0, ground=RedisType.CLUSTER),
    Fault("a Sentinel failover", _lose, _wait_for_heir, seconds=0.0, ending_s=6.0, ground=RedisType.SENTINEL),
)
"""In the order in which they are done."""
