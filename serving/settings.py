"""The settings of a serving process: one frozen record, read once from the environment and checked when built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from lockstep.errors import BadSetting, did_you_mean
from lockstep.home import default_home
from lockstep.redis_where import RedisType, Where

__all__ = ["METRICS_PORT", "PREFIX", "Settings", "is_loopback"]

PREFIX = "LOCKSTEP_SERVE_"
METRICS_PORT = 9464
"""Where OpenTelemetry's exporters for Prometheus listen: the port that a program's own metrics are looked for on."""
PAGE_TRY = ("local", "always", "never")
_ROOM = ("max_queue_rows", "max_queue_requests", "max_connection_calls")
_COUNTS = ("workers", "worker", "batch_rows", "stream_window", *_ROOM)
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class Settings:
    """Each field is read from LOCKSTEP_SERVE_<FIELD>. Raises BadSetting when built from values that cannot work."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every IPv4 interface. Before you open it: docs/security.md."""
    port: int = 50051
    """TCP port; with 0 the system chooses one, and the line printed at the start says which."""
    tls_certificate: str = ""
    """PEM file of the server's certificate, followed by those up to its authority: the port then speaks TLS alone.
    Files that are replaced count from the next connection on."""
    tls_key: str = ""
    """PEM file of its private key, without a passphrase."""
    tls_client_authorities: str = ""
    """PEM file of the authorities whose clients are let in; with it every client shows a certificate."""
    callers_file: str = ""
    """TOML file of the callers that are answered, with the hashes of their tokens and their permissions; followed while
    the server runs. Without it and `callers` everybody who reaches the port is answered."""
    callers: str = field(default="", repr=False)
    """The same as text, for those who keep it in the environment."""
    reflection: bool = True
    """Answer which services and messages there are (grpc.reflection)."""
    workers: int = 1
    """Processes that share the port. One is enough for a core or two: a worker keeps about one core busy."""
    share_port: bool = False
    """Listen beside other servers on the same port: workers do, and a server that is to replace another."""
    worker: int = 1
    """Number of this process among several; the supervisor sets it."""
    supervisor_fd: int = -1
    """The socket over which the supervisor asks this worker what it does; the supervisor sets it. -1: none."""
    metrics: bool = True
    """Serve metrics, health and the page over HTTP."""
    metrics_host: str = "127.0.0.1"
    """Address for it. It knows no password: other machines, Prometheus among them, see it only where this is opened."""
    metrics_port: int | None = None
    """TCP port for it; with 0 the system chooses one, and a line printed at the start says which. None: 9464, or one
    that the system chooses where it chooses `port` too, so that servers can be tried out side by side."""
    page_hosts: str = ""
    """Names, comma-separated, under which browsers may ask for the page besides addresses and localhost."""
    page_try: str = "local"
    """Who may try predictions on the page, and so read features: "local", whoever can reach it, as long as
    `metrics_host` is a loopback address and callers need no token; "always"; "never"."""
    traces: bool = False
    """Trace calls with OpenTelemetry: docs/traces.md. Needs the extra `traces`."""
    traces_endpoint: str = ""
    """The collector that takes them, by OTLP over gRPC, e.g. http://localhost:4317; by default that of
    OTEL_EXPORTER_OTLP_ENDPOINT."""
    traces_ratio: float = 0.01
    """Share of the calls with which a trace begins; where the caller says whether it traces, its word counts."""
    models_url: str = field(default_factory=lambda: str(default_home().models))
    """Folder or fsspec URL that holds models/<name>/<version>/; by default that of LOCKSTEP_HOME."""
    bundle_key: str = ""
    """PEM file of the Ed25519 public key that bundles are signed for; one without its signature is refused."""
    reader: str = "serving.packed_reader:PackedReader"
    """The class that reads the online store, as module:Class; lockstep.stores.reader:FeastReader reads any store that
    Feast knows, slower."""
    redis: str = field(default_factory=lambda: os.environ.get("REDIS_URL") or "localhost:6379", repr=False)
    """Where the packed rows are: host:port,option=value… as for Feast's Redis store, or a redis:// or rediss:// URL; by
    default that of REDIS_URL."""
    redis_type: str = "redis"
    """redis, redis_cluster or redis_sentinel."""
    redis_password_file: str = ""
    """A file that holds the password; goes before the one in `redis`."""
    sentinel_master: str = "mymaster"
    """Name of the master that the Sentinels watch."""
    redis_patience_ms: float = 1_000.0
    """A Redis that leaves a read unanswered for so long is dialled again."""
    redis_breaker_ms: float = 250.0
    """A Redis that leaves a read unanswered for so long is not asked again until it answers; requests meanwhile are
    answered without it, at once."""
    redis_node_ms: float = 50.0
    """A node of a cluster that takes longer for a read is passed over; its keys are UNREACHABLE in that answer. To be
    less than the store's share of the shortest deadline."""
    max_rows: int = 1000
    """Most rows in one request."""
    batch_rows: int = 1024
    """Most rows of requests that share one read and one run of the model; a larger request has its own."""
    batch_hold_ms: float = 10.0
    """How long a batch that waits for the store holds the next one back; requests gather meanwhile."""
    max_queue_rows: int = 20_000
    """Most rows of a model that wait or are under way at once; a request beyond is told to come again later."""
    max_queue_requests: int = 1_024
    """Most requests of a model that wait or are under way at once, those of streams among them; as above."""
    max_connection_calls: int = 128
    """Most calls that one connection has under way at once: gRPC's clients keep the others until there is room."""
    stream_window: int = 64
    """How many requests of one stream are read ahead of the answers that its caller has taken."""
    oip_repository_control: bool = False
    """Whether callers may load and unload models by the Open Inference Protocol."""
    oip_repository_index: bool = True
    """Whether callers may list what the model store holds by the Open Inference Protocol."""
    max_message_bytes: int = 4 * 1024 * 1024
    """Largest request and reply."""
    default_deadline_ms: float = 1_000.0
    """Deadline of a request that names none."""
    max_deadline_ms: float = 10_000.0
    """Longest deadline that is honoured; a longer one counts as this."""
    reader_share: float = 0.7
    """Share of the time left that the online store may take; the rest is for the model and the way back."""
    refuse_event_timestamps: bool = False
    """Refuse requests that name their own time, so that t is always this server's clock."""
    newest_versions: int = 2
    """How many of a model's newest versions are loaded besides those that an alias names."""
    poll_s: float = 2.0
    """Time between two looks for new versions and aliases."""
    drain_s: float = 10.0
    """How long requests under way may still take after SIGTERM or SIGINT."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def redis_where(self) -> Where:
        """What names the Redis. Raises BadSetting where the password file cannot be read."""
        credentials = {}
        if self.redis_password_file:
            try:
                credentials["password"] = Path(self.redis_password_file).read_text().strip()
            except OSError as error:
                raise BadSetting("redis_password_file", self.redis_password_file, f"{error}.") from error
        return Where(self.redis, RedisType(self.redis_type), self.sentinel_master, credentials)

    @property
    def redis_times(self) -> dict[str, float]:
        """How long a Redis may take, in seconds, as `serving.redis.open_client` takes it."""
        return {
            "patience_s": self.redis_patience_ms / 1e3,
            "breaker_s": self.redis_breaker_ms / 1e3,
            "node_s": self.redis_node_ms / 1e3,
        }

    @property
    def metrics_at(self) -> int | None:
        """The port for metrics, 0 for any; None where they are off."""
        if not self.metrics:
            return None
        if self.metrics_port is None:
            return METRICS_PORT if self.port else 0
        return self.metrics_port

    @property
    def may_try(self) -> bool:
        """Whether the page may ask for scores."""
        if self.page_try == "local":  # the page asks for no token: where callers need one, it is no way around
            return is_loopback(self.metrics_host) and not (self.callers_file or self.callers)
        return self.page_try == "always"

    @staticmethod
    def from_env(environment: Mapping[str, str], **overrides: Any) -> "Settings":
        """The settings of an environment; `overrides` that are not None take precedence, e.g. command-line options.

        Raises BadSetting where a value cannot be read or LOCKSTEP_SERVE_… names no setting.
        """
        known = {one.name: one.type for one in fields(Settings)}
        read: dict[str, Any] = {}
        for variable, text in environment.items():
            if variable.startswith(PREFIX):
                name = variable.removeprefix(PREFIX).lower()
                if name not in known:
                    hint = did_you_mean(variable, [PREFIX + other.upper() for other in known])
                    raise BadSetting(name, _NotShown(), f"no setting of that name.{hint}")
                read[name] = _parse(name, known[name], text)
        return Settings(**{**read, **{name: value for name, value in overrides.items() if value is not None}})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; localhost is one."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class _NotShown:
    """Stands for a value that may be a secret: a variable of a wrong name may hold a password."""

    def __repr__(self) -> str:
        return "(not shown)"


def _parse(name: str, kind: Any, text: str) -> Any:
    if kind == int | None:
        kind = int
    try:
        if kind is bool:
            return _TRUTH[text.strip().lower()]
        return kind(text)
    except (ValueError, KeyError) as error:
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise BadSetting(name, text, f"expected {expected}.") from error


def _check(settings: Settings) -> None:
    """Refuse values that cannot work, the first one found."""
    _within(settings, "port", 0, 65_535)
    _within(settings, "reader_share", 0.05, 0.95)
    for name in ("max_rows", "max_message_bytes", "default_deadline_ms", "max_deadline_ms", "poll_s", *_COUNTS):
        _within(settings, name, 1e-3 if name == "poll_s" else 1, 2**31 - 1)
    for name in ("newest_versions", "drain_s"):
        _within(settings, name, 0, 86_400)
    _within(settings, "redis_patience_ms", 1, 600_000)
    _within(settings, "redis_node_ms", 1, 600_000)
    _within(settings, "redis_breaker_ms", 1, 600_000)
    _within(settings, "batch_hold_ms", 0, 1_000)
    if settings.metrics_port is not None:
        _within(settings, "metrics_port", 0, 65_535)
    _within(settings, "traces_ratio", 0, 1)
    if not settings.traces_endpoint.startswith(("http://", "https://")) and settings.traces_endpoint:
        raise BadSetting("traces_endpoint", settings.traces_endpoint, "expected http://host:port or https://host:port.")
    if settings.page_try not in PAGE_TRY:
        raise BadSetting("page_try", settings.page_try, f"expected {', '.join(PAGE_TRY)}.")
    if settings.redis_type not in list(RedisType):
        raise BadSetting("redis_type", settings.redis_type, f"expected {', '.join(RedisType)}.")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise BadSetting("tls_key", settings.tls_key, "a certificate and its key go together; name both files.")
    if settings.tls_client_authorities and not settings.tls_certificate:
        authorities = settings.tls_client_authorities
        raise BadSetting("tls_client_authorities", authorities, "needs tls_certificate and tls_key.")
    if ":" not in settings.reader:
        raise BadSetting("reader", settings.reader, "expected module:Class.")
    for name in ("host", "metrics_host", "models_url", "redis"):
        if not getattr(settings, name):
            raise BadSetting(name, "", "expected a text.")


def _within(settings: Settings, name: str, low: float, high: float) -> None:
    value = getattr(settings, name)
    if not low <= value <= high:  # NaN is never within
        raise BadSetting(name, value, f"expected a number from {low:,} to {high:,}.")
