"""`lockstep features`: the feature tables that the views read, and what a scorer sees of them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from lockstep.cli.ask import COLUMNS_ARE_OPTIONS, Question, asking, question_options
from lockstep.cli.columns import Values
from lockstep.cli.console import console
from lockstep.cli.explanation import MOST_ROWS, Explanation, at, plain_features
from lockstep.errors import BadRequest, did_you_mean
from lockstep.home import default_home
from lockstep.plan import Computed, DType, Given, Plan
from lockstep_client import Client, Features

__all__ = ["features"]


@click.group()
def features() -> None:
    """Build the feature tables from the event log, and show what a scorer sees of them."""


@features.command()
@click.option("--full", is_flag=True, help="Build every day anew, also those that are up to date.")
def build(full: bool) -> None:
    """Bring the feature tables up to date with the click log: only days whose inputs changed are built.

    The result equals a full build, value for value.
    """
    from training.tables import TABLES
    from training.tables import build as bring_up_to_date

    report = bring_up_to_date(default_home(), full)
    shown = Table("feature table", "days built", "rows written", "days kept", "days removed")
    for column in shown.columns[1:]:
        column.justify = "right"
    for name in TABLES:
        built = report.built[name]
        counts = (len(built), sum(built.values()), len(report.kept[name]), len(report.removed[name]))
        shown.add_row(name, *(f"{count:,}" for count in counts))
    Console(soft_wrap=True).print(shown)


@features.command(context_settings=COLUMNS_ARE_OPTIONS)
@question_options
@click.option("--feature", "wanted", multiple=True, metavar="NAME", help="Only this column of the plan; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_context
def show(context: click.Context, /, wanted: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show what a running scorer sees for a key, and why.

    Every other option names a column of the model and its values by row, as for `lockstep predict`. Join keys are
    needed. Request features may be left out: then what is computed from them is not shown.

    For each feature: the value that the model would get, what was found, how old it is, whether the plan's default was
    used, and the reason. The age is counted from --at, else from this machine's clock.

    \b
    Examples:
      lockstep features show --ip 1 --app 2 --device 1 --os 13 --channel 477
      lockstep features show --ip 1 --app 2 --device 1 --os 13 --channel 477 --at 2017-11-09T04:00:00Z
    """
    question = Question.read(context, **options)
    with asking(question.dial) as client:
        model = client.model(question.model, question.version)
        plan = Plan.from_json(model.plan)
        hidden = _unknown(plan, question.columns)
        answer = _ask(client, question, plan, model.version, _names(plan, wanted, hidden))
    if as_json:
        click.echo(json.dumps(_plain(answer)))
    else:
        _print(question, plan, answer, hidden)


def _unknown(plan: Plan, columns: Mapping[str, Values]) -> set[str]:
    """The columns that nobody can say: request features that were left out, and what is computed from them."""
    unknown = {
        name
        for name, column in plan.given.items()
        if name not in columns
        and column.default is None
        and isinstance(column.source, Given)
        and column.source.role == "request"
    }
    for column, source in plan.computed:
        if unknown & set(source.arguments):
            unknown.add(column.name)
    return unknown


def _names(plan: Plan, wanted: tuple[str, ...], hidden: set[str]) -> list[str]:
    """The columns to ask for, in the plan's order unless they are named."""
    for name in wanted:
        if name not in plan.by_name:
            raise BadRequest(f"the plan has no column {name!r}.{did_you_mean(name, plan.by_name)}")
        if name in hidden:
            needed = sorted(hidden & set(plan.given))
            raise BadRequest(f"{name!r} needs what comes with a request: add {_as_options(needed)}.")
    return list(wanted) or [name for name in plan.by_name if name not in hidden]


def _as_options(names: Iterable[str]) -> str:
    return ", ".join(f"--{name} VALUE" for name in names)


def _ask(client: Client, question: Question, plan: Plan, version: str, names: list[str]) -> Features:
    """The features; a request feature that was left out is sent as NULL, and nothing that shows it is asked for."""
    stand_ins = {name: _null(plan.by_name[name].dtype) for name in _unknown(plan, question.columns) & set(plan.given)}
    columns = {**question.columns, **stand_ins}
    return client.features(question.model, columns, version=version, at=question.at, features=names)


def _null(dtype: DType) -> object:
    return 0 if dtype is DType.INT64 else dtype.missing


def _plain(answer: Features) -> dict[str, Any]:
    """The answer as plain data, with names in place of numbers."""
    return {
        "model": answer.model,
        "version": answer.version,
        "row_rungs": [rung.name for rung in answer.row_rungs],
        "features": plain_features(answer.features),
    }


def _print(question: Question, plan: Plan, answer: Features, hidden: set[str]) -> None:
    out, rows = console(), len(answer.row_rungs)
    explanation = Explanation(plan, answer.features, question.columns, question.times_us(rows))
    for table in explanation.tables([_title(question, row, rung.name) for row, rung in enumerate(answer.row_rungs)]):
        out.print(table)
    if rows > MOST_ROWS:
        out.print(f"{rows - MOST_ROWS} more rows are not shown here; --json prints them all.")
    computed = [name for name in plan.by_name if name in hidden and isinstance(plan.by_name[name].source, Computed)]
    if computed:
        needed = _as_options(sorted(hidden & set(plan.given)))
        out.print(f"Not shown, for want of what comes with a request: {', '.join(computed)}. Add {needed}.")
    out.print(f"{answer.model} version {answer.version}")


def _title(question: Question, row: int, rung: str) -> str:
    given = ", ".join(f"{name}={at(values, row)}" for name, values in question.columns.items())
    return f"row {row}: {given} ({rung})"
