"""`lockstep bench`: load a running server and draw its latency curve."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table

from lockstep.cli.ask import COLUMNS_ARE_OPTIONS, Question, asking, question_options
from lockstep.cli.console import console
from lockstep.cli.latency_curve import FORMATS, Point, draw
from lockstep.cli.load import Spacing, Step, Target, generators
from lockstep.cli.pool import Pool
from lockstep.errors import BadRequest
from lockstep.progress import bar
from lockstep_client import Model
from lockstep_client.requests import predict

__all__ = ["Bench", "bench", "doubled", "highest_sustained", "narrowed"]

MESSAGES = 1000
"""Distinct requests, sent in turn."""
FIRST_RATE = 250.0
WARM_UP_S = 1.0
KEPT_PACE = 0.97
"""A rate counts as sustained when so many of its requests were answered by its end, in proportion."""
FAILURES = 1e-3
"""… and no more than this share of them failed."""
HALVINGS = 3
"""How often the gap between the highest rate that was sustained and the next one that was not is halved."""
LAST_RATE = 1e6


@dataclass(frozen=True)
class Bench:
    """How the server is loaded."""

    rates: tuple[float, ...]
    """None: from 250 on, doubled until one is not sustained."""
    seconds: float
    rows: int
    shared: frozenset[str]
    spacing: Spacing
    p99_ms: float
    """A rate whose p99 is longer does not count as sustained."""
    processes: int
    connections: int
    seed: int

    def sustained(self, step: Step) -> bool:
        """Whether the server kept pace with a step."""
        kept_pace = step.answered_per_s >= KEPT_PACE * step.requests / self.seconds
        answered = sum(step.failed.values()) <= FAILURES * step.requests
        return kept_pace and answered and not step.percentile_ms(99) > self.p99_ms


@click.command(context_settings=COLUMNS_ARE_OPTIONS)
@question_options
@click.option(
    "--spine", type=click.Path(path_type=Path), metavar="FILE", help="Draw rows from this Parquet or CSV file."
)
@click.option("--rows", default=1, show_default=True, help="Rows of a request: candidates a call.")
@click.option(
    "--shared", default="", metavar="NAME[,NAME...]", help="Columns with one value for all rows of a request."
)
@click.option("--rates", default="", metavar="RATE[,RATE...]", help="Requests a second.  [default: 250, doubled]")
@click.option("--seconds", default=5.0, show_default=True, help="How long each rate is kept up.")
@click.option(
    "--spacing", type=click.Choice(list(Spacing)), default=Spacing.POISSON, show_default=True, help="Of the arrivals."
)
@click.option("--p99-ms", default=math.inf, help="A rate whose p99 is longer does not count as sustained.")
@click.option("--processes", default=1, show_default=True, help="Processes that make the load.")
@click.option("--connections", default=4, show_default=True, help="Connections of each of them.")
@click.option("--seed", default=7, show_default=True, help="Of the rows and the arrivals.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("latency.png"),
    show_default=True,
    help="The picture: PNG, SVG.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of the table.")
@click.pass_context
def bench(context: click.Context, /, spine: Path | None, out: Path, as_json: bool, **options: Any) -> None:
    """Load a running server at fixed rates and draw its latency curve.

    Columns are options, as for `lockstep predict`: values at one place in their lists are a row, and every request
    draws rows at random. With --spine the rows are a file's, and so is t where it has an event_timestamp; else --at
    is the t of all of them.

    The load is open-loop: requests leave when they are due, with Poisson gaps unless --spacing says otherwise, whether
    or not earlier ones were answered, and a latency counts from when its request was due. A rate is sustained when the
    server keeps pace and at most one request in a thousand fails; the highest such rate is narrowed down. A generator
    that is too busy to send on time is named: then give it more --processes, or a machine of its own.

    \b
    Examples:
      lockstep bench --ip 1,2,3 --app 2,3,5 --device 1 --os 13 --channel 477
      lockstep bench --spine clicks.parquet --rows 100 --shared ip,device,os --rates 100,200,400 --out curve.svg
    """
    if out.suffix not in FORMATS:
        raise BadRequest(f"--out is {str(out)!r}; expected a name that ends in {' or '.join(FORMATS)}.")
    settings, asked = _settings(options)
    question = Question.read(context, **asked)
    model, messages = _messages(question, spine, settings)
    steps = _load(question, settings, messages)
    highest = highest_sustained(settings, steps)
    points = [Point(step.rate, _percentiles(step), settings.sustained(step)) for step in steps]
    title = f"{model.name} {model.version}: latency of a call with {settings.rows:,} row{'s'[: settings.rows > 1]}"
    draw(out, title, _subtitle(settings), points, highest)
    if as_json:
        click.echo(json.dumps(_plain(model, settings, steps, highest, out)))
    else:
        _print(settings, steps, highest, out)


def _settings(options: dict[str, Any]) -> tuple[Bench, dict[str, Any]]:
    """The settings, and the options that are left for the question. Raises BadRequest."""
    left = dict(options)
    rates = tuple(sorted(_rates(left.pop("rates"))))
    shared = frozenset(name for name in left.pop("shared").split(",") if name)
    own = {name: left.pop(name) for name in ("seconds", "rows", "p99_ms", "processes", "connections", "seed")}
    for name in ("seconds", "rows", "p99_ms", "processes", "connections"):
        if not own[name] > 0:
            raise BadRequest(f"--{name.replace('_', '-')} is {own[name]}; expected a number above 0.")
    return Bench(rates=rates, shared=shared, spacing=Spacing(left.pop("spacing")), **own), left


def _rates(text: str) -> Iterator[float]:
    for each in text.split(",") if text else ():
        try:
            rate = float(each)
        except ValueError as error:
            raise BadRequest(f"--rates: {each!r} is no number; write requests a second, e.g. 500,1000,2000.") from error
        if not 0 < rate <= LAST_RATE:
            raise BadRequest(f"--rates: {each} is no rate; expected more than 0 and at most {LAST_RATE:,.0f}.")
        yield rate


def _messages(question: Question, spine: Path | None, settings: Bench) -> tuple[Model, list[bytes]]:
    """The model, and requests for it as they go over the wire; the first one was answered."""
    rng = np.random.default_rng(settings.seed)
    with asking(question.dial) as client:
        model = client.model(question.model, question.version)
        pool = _pool(question, spine, model)
        drawn = [pool.draw(settings.rows, settings.shared, rng) for _ in range(MESSAGES)]
        client.predict(model.name, drawn[0][0], version=question.version, at=drawn[0][1])
    return model, [
        predict(model.name, columns, question.version, t, explain=False).SerializeToString() for columns, t in drawn
    ]


def _pool(question: Question, spine: Path | None, model: Model) -> Pool:
    if spine is None:
        return Pool.of_columns(question.columns, question.at_us)
    if question.columns:
        raise BadRequest(f"the rows are those of --spine; leave out --{next(iter(question.columns))}, or the spine.")
    return Pool.of_spine(spine, model.needs, question.at_us)


def _load(question: Question, settings: Bench, messages: Sequence[bytes]) -> list[Step]:
    """Every step, in the order in which they were run."""
    target = Target(question.dial, messages, settings.connections)
    rng = np.random.default_rng(settings.seed)
    with ExitStack() as stack:
        load = stack.enter_context(generators(target, settings.processes))
        load.step(min(settings.rates or (FIRST_RATE,)), WARM_UP_S, settings.spacing, rng)

        def run(rate: float) -> Step:
            with bar(f"{rate:,.0f} requests a second", 1) as done:
                step = load.step(rate, settings.seconds, settings.spacing, rng)
                done(1)
            return step

        steps = [run(rate) for rate in settings.rates] or doubled(settings, run)
        return steps + narrowed(settings, steps, run)


def doubled(settings: Bench, run: Callable[[float], Step]) -> list[Step]:
    """Steps from the first rate on, until one is not sustained."""
    steps = [run(FIRST_RATE)]
    while settings.sustained(steps[-1]) and not steps[-1].generator_was_the_limit and steps[-1].rate < LAST_RATE:
        steps.append(run(2 * steps[-1].rate))
    return steps


def narrowed(settings: Bench, steps: Sequence[Step], run: Callable[[float], Step]) -> list[Step]:
    """Steps between the highest rate that was sustained and the next one that was not."""
    between: list[Step] = []
    for _ in range(HALVINGS):
        known = [*steps, *between]
        low = highest_sustained(settings, known)
        above = [step.rate for step in known if low is not None and step.rate > low]
        if low is None or not above:
            break
        between.append(run((low + min(above)) / 2))
    return between


def highest_sustained(settings: Bench, steps: Sequence[Step]) -> float | None:
    """The highest rate that was sustained, with no lower one that was not."""
    highest = None
    for step in sorted(steps, key=lambda one: one.rate):
        if not settings.sustained(step):
            break
        highest = step.rate
    return highest


def _percentiles(step: Step) -> list[float]:
    return [step.percentile_ms(percent) for percent in (50, 99, 99.9)]


def _subtitle(settings: Bench) -> str:
    load = (
        f"{settings.processes} load generator{'s'[: settings.processes > 1]}, {settings.connections} connections each"
    )
    return f"open loop, {settings.spacing} arrivals, {settings.seconds:g} s a rate; {load}; hollow: not sustained"


def _print(settings: Bench, steps: Sequence[Step], highest: float | None, out: Path) -> None:
    table = Table("requests/s", "answered/s", "p50", "p99", "p99.9", "longest", "failed", "generator", "sustained")
    for column in table.columns[:-1]:
        column.justify = "right"
    for step in sorted(steps, key=lambda one: one.rate):
        table.add_row(*_cells(settings, step))
    lines = console()
    lines.print(table)
    for line in _remarks(settings, steps, highest):
        lines.print(line)
    lines.print(f"The curve is in {out}")


def _cells(settings: Bench, step: Step) -> list[str]:
    times = ["" if math.isnan(ms) else f"{ms:,.2f} ms" for ms in (*_percentiles(step), step.max_ms)]
    failed = ", ".join(f"{count:,} {code}" for code, count in step.failed.items())
    generator = f"{step.cpu:.0%}, {step.late_ms:,.2f} ms late"
    sustained = "yes" if settings.sustained(step) else "no"
    if step.generator_was_the_limit:
        sustained += " (the generator was the limit)"
    return [f"{step.rate:,.0f}", f"{step.answered_per_s:,.0f}", *times, failed, generator, sustained]


def _remarks(settings: Bench, steps: Sequence[Step], highest: float | None) -> Iterator[str]:
    if highest is None:
        yield "No rate was sustained. Try lower --rates."
    else:
        rows = "" if settings.rows == 1 else f", {highest * settings.rows:,.0f} scores a second"
        yield f"Highest rate sustained: {highest:,.0f} requests a second{rows}."
    if highest == max(step.rate for step in steps):
        yield "No rate was too high: the server can do more. Try higher --rates."
    if any(step.generator_was_the_limit for step in steps):
        yield (
            "The load generator was the limit at some rates: its own core was busy, or its requests left late. Those "
            "figures say little of the server. Give it more --processes, or a machine of its own."
        )
    rungs = sum((step.rungs for step in steps), steps[0].rungs - steps[0].rungs)
    if set(rungs) - {"FRESH"}:
        yield "Answers by rung: " + ", ".join(f"{count:,} {rung}" for rung, count in rungs.items()) + "."


def _plain(model: Model, settings: Bench, steps: Sequence[Step], highest: float | None, out: Path) -> dict[str, Any]:
    """The result as plain data; null where there were too few answers for a percentile."""
    return {
        "model": model.name,
        "version": model.version,
        "rows": settings.rows,
        "seconds": settings.seconds,
        "spacing": settings.spacing.value,
        "processes": settings.processes,
        "connections": settings.connections,
        "highest_sustained": highest,
        "picture": str(out),
        "steps": [_plain_step(settings, step) for step in sorted(steps, key=lambda one: one.rate)],
    }


def _plain_step(settings: Bench, step: Step) -> dict[str, Any]:
    times = zip(("p50_ms", "p99_ms", "p99_9_ms", "max_ms"), (*_percentiles(step), step.max_ms), strict=True)
    return {
        "rate": step.rate,
        "requests": step.requests,
        "answered_per_s": round(step.answered_per_s, 1),
        **{name: None if math.isnan(ms) else round(ms, 3) for name, ms in times},
        "failed": dict(step.failed),
        "rungs": dict(step.rungs),
        "generator_cpu": round(step.cpu, 3),
        "sent_late_p99_ms": round(step.late_ms, 3),
        "generator_was_the_limit": step.generator_was_the_limit,
        "sustained": settings.sustained(step),
    }
