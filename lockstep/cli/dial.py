"""How a verb reaches a running server: address, deadline, TLS, token. Secrets come from files or the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from lockstep.errors import BadFile, BadRequest
from lockstep_client import Client, Tls
from lockstep_client.connection import Connection

__all__ = ["DIAL_OPTIONS", "TOKEN", "Dial"]

TOKEN = "LOCKSTEP_TOKEN"

DIAL_OPTIONS = (
    click.option("--address", default="localhost:50051", show_default=True, help="host:port of the server."),
    click.option(
        "--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="Deadline of a call, in seconds."
    ),
    click.option("--tls", is_flag=True, help="Dial with TLS; the options below imply it."),
    click.option(
        "--tls-authority",
        envvar="LOCKSTEP_TLS_AUTHORITY",
        help="What signs the server's certificate, in PEM.  [default: gRPC's own list]",
        metavar="FILE",
    ),
    click.option("--tls-certificate", envvar="LOCKSTEP_TLS_CERTIFICATE", help="This client's certificate, in PEM."),
    click.option("--tls-key", envvar="LOCKSTEP_TLS_KEY", help="The key of that certificate, in PEM.", metavar="FILE"),
    click.option("--tls-server-name", metavar="NAME", help="The name to expect in the server's certificate."),
    click.option(
        "--token-file",
        envvar="LOCKSTEP_TOKEN_FILE",
        help=f"File of the token that the server knows this caller by.  [default: the token in {TOKEN}]",
        metavar="FILE",
    ),
)
_PARTS = ("tls_authority", "tls_certificate", "tls_key", "tls_server_name")


@dataclass(frozen=True)
class Dial:
    """A server, and what it is shown."""

    address: str
    timeout_s: float
    tls: Tls | None
    token: str | None = field(repr=False)

    @staticmethod
    def read(options: Mapping[str, Any]) -> "Dial":
        """From the values of DIAL_OPTIONS. Raises BadRequest, BadFile."""
        timeout_s = options["timeout_s"]
        if not timeout_s > 0:
            raise BadRequest(f"--timeout is {timeout_s:g}; expected seconds above 0.")
        return Dial(options["address"], timeout_s, _tls(options), _token(options["token_file"]))

    def client(self) -> Client:
        """A client of that server. Raises BadRequest."""
        try:
            return Client(self.address, tls=self.tls, token=self.token, timeout_s=self.timeout_s)
        except ValueError as error:
            raise BadRequest(f"{error}") from error

    def connection(self) -> Connection:
        """The same for whoever makes stubs of their own; a call is tried once."""
        return Connection(self.address, self.tls, self.token, self.timeout_s, keep_alive_s=300.0, attempts=1)


def _tls(options: Mapping[str, Any]) -> Tls | None:
    authority, certificate, key, name = (options[part] for part in _PARTS)
    if not (options["tls"] or authority or certificate or key or name):
        return None
    try:
        return Tls.from_files(authority, certificate, key, server_name=name)
    except OSError as error:
        raise BadFile(error.filename, f"cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadRequest("--tls-certificate and --tls-key go together; name both files.") from error


def _token(path: str | None) -> str | None:
    if not path:
        return os.environ.get(TOKEN) or None
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"no token can be read there ({type(error).__name__}).") from error
