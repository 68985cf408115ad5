"""From a connection string to a client of one Redis, of a Redis Cluster, or of the master that Sentinels name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode

from lockstep.errors import BadConnection

__all__ = ["AsyncClient", "Client", "RedisType", "Where", "connect", "connect_async", "parse"]

Client: TypeAlias = redis.Redis | redis.RedisCluster
AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster

_TIMEOUTS: Final[dict[str, Any]] = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0}
"""Seconds. Without them a host that vanishes blocks its caller for ever."""


class RedisType(StrEnum):
    """The topologies, with the names of Feast's own Redis store."""

    REDIS = "redis"
    CLUSTER = "redis_cluster"
    SENTINEL = "redis_sentinel"


@dataclass(frozen=True)
class Where:
    """Everything that names a Redis."""

    connection_string: str
    """host:port,host:port,option=value,… as Feast's Redis store takes it, or a redis:// or rediss:// URL."""
    redis_type: RedisType = RedisType.REDIS
    sentinel_master: str = "mymaster"
    credentials: Mapping[str, str] = field(default_factory=dict)
    """`username` and `password`; they go before those of the connection string."""
    sentinel_kwargs: Mapping[str, Any] = field(default_factory=dict)
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
        raise BadConnection(f"connection string: {part!r} is no host:port.")
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


def connect(where: Where) -> Client:
    """A client; it connects when it is used. Raises BadConnection where the options are none of redis-py's."""
    return _connected(where, redis, ClusterNode, redis.sentinel.Sentinel, redis.retry.Retry)


def connect_async(where: Where) -> AsyncClient:
    """The same for asyncio."""
    return _connected(
        where, redis.asyncio, AsyncClusterNode, redis.asyncio.sentinel.Sentinel, redis.asyncio.retry.Retry
    )


def _connected(where: Where, library: Any, node: Any, sentinel: Any, retry: Any) -> Any:
    """One of redis-py's clients. It tries a failed command again for half a second; by itself it would for many."""
    defaults = {**_TIMEOUTS, "retry": retry(ExponentialBackoff(cap=0.3, base=0.05), 3)}
    clustered = where.redis_type is RedisType.CLUSTER
    if "://" in where.connection_string:
        if where.redis_type is RedisType.SENTINEL:
            raise BadConnection("a URL names one Redis. For Sentinels write host:port,host:port,option=value….")
        client = library.RedisCluster if clustered else library.Redis
        return _made(client.from_url, where.connection_string, **defaults, **where.credentials)
    nodes, options = parse(where.connection_string)
    options = {**defaults, **options, **where.credentials}
    if clustered:
        return _made(library.RedisCluster, startup_nodes=[node(*each) for each in nodes], **options)
    if where.redis_type is RedisType.SENTINEL:
        named = options.pop("sentinel_kwargs", {})
        timeouts = {name: value for name, value in options.items() if name.startswith("socket_")}
        # A Sentinel that is down is passed over at once; redis-py would first try it again for 10 s.
        watching = {"retry": retry(NoBackoff(), 0), **timeouts, **named, **where.sentinel_kwargs}
        watch = _made(sentinel, nodes, sentinel_kwargs=watching, **options)
        return watch.master_for(where.sentinel_master)
    host, port = nodes[0]
    return _made(library.Redis, host=host, port=port, **options)


def _made(factory: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return factory(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise BadConnection(f"connection string: {error}.") from error
