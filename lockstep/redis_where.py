"""What names a Redis: the connection strings of Feast's Redis store, and URLs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from lockstep.errors import BadConnection

__all__ = ["RedisType", "Where", "nodes_and_options", "parse", "split_url"]


class RedisType(StrEnum):
    """The topologies, with the names of Feast's own Redis store."""

    REDIS = "redis"
    CLUSTER = "redis_cluster"
    SENTINEL = "redis_sentinel"


@dataclass(frozen=True)
class Where:
    """Everything that names a Redis."""

    connection_string: str = field(repr=False)
    """host:port,host:port,option=value,… as Feast's Redis store takes it, or a redis:// or rediss:// URL."""
    redis_type: RedisType = RedisType.REDIS
    sentinel_master: str = "mymaster"
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`username` and `password`; they go before those of the connection string."""
    sentinel_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Options of the connections to the Sentinels themselves, e.g. their password or ssl."""


def parse(connection_string: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Nodes and options of a connection string. Raises BadConnection.

    >>> parse("cache:6379,db=2,ssl=true,username=bidder,password=0123")
    ([('cache', 6379)], {'db': 2, 'ssl': True, 'username': 'bidder', 'password': '0123'})
    """
    parts = [part.strip() for part in connection_string.split(",") if part.strip()]
    nodes = [_node(part) for part in parts if "=" not in part]
    if not nodes:
        raise BadConnection(
            "the connection string names no host. Write host:port[,option=value…], e.g. localhost:6379,db=0."
        )
    return nodes, dict(_option(part) for part in parts if "=" in part)


def _node(part: str) -> tuple[str, int]:
    host, _, port = part.rpartition(":")
    if not host or not port.isdecimal():
        # Not shown: the end of a password that has a comma in it looks like this too.
        raise BadConnection(
            "connection string: a part is neither host:port nor option=value. A password with a comma goes into a file "
            "or a URL."
        )
    return host.strip("[]"), int(port)


def _option(part: str) -> tuple[str, Any]:
    """A value is JSON where it can be read so; a name or a password is always text."""
    name, value = part.split("=", 1)
    if name in ("username", "password"):
        return name, value
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def nodes_and_options(where: Where) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Nodes and options of either form, credentials included. Raises BadConnection.

    >>> nodes_and_options(Where("rediss://bidder:0123@cache:6380/2?ssl_ca_certs=ca.pem"))
    ([('cache', 6380)], {'ssl_ca_certs': 'ca.pem', 'db': 2, 'ssl': True, 'username': 'bidder', 'password': '0123'})
    """
    if "://" not in where.connection_string:
        nodes, options = parse(where.connection_string)
        return nodes, {**options, **where.credentials}
    url, host, port = split_url(where.connection_string)
    options = dict(_option(f"{name}={value}") for name, value in parse_qsl(url.query))
    if url.path.strip("/"):
        options["db"] = _option(f"db={url.path.strip('/')}")[1]
    if url.scheme == "rediss":
        options["ssl"] = True
    for name, value in (("username", url.username), ("password", url.password)):
        if value:
            options[name] = unquote(value)
    return [(host, port)], {**options, **where.credentials}


def split_url(text: str) -> tuple[SplitResult, str, int]:
    """A URL, its host and port. Raises BadConnection, which does not show the URL: it may hold a password."""
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or 6379
    except ValueError:  # its text would show what stands where a port belongs, e.g. half a password
        host = None
    if not host or url.scheme not in ("redis", "rediss"):
        raise BadConnection(
            "the URL of a Redis is redis://[user:password@]host[:port][/db], or rediss:// for TLS. In a password write "
            "%2F for /, %40 for @, %3A for : and %23 for #."
        )
    return url, host, port
