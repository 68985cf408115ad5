"""`lockstep predict`: ask a running server for scores. Columns of the model are options of the command."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.table import Table

from lockstep.cli.ask import COLUMNS_ARE_OPTIONS, Question, asking, question_options
from lockstep.cli.columns import Values, read_columns
from lockstep.cli.console import console
from lockstep.cli.explanation import MOST_ROWS, Explanation, at, plain_features
from lockstep.plan import Plan
from lockstep_client import Prediction, Rung

__all__ = ["RUNGS", "predict"]

RUNGS = {
    Rung.FRESH: "every stored feature came from a usable row",
    Rung.DEFAULTS: "some features were missing or stale: defaults, or NULL where the plan names none",
    Rung.ALL_DEFAULTS: "the online store did not answer: no stored feature was read",
    Rung.PRIOR: "the model could not run: the scores are its prior",
}


@click.command(context_settings=COLUMNS_ARE_OPTIONS)
@question_options
@click.option(
    "--feature",
    "sent",
    multiple=True,
    metavar="NAME=VALUE[,VALUE...]",
    help="A stored feature that goes with the request and takes the place of what is stored.",
)
@click.option("--explain", is_flag=True, help="Show what the model was given for each row, and why.")
@click.option("--strict", is_flag=True, help="Take an error instead of a default: exit status 1, and no score.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_context
def predict(
    context: click.Context, /, sent: tuple[str, ...], explain: bool, strict: bool, as_json: bool, **options: Any
) -> None:
    """Ask a running server for scores.

    Every other option names a column of the model, a join key or a request feature, and its values by row, with commas
    between them. A column with one value is taken for all rows: one user, a hundred candidates. `lockstep models show`
    lists the columns.

    Values that are all whole numbers are sent as int64, all numbers as float64 (nan is NULL), else as strings. Where
    digits are meant as text, say so: --zip:string 01234. The types are int64, float64 and string.

    \b
    Examples:
      lockstep predict --ip 1 --app 2 --device 1 --os 13 --channel 477
      lockstep predict --ip 1 --app 2,3,5 --device 1 --os 13 --channel 477 --at 2017-11-09T04:00:00Z
      lockstep predict --ip 1 --app 2 --device 1 --os 13 --channel 477 --explain
      lockstep predict --ip 1 --app 2 --device 1 --os 13 --channel 477 --strict
      lockstep predict --ip 1 --app 2 --device 1 --os 13 --channel 477 --feature clicks_24h_by_ip=7
    """
    question = Question.read(context, **options)
    with asking(question.dial) as client:
        answer = client.predict(
            question.model,
            question.columns,
            version=question.version,
            at=question.at,
            explain=explain,
            strict=strict,
            features=read_columns([f"--{text}" for text in sent]),
        )
        if as_json:
            click.echo(json.dumps(plain(answer)))
            return
        plan = Plan.from_json(client.model(answer.model, answer.version).plan) if explain else None
    _print(question, answer, plan)


def plain(answer: Prediction) -> dict[str, Any]:
    """The answer as plain data, with names in place of numbers."""
    made: dict[str, Any] = {
        "model": answer.model,
        "version": answer.version,
        "rung": answer.rung.name,
        "scores": answer.scores.tolist(),
        "views": {
            view.view: {
                "counts": {status.name: count for status, count in view.counts.items()},
                "defaulted": view.defaulted,
            }
            for view in answer.views
        },
    }
    if answer.row_rungs:
        made["row_rungs"] = [rung.name for rung in answer.row_rungs]
        made["features"] = plain_features(answer.features)
    return made


def _print(question: Question, answer: Prediction, plan: Plan | None) -> None:
    out, rung = console(), answer.rung
    out.print(_scores(question.columns, answer.scores))
    if plan is not None:
        times = question.times_us(len(answer.scores))
        explanation = Explanation(plan, answer.features, question.columns, times)
        titles = [f"row {row}: score {answer.scores[row]:.6g}, {one.name}" for row, one in enumerate(answer.row_rungs)]
        for table in explanation.tables(titles):
            out.print(table)
        if len(titles) > MOST_ROWS:
            out.print(f"{len(titles) - MOST_ROWS} more rows are not explained here; --json explains them all.")
    out.print(_found(answer))
    out.print(f"{answer.model} version {answer.version}; {rung.name}: {RUNGS[rung]}")


def _scores(columns: Mapping[str, Values], scores: Iterable[float]) -> Table:
    table = Table("row", *columns, "score")
    for row, score in enumerate(scores):
        table.add_row(str(row), *(str(at(values, row)) for values in columns.values()), f"{score:.6g}")
    return table


def _found(answer: Prediction) -> Table:
    table = Table("view", "feature values found", "defaults used")
    for view in answer.views:
        counts = ", ".join(f"{count} {status.name}" for status, count in view.counts.items())
        table.add_row(view.view, counts, str(view.defaulted))
    return table
