"""The main job, step by step, as `lockstep demo` runs it."""

import io
import logging
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.table import Table

from lockstep.cli.console import console
from lockstep.cli.train import metrics_table
from lockstep.errors import BadRequest, LockstepError, MissingTool
from lockstep.home import Home, default_home
from lockstep.model_store import ModelStore
from lockstep.plan import Array, Plan
from lockstep.progress import bar
from lockstep.redis_server import run_redis
from lockstep.resolve import PlanRows, ViewRows, resolve
from lockstep.status import Status
from lockstep.stores.repo import feast_command, open_store
from lockstep.times import format_time, to_datetime
from lockstep_client.requests import predict
from protos.lockstep.v1 import scorer_pb2, scorer_pb2_grpc
from training.events import generate, load, write_log
from training.given import given_columns, micros
from training.plans import EVENT_TIMESTAMP
from training.proof import Comparison, Side, auc, combinations, first_differences, prove, replay
from training.spec import load_spec
from training.tables import build
from training.train import Trained, train

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Result", "ScoresDiffer", "Settings", "run"]

MARK = "made-by-the-demo"
FIRST_DAY = date(2017, 11, 6)
STEPS = 6
"""Materialize runs of the replay, evenly over the held-out time."""
SINGLE_CALLS = 300
DEADLINE_S = 60.0


class ScoresDiffer(LockstepError):
    """The scorer answered something else than the offline side; the text names rows and features."""


@dataclass(frozen=True)
class Settings:
    """What the demo runs on."""

    file: Path | None
    clicks: int
    days: int
    seed: int
    rows: int


@dataclass
class Result:
    """What came out."""

    trained: Trained
    report: Path
    """What a person looks at before the model is given traffic."""
    facts: dict[str, Any] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    """Commands that go on from where the demo ended."""

    def print(self) -> None:
        """Print what a person wants to know, as short tables."""
        out = console()
        out.print(metrics_table(self.trained.assessment))
        table = Table(title="Scorer against offline, row by row", show_header=False)
        for name, value in self.facts.items():
            table.add_row(name.replace("_", " "), _shown(value))
        out.print(table)
        click.echo(f"The model's report, for a browser: {_from_here(self.report)}")
        click.echo("Go on with:\n" + "\n".join(f"  {line}" for line in self.again))

    def require_same(self) -> None:
        """Raise ScoresDiffer where one score differs, naming rows and features."""
        differing = self.facts["rows_differing"] + self.facts["replay_differing"]
        if differing:
            lines = "\n  ".join(self.differences)
            raise ScoresDiffer(f"{differing} scores differ between the scorer and the offline side:\n  {lines}")


def _shown(value: Any) -> str:
    """A fact as a person reads it; the JSON line has every digit."""
    match value:
        case dict():
            return ", ".join(f"{key} {count:,}" for key, count in value.items())
        case int():
            return f"{value:,}"
        case float() if 0 < abs(value) < 1e-3:
            return f"{value:.1e}"
    return str(value)


def run(settings: Settings) -> Result:
    """The main job. Raises whatever a step raises; what is complete by then stays in the home."""
    log = _events(settings)  # first: a file that cannot be read must not cost what an earlier demo left
    home = _fresh_home(default_home())
    _quiet_feast()
    with _redis(home):
        write_log(log, home.events)
        build(home)
        _feast(home, "feast apply", "apply")
        store = open_store(home)
        trained = train(store, load_spec("install"), home)
        ModelStore(home.models).promote("install", trained.bundle.manifest.version)
        window = trained.window
        _feast(home, "feast materialize", "materialize", _feast_time(window.train_from_us), _feast_time(window.cut_us))
        with serving(home, _reader_of(store)) as ask:
            return _prove(settings, home, store, trained, ask)


def _fresh_home(home: Home) -> Home:
    """Empty the home of an earlier demo; raises BadRequest where it holds something else."""
    if home.root.exists() and any(home.root.iterdir()) and not (home.root / MARK).exists():
        raise BadRequest(
            f"{home.root} holds data that no demo made, and the demo would replace it. "
            "Run it elsewhere: LOCKSTEP_HOME=demo-data lockstep demo"
        )
    shutil.rmtree(home.root, ignore_errors=True)
    home.root.mkdir(parents=True)
    (home.root / MARK).touch()
    return home


def _quiet_feast() -> None:
    """Feast tells of experimental features and of settings that other registries would need; here that is noise."""
    logging.getLogger("feast").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="feast")
    warnings.filterwarnings("ignore", module="ibis")


@contextmanager
def _redis(home: Home) -> Iterator[None]:
    """REDIS_URL where it is set and empty; else a Redis of the demo's own, whose data stay in the home."""
    if os.environ.get("REDIS_URL"):
        _require_empty(os.environ["REDIS_URL"])
        yield
        return
    with run_redis(home.redis, keep=True) as url:
        os.environ["REDIS_URL"] = url
        try:
            yield
        finally:
            del os.environ["REDIS_URL"]


def _require_empty(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        keys = client.dbsize()
    if keys:
        raise BadRequest(
            f"the Redis of REDIS_URL holds {keys} keys; the demo needs an empty database, e.g. {url.rstrip('/')}/15."
        )


def _events(settings: Settings) -> pa.Table:
    """The clicks: read from the file, or made up."""
    if settings.file is None:
        return generate(settings.clicks, settings.days, settings.seed, FIRST_DAY)
    return load([settings.file]).table


def _feast_time(us: int) -> str:
    return to_datetime(us).strftime("%Y-%m-%dT%H:%M:%S")


def _feast(home: Home, what: str, *arguments: str) -> None:
    """Run Feast's own command line, as its users do. Raises MissingTool with what it printed where it fails."""
    with bar(what, 1) as done:
        ran = subprocess.run(feast_command(home, *arguments), capture_output=True, text=True, check=False)
        done(1)
    if ran.returncode:
        raise MissingTool(f"`feast {' '.join(arguments)}` failed:\n{ran.stdout}{ran.stderr}")


class Scorer:
    """The running scorer, asked over gRPC."""

    def __init__(self, address: str, channel: grpc.Channel) -> None:
        self.address = address
        self._stub = scorer_pb2_grpc.ScorerStub(channel)  # type: ignore[no-untyped-call]  # generated

    def __call__(self, columns: Mapping[str, Array], t: NDArray[np.int64]) -> tuple[list[float], dict[str, int]]:
        """Scores in order and feature values by status, for rows of columns at t (µs)."""
        request = predict("install", columns, "champion", t, explain=False)
        reply: scorer_pb2.PredictResponse = self._stub.Predict(request, timeout=DEADLINE_S)
        counts: dict[str, int] = {}
        for view in reply.views:
            for entry in view.counts:
                name = Status(entry.status).name
                counts[name] = counts.get(name, 0) + entry.count
        return list(reply.scores), counts


@contextmanager
def serving(home: Home, reader: str) -> Iterator[Scorer]:
    """`lockstep serve` in a process of its own, on a free port, until the block ends."""
    environment = {
        **os.environ,
        "LOCKSTEP_HOME": str(home.root),
        "LOCKSTEP_SERVE_READER": reader,
        "LOCKSTEP_SERVE_DEFAULT_DEADLINE_MS": "60000",
        "LOCKSTEP_SERVE_MAX_DEADLINE_MS": "60000",
    }
    command = [str(Path(sys.executable).with_name("lockstep")), "serve", "--port", "0"]
    log = home.root / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        address = _address(process, log)
        with grpc.insecure_channel(address) as channel:
            yield Scorer(address, channel)
    finally:
        process.terminate()
        process.communicate()


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    """The address in the line that the server prints when it is ready. Raises MissingTool where it stops before."""
    with bar("lockstep serve", 1) as done:
        assert process.stdout is not None
        line = process.stdout.readline()
        done(1)
    if "lockstep serves on " not in line:
        raise MissingTool(f"the server did not start: {log.read_text()[-2000:]}")
    return line.split("lockstep serves on ")[1].split(":")[0] + ":" + line.split(":")[1].strip()


def _prove(settings: Settings, home: Home, store: "FeatureStore", trained: Trained, ask: Scorer) -> Result:
    """The proof, the replay, and how long single predictions take."""
    side = Side(store, trained.bundle.plan, trained.bundle.functions, trained.fitted)
    spine = load_spec("install").spine(home)
    cut = trained.window.cut_us
    rows = combinations(side, spine, trained.test_spine, cut, settings.seed, settings.rows / 10_000)
    proof = prove(side, rows, ask)
    manifest = trained.bundle.manifest
    result = Result(trained, home.models / manifest.name / manifest.version / "report.html")
    if proof.differing.size:
        result.differences += first_differences(side, proof, _read(store))
    latency = _latency(side.plan, rows, ask)
    runs = _runs(trained)
    replayed = replay(side, trained.test_spine, runs, _materializer(store, cut), ask)
    if replayed.differing.size:
        result.differences += [f"replay: {len(replayed.differing)} rows, the first {replayed.differing[:5].tolist()}"]
    result.facts = _facts(trained, proof, replayed, latency)
    result.again = _again(home, trained, replayed, runs[-1])
    return result


def _runs(trained: Trained) -> list[int]:
    """Times of the materialize runs of the replay: whole seconds, from the cut on, evenly."""
    window = trained.window
    edges = np.linspace(window.cut_us, window.test_to_us, STEPS, endpoint=False)
    return [int(edge) // 1_000_000 * 1_000_000 for edge in edges]


def _materializer(store: "FeatureStore", done_us: int) -> Callable[[int], None]:
    """Materialize from where the last run ended up to a time: `feast materialize START END`, in this process."""
    at = [done_us]

    def materialize(until_us: int) -> None:
        if until_us > at[0]:
            noise = io.StringIO()
            with (
                bar(f"materialize to {format_time(until_us)[5:16]}", 1) as done,
                redirect_stdout(noise),
                redirect_stderr(noise),
            ):
                store.materialize(to_datetime(at[0]), to_datetime(until_us))
                done(1)
            at[0] = until_us

    return materialize


def _read(store: "FeatureStore") -> Callable[[Plan, Mapping[str, Array], NDArray[np.int64]], Mapping[str, Array]]:
    """Read resolved columns as the server does, for naming what differs."""
    import asyncio

    from serving.reader import open_reader
    from serving.settings import Settings as Serving

    async def found(plan: Plan, given: Mapping[str, Array], rows: int) -> Mapping[str, ViewRows] | PlanRows:
        reader = open_reader(Serving(reader=_reader_of(store)))
        try:
            return await reader.read(plan, given, rows)
        finally:
            await reader.close()

    def read(plan: Plan, given: Mapping[str, Array], t: NDArray[np.int64]) -> Mapping[str, Array]:
        return resolve(plan, asyncio.run(found(plan, given, len(t))), given, t).columns

    return read


def _reader_of(store: "FeatureStore") -> str:
    """The reader that reads what this repository's online store holds."""
    ours = "lockstep.stores.online." in str(store.config.online_store.type)
    return "serving.packed_reader:PackedReader" if ours else "lockstep.stores.reader:FeastReader"


def _latency(plan: Plan, rows: pa.Table, ask: Scorer) -> list[float]:
    """Milliseconds of single-row predictions, one after the other."""
    given, t = given_columns(plan, rows), micros(rows[EVENT_TIMESTAMP])
    took = []
    with bar("single predictions", SINGLE_CALLS) as done:
        for row in np.linspace(0, len(t) - 1, SINGLE_CALLS).astype(int).tolist():
            one = slice(row, row + 1)
            started = time.perf_counter()
            ask({name: values[one] for name, values in given.items()}, t[one])
            took.append((time.perf_counter() - started) * 1e3)
            done(1)
    return took


def _facts(trained: Trained, proof: Comparison, replayed: Comparison, latency: list[float]) -> dict[str, Any]:
    y = trained.y_test
    return {
        "auc_fresh": round(auc(y, trained.fitted.score(trained.test.inputs)), 6),
        "auc_as_served": round(auc(y, replayed.offline), 6),
        "auc_online": round(auc(y, replayed.online), 6),
        "rows_compared": len(proof.online),
        "rows_differing": len(proof.differing),
        "replay_rows": len(replayed.online),
        "replay_differing": len(replayed.differing),
        "max_abs_diff": max(proof.max_abs_diff, replayed.max_abs_diff),
        "by_status": dict(sorted(proof.by_status.items())),
        "distinct_scores": len(np.unique(proof.online)),
        "predict_p50_ms": round(float(np.percentile(latency, 50)), 3),
        "predict_p99_ms": round(float(np.percentile(latency, 99)), 3),
    }


def _again(home: Home, trained: Trained, replayed: Comparison, last_run_us: int) -> list[str]:
    """How to ask for a score by hand: a click after the last materialize, if possible with every feature present."""
    late = np.flatnonzero(replayed.frame.t >= last_run_us)
    status = np.stack([each[late] for each in replayed.frame.resolved.status.values()])
    fresh = np.isin(status, (Status.PRESENT, Status.REQUEST)).all(axis=0)
    row = int(late[fresh.argmax()])
    click = trained.test_spine.slice(row, 1)
    keys = " ".join(f"--{name} {click[name][0].as_py()}" for name in trained.bundle.plan.given)
    where = "" if home == Home(Path("data").absolute()) else f"LOCKSTEP_HOME={home.root} "
    lockstep = _lockstep()
    return [
        f"{where}{lockstep} redis &",
        f"{where}{lockstep} serve &",
        f"{lockstep} predict {keys} --at {format_time(int(replayed.frame.t[row]))}",
    ]


def _lockstep() -> str:
    """How a person in this folder calls the command that is running."""
    command = Path(sys.executable).with_name("lockstep")
    if shutil.which("lockstep") == str(command):
        return "lockstep"
    return str(_from_here(command))


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
