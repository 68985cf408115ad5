"""The faults: what is done to the scorer, for how long, and what is done to end it."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.faults.proxy import Mode, Proxy
from benchmarks.faults.store import Store
from benchmarks.predict.data import MODEL
from benchmarks.predict.sides import Side
from lockstep.bundle import pack
from lockstep.model_store import ModelStore

__all__ = ["FAULTS", "Fault", "Surroundings"]

CORRUPT: Final = 0.1
PUSHES: Final = 3


@dataclass
class Surroundings:
    """What the scorer stands on."""

    store: Store
    proxy: Proxy
    models: ModelStore
    side: Side
    replace_side: Callable[[], None]
    """Start another scorer on the port, and let this one drain."""

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
    """The same model, as several new versions one after the other."""
    bundle = around.models.load(MODEL)
    files = around.models.read(MODEL, bundle.manifest.version)
    rest = {name: content for name, content in files.items() if name != "manifest.json"}
    for _ in range(PUSHES):
        made = around.models.publish(
            MODEL, lambda version: pack(replace(bundle.manifest, version=version, files={}), rest)
        )
        around.models.promote(MODEL, made.manifest.version)


def _kill_worker(around: Surroundings) -> None:
    os.kill(around.worker.pid, signal.SIGKILL)


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
    Fault("a good model pushed", _push_good, seconds=3.0),
    Fault("three times the peak", lambda _: None, load=6.0, refused=True),
    Fault("a drain", lambda around: around.replace_side(), ending_s=8.0),
)
"""In the order in which they are done."""
