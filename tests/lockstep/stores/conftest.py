"""The servers that the stores are tried on."""

from tests.topologies import redis_cluster, redis_sentinel, redis_tls

__all__ = ["redis_cluster", "redis_sentinel", "redis_tls"]
