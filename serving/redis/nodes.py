"""How the Redis servers of this process are, for its metrics."""

from collections import defaultdict
from collections.abc import Iterator

from serving.metrics.samples import Key, Value
from serving.redis.node import NODES, Node

__all__ = ["node_samples"]


def node_samples() -> Iterator[tuple[str, Key, Value]]:
    """Of every server; there may be two connections to one."""
    servers = defaultdict[str, list[Node]](list)
    for node in list(NODES):
        if node.is_used:
            servers[node.address].append(node)
    for address, nodes in sorted(servers.items()):
        yield "lockstep_redis_down", (address,), float(any(node.is_down for node in nodes))
        yield "lockstep_redis_failures_total", (address,), float(sum(node.failures for node in nodes))
