"""How a channel is opened: TLS, keep-alive, retries, the token. The same for both clients."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

__all__ = ["Connection", "Tls", "Token"]

Token = str | Callable[[], str]
"""Sent as `authorization: Bearer …` with every call; a function is asked for it every time, so that it can change."""

SERVICE = "lockstep.v1.Scorer"
RETRIED = ("Predict", "GetFeatures", "ListModels", "GetModel")
"""Calls that change nothing and carry one message each way. A stream is the caller's to begin again: only the caller
knows which answers it has used."""
LEAST_KEEP_ALIVE_S = 10.0


@dataclass(frozen=True)
class Tls:
    """A connection with TLS. All in PEM; `from_files` reads files."""

    root_certificates: bytes | None = None
    """What signs the server's certificate; None: gRPC's own list of authorities."""
    certificate_chain: bytes | None = None
    """The client's own certificate, where the server asks for one."""
    private_key: bytes | None = field(default=None, repr=False)
    """The key of that certificate."""
    server_name: str | None = None
    """The name to expect in the server's certificate where it is not the one that is dialled."""

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("a client's certificate and its private key go together; give both or none.")

    @staticmethod
    def from_files(
        authority: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        *,
        server_name: str | None = None,
    ) -> "Tls":
        """From PEM files: what signs the server's certificate, the client's own certificate and its key.

        Raises OSError where one cannot be read, ValueError for a certificate without its key.
        """
        return Tls(_read(authority), _read(certificate), _read(key), server_name)


@dataclass(frozen=True)
class Connection:
    """What both clients know of the server. Raises ValueError when built from values that cannot work."""

    address: str
    """host:port, or any name that gRPC resolves (dns:///scorer:50051, unix:/run/scorer.sock)."""
    tls: Tls | None
    token: Token | None = field(repr=False)
    timeout_s: float
    """Deadline of a call that names none of its own."""
    keep_alive_s: float
    """While calls are under way and nothing is heard, a ping is sent after this time. Servers and proxies that were
    not told otherwise end connections that ping more often than every 5 minutes."""
    attempts: int
    """How often a call is tried in all, within its deadline, while no server is available."""

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError("address is empty; expected host:port, e.g. localhost:50051.")
        self.deadline_s(self.timeout_s)
        if not self.keep_alive_s >= LEAST_KEEP_ALIVE_S:
            raise ValueError(f"keep_alive_s is {self.keep_alive_s}; expected at least {LEAST_KEEP_ALIVE_S:g} seconds.")
        if self.attempts not in range(1, 6):
            raise ValueError(f"attempts is {self.attempts}; expected 1 (no retry) to 5.")
        if self.token is not None and self.tls is None and not _is_local(self.address):
            raise ValueError(f"a token would travel to {self.address} unencrypted for all to read; give tls=Tls(...).")

    def deadline_s(self, timeout_s: float | None) -> float:
        """The timeout of one call in seconds. Raises ValueError where it is no positive number."""
        seconds = self.timeout_s if timeout_s is None else timeout_s
        if not 0 < seconds < math.inf:
            raise ValueError(f"timeout_s is {seconds}; expected a number of seconds above 0.")
        return seconds

    def metadata(self) -> tuple[tuple[str, str], ...] | None:
        """What goes with every call."""
        if self.token is None:
            return None
        token = self.token if isinstance(self.token, str) else self.token()
        return (("authorization", f"Bearer {token}"),)

    def open(self, api: Any, options: Sequence[tuple[str, str | int]] | None = None) -> Any:
        """A channel of grpc or grpc.aio: `api` is the module. With `options`, channel arguments in place of ours."""
        chosen = [*(self.options() if options is None else options)]
        if self.tls is None:
            return api.insecure_channel(self.address, options=chosen)
        tls = self.tls
        if tls.server_name is not None:
            chosen.append(("grpc.ssl_target_name_override", tls.server_name))
        credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
        return api.secure_channel(self.address, credentials, options=chosen)

    def options(self) -> list[tuple[str, str | int]]:
        """Channel arguments, by gRPC's names."""
        return [
            ("grpc.service_config", json.dumps(self.service_config())),
            ("grpc.keepalive_time_ms", round(self.keep_alive_s * 1e3)),
            # Also how long the kernel lets sent bytes go unacknowledged: a peer that is gone is noticed within it.
            ("grpc.keepalive_timeout_ms", 5_000),
            # By default gRPC waits longer and longer, up to 2 minutes, before it dials a server that has come back.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]

    def service_config(self) -> dict[str, Any]:
        """Retries by gRPC itself, and addresses behind one name take turns.

        A call is tried again only where no server was available, with growing pauses or those that the server asks for.
        """
        config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
        if self.attempts > 1:
            policy = {
                "maxAttempts": self.attempts,
                "initialBackoff": "0.02s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
            names = [{"service": SERVICE, "method": method} for method in RETRIED]
            config["methodConfig"] = [{"name": names, "retryPolicy": policy}]
            # When most calls fail, retries stop: they would only keep a server that struggles from recovering.
            config["retryThrottling"] = {"maxTokens": 100, "tokenRatio": 0.1}
        return config


def _read(path: str | Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def _is_local(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "127.0.0.1", "::1") or address.startswith("unix:")
