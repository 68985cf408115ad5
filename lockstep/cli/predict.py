"""`lockstep predict`: ask a running server for scores. Columns of the model are options of the command."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import grpc
from rich.table import Table

from lockstep.cli.console import console
from lockstep.errors import BadColumn, BadRequest, NoAnswer
from lockstep.status import Rung, Status
from lockstep.times import parse_time
from protos.lockstep.v1 import scorer_pb2, scorer_pb2_grpc

__all__ = ["predict"]

Values = list[int] | list[float] | list[str]

RUNGS = {
    Rung.FRESH: "every stored feature came from a usable row",
    Rung.DEFAULTS: "some features were missing or stale: defaults, or NULL where the plan names none",
    Rung.ALL_DEFAULTS: "the online store did not answer: no stored feature was read",
    Rung.PRIOR: "the model could not run: the scores are its prior",
}


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": True}
)
@click.option("--model", default="install", show_default=True, help="Name of the model.")
@click.option("--version", default="champion", show_default=True, help="A version or an alias.")
@click.option(
    "--at",
    metavar="TIME[,TIME...]",
    help="t, in ISO 8601; one for all rows or one per row.  [default: the server's clock]",
)
@click.option("--address", default="localhost:50051", show_default=True, help="host:port of the server.")
@click.option("--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="Deadline, in seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.option(
    "--column", "named", multiple=True, metavar="NAME=VALUE[,VALUE...]", help="A column whose name is an option."
)
@click.pass_context
def predict(context: click.Context, /, named: tuple[str, ...], as_json: bool, at: str | None, **options: Any) -> None:
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
    """
    columns = read_columns([*context.args, *(f"--{text}" for text in named)])
    times = [parse_time(text) for text in at.split(",")] if at else []
    request = make_request(options["model"], options["version"], columns, times)
    answer = _ask(options["address"], request, options["timeout_s"])
    if as_json:
        click.echo(json.dumps(plain(answer)))
    else:
        _print(columns, answer)


def read_columns(arguments: list[str]) -> dict[str, Values]:
    """Columns by name from `--NAME VALUES`, `--NAME=VALUES` and `--NAME:TYPE VALUES`. Raises BadRequest, BadColumn.

    >>> read_columns(["--ip", "1,2", "--bid=0.5", "--zip:string", "01234"])
    {'ip': [1, 2], 'bid': [0.5], 'zip': ['01234']}
    """
    columns: dict[str, Values] = {}
    rest = list(arguments)
    while rest:
        head = rest.pop(0)
        match = re.fullmatch(r"--([^=:]+)(?::([^=]*))?(?:=(.*))?", head, re.DOTALL)
        if match is None:
            raise BadRequest(f"{head!r} is not a column; write --NAME VALUE, e.g. --ip 1 --app 2,3.")
        name, kind, text = match.groups()
        if text is None and not rest:
            raise BadColumn(name, "has no value; write --NAME VALUE.")
        if name in columns:
            raise BadColumn(name, "given twice; put its values into one list with commas between them.")
        columns[name] = _values(name, kind, (rest.pop(0) if text is None else text).split(","))
    return columns


def _values(name: str, kind: str | None, texts: list[str]) -> Values:
    """The texts in the type named, or in the narrowest of int64, float64 and string that takes all of them."""
    readers: dict[str, Any] = {"int64": _int64, "float64": float, "string": str}
    if kind is not None and kind not in readers:
        raise BadColumn(name, f"has no type {kind!r}; write int64, float64 or string.")
    for reader in [readers[kind]] if kind else readers.values():
        try:
            return [reader(text) for text in texts]
        except ValueError:
            continue
    raise BadColumn(name, f"{','.join(texts)!r} cannot be read as {kind}.")


def _int64(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} is no int64")
    return number


def make_request(
    model: str, version: str, columns: Mapping[str, Values], times_us: Iterable[int]
) -> scorer_pb2.PredictRequest:
    """The request for these columns; a column's type is that of its first value."""
    return scorer_pb2.PredictRequest(
        model=model,
        version=version,
        columns=[_column(name, values) for name, values in columns.items()],
        event_timestamp_us=times_us,
    )


def _column(name: str, values: Sequence[Any]) -> scorer_pb2.Column:
    match values[0]:
        case int():
            return scorer_pb2.Column(name=name, int64s=scorer_pb2.Int64s(values=values))
        case float():
            return scorer_pb2.Column(name=name, doubles=scorer_pb2.Doubles(values=values))
        case _:
            return scorer_pb2.Column(name=name, strings=scorer_pb2.Strings(values=values))


def _ask(address: str, request: scorer_pb2.PredictRequest, timeout_s: float) -> scorer_pb2.PredictResponse:
    with grpc.insecure_channel(address) as channel:
        stub = scorer_pb2_grpc.ScorerStub(channel)  # type: ignore[no-untyped-call]  # generated
        try:
            response: scorer_pb2.PredictResponse = stub.Predict(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise _sentence(address, error) from error
    return response


def _sentence(address: str, error: Any) -> NoAnswer:
    """The server's own sentence; where there is no server, one that says how to start it."""
    code, detail = error.code(), error.details() or "no reason given"
    if code is grpc.StatusCode.UNAVAILABLE and "connect" in detail.lower():
        detail = "nothing listens there. Start a server with `lockstep serve`, or name another with --address."
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        detail = "no answer within --timeout."
    return NoAnswer(address, code.name, detail)


def plain(answer: scorer_pb2.PredictResponse) -> dict[str, Any]:
    """The answer as plain data, with names in place of numbers."""
    return {
        "model": answer.model,
        "version": answer.version,
        "rung": Rung(answer.rung).name,
        "scores": list(answer.scores),
        "views": {
            view.view: {
                "counts": {Status(one.status).name: one.count for one in view.counts},
                "defaulted": view.defaulted,
            }
            for view in answer.views
        },
    }


def _print(columns: Mapping[str, Values], answer: scorer_pb2.PredictResponse) -> None:
    out, rung = console(), Rung(answer.rung)
    out.print(_scores(columns, answer.scores))
    out.print(_found(answer))
    out.print(f"{answer.model} version {answer.version}; {rung.name}: {RUNGS[rung]}")


def _scores(columns: Mapping[str, Values], scores: Iterable[float]) -> Table:
    table = Table("row", *columns, "score")
    for row, score in enumerate(scores):
        cells = [str(values[row] if len(values) > 1 else values[0]) for values in columns.values()]
        table.add_row(str(row), *cells, f"{score:.6g}")
    return table


def _found(answer: scorer_pb2.PredictResponse) -> Table:
    table = Table("view", "feature values found", "defaults used")
    for view in answer.views:
        counts = ", ".join(f"{one.count} {Status(one.status).name}" for one in view.counts)
        table.add_row(view.view, counts, str(view.defaulted))
    return table
