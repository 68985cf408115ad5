"""What the verbs that ask a running server share: their options, the question, and errors as sentences."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import click
import grpc
import numpy as np
from numpy.typing import NDArray

from lockstep.cli.columns import Values, read_columns
from lockstep.cli.dial import DIAL_OPTIONS, TOKEN, Dial
from lockstep.errors import BadRequest, LockstepError, NoAnswer
from lockstep.times import now_us, parse_time
from lockstep_client import Client, DeadlineExceeded, ScorerError, Unauthenticated, Unavailable

__all__ = ["COLUMNS_ARE_OPTIONS", "Question", "asking", "question_options", "sentence"]

COLUMNS_ARE_OPTIONS = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": True}
"""Context settings of a command that takes columns of a model as options."""

_OPTIONS = (
    click.option("--model", default="install", show_default=True, help="Name of the model."),
    click.option("--version", default="champion", show_default=True, help="A version or an alias."),
    click.option(
        "--at",
        metavar="TIME[,TIME...]",
        help="t, in ISO 8601; one for all rows or one per row.  [default: the server's clock]",
    ),
    *DIAL_OPTIONS,
    click.option(
        "--column", "named", multiple=True, metavar="NAME=VALUE[,VALUE...]", help="A column whose name is an option."
    ),
)

Command = Callable[..., Any]


def question_options(command: Command) -> Command:
    """Add the options that `Question.read` takes."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), command)


@dataclass(frozen=True)
class Question:
    """What a person asks of a server."""

    dial: Dial
    model: str
    version: str
    columns: Mapping[str, Values]
    """By name: one value per row, or one for all rows."""
    at_us: tuple[int, ...]
    """t in µs: none for the server's clock, one for all rows or one per row."""

    @staticmethod
    def read(context: click.Context, named: tuple[str, ...], at: str | None, **options: Any) -> "Question":
        """From the options of a command; those it does not know are columns. Raises BadRequest, BadColumn, BadFile."""
        columns = read_columns([*context.args, *(f"--{text}" for text in named)])
        times = tuple(parse_time(text) for text in at.split(",")) if at else ()
        return Question(Dial.read(options), options["model"], options["version"], columns, times)

    @property
    def at(self) -> list[int] | None:
        """The times as the client takes them."""
        return list(self.at_us) or None

    def times_us(self, rows: int) -> NDArray[np.int64]:
        """The t of each row, shape (rows,); where the server takes its clock, this machine's stands in."""
        return np.broadcast_to(np.array(self.at_us or now_us(), np.int64), rows)


@contextmanager
def asking(dial: Dial) -> Iterator[Client]:
    """A client of that server; what goes wrong leaves as NoAnswer or BadRequest."""
    with dial.client() as client:
        try:
            yield client
        except ScorerError as error:
            raise sentence(dial.address, error) from error


def sentence(address: str, error: ScorerError) -> LockstepError:
    """The server's own sentence; where there is no server, one that says how to start it."""
    if not isinstance(error.__cause__, grpc.RpcError):
        return BadRequest(error.message)  # seen here, before anything was sent
    detail = error.message
    if isinstance(error, Unavailable) and _handshake_failed(detail):
        detail = (
            "the server and this client found no common TLS. Does the server speak it, does --tls-authority name what "
            "signs its certificate, and does it ask for --tls-certificate?"
        )
    elif isinstance(error, Unavailable) and "Failed to connect" in detail:
        detail = "nothing listens there. Start a server with `lockstep serve`, or name another with --address."
    elif isinstance(error, Unauthenticated):
        detail = f"the server knows no such caller. Name the token's file with --token-file, or set {TOKEN}."
    elif isinstance(error, DeadlineExceeded):
        detail = "no answer within --timeout."
    return NoAnswer(address, error.code.name, detail)


# What gRPC says where a handshake ends. A server that wants a certificate may refuse only after the client's part
# of TLS 1.3 is done: the client then sees a connection that is closed or reset.
_NO_HANDSHAKE = (
    *("SSL", "TLS", "CERTIFICATE", "HTTP2 initial SETTINGS"),
    *("Socket closed", "Connection reset", "Broken pipe"),
)


def _handshake_failed(detail: str) -> bool:
    return any(word in detail for word in _NO_HANDSHAKE)
