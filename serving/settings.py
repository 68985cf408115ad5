"""The settings of a serving process: one frozen record, read once from the environment and checked when built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lockstep.errors import BadSetting, did_you_mean
from lockstep.home import default_home
from lockstep.redis_where import RedisType, Where

__all__ = ["PREFIX", "Settings"]

PREFIX = "LOCKSTEP_SERVE_"
_COUNTS = ("workers", "batch_rows", "stream_window")
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class Settings:
    """Each field is read from LOCKSTEP_SERVE_<FIELD>. Raises BadSetting when built from values that cannot work."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every IPv4 interface. There is no authentication: keep it in your network."""
    port: int = 50051
    """TCP port; with 0 the system chooses one, and the line printed at the start says which."""
    workers: int = 1
    """Processes that share the port. One is enough for a core or two: a worker keeps about one core busy."""
    share_port: bool = False
    """Listen beside other servers on the same port: workers do, and a server that is to replace another."""
    models_url: str = field(default_factory=lambda: str(default_home().models))
    """Folder or fsspec URL that holds models/<name>/<version>/; by default that of LOCKSTEP_HOME."""
    reader: str = "serving.packed_reader:PackedReader"
    """The class that reads the online store, as module:Class; lockstep.stores.reader:FeastReader reads any store that
    Feast knows, slower."""
    redis: str = field(default_factory=lambda: os.environ.get("REDIS_URL") or "localhost:6379")
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
    redis_node_ms: float = 50.0
    """A node of a cluster that takes longer for a read is passed over; its keys are UNREACHABLE in that answer. To be
    less than the store's share of the shortest deadline."""
    max_rows: int = 1000
    """Most rows in one request."""
    batch_rows: int = 1024
    """Most rows of requests that share one read and one run of the model; a larger request has its own."""
    batch_hold_ms: float = 2.0
    """How long a batch that waits for the store holds the next one back; requests gather meanwhile."""
    stream_window: int = 64
    """How many requests of one stream are read ahead of the answers that its caller has taken."""
    oip_repository_control: bool = False
    """Whether callers may load and unload models by the Open Inference Protocol."""
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
                    raise BadSetting(variable.removeprefix(PREFIX).lower(), text, f"no setting of that name.{hint}")
                read[name] = _parse(name, known[name], text)
        return Settings(**{**read, **{name: value for name, value in overrides.items() if value is not None}})


def _parse(name: str, kind: Any, text: str) -> Any:
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
    _within(settings, "batch_hold_ms", 0, 1_000)
    if settings.redis_type not in list(RedisType):
        raise BadSetting("redis_type", settings.redis_type, f"expected {', '.join(RedisType)}.")
    if ":" not in settings.reader:
        raise BadSetting("reader", settings.reader, "expected module:Class.")
    for name in ("host", "models_url", "redis"):
        if not getattr(settings, name):
            raise BadSetting(name, "", "expected a text.")


def _within(settings: Settings, name: str, low: float, high: float) -> None:
    value = getattr(settings, name)
    if not low <= value <= high:  # NaN is never within
        raise BadSetting(name, value, f"expected a number from {low:,} to {high:,}.")
