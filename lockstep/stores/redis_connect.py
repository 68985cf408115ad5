"""From a connection string to a client of one Redis, of a Redis Cluster, or of the master that Sentinels name."""

from typing import Any, Final, TypeAlias

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode

from lockstep.errors import BadConnection
from lockstep.redis_where import RedisType, Where, parse, split_url

__all__ = ["AsyncClient", "Client", "RedisType", "Where", "connect", "connect_async", "parse"]

Client: TypeAlias = redis.Redis | redis.RedisCluster
AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster

_TIMEOUTS: Final[dict[str, Any]] = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0}
"""Seconds. Without them a host that vanishes blocks its caller for ever."""


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
        split_url(where.connection_string)  # redis-py's own error would show what stands in the place of a port
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
