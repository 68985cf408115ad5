"""What a scorer stands on while things fail: one Redis behind a proxy, a cluster, or a master with a Sentinel."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from benchmarks.faults.proxy import Proxy, proxy
from benchmarks.faults.rows import Keys, restore
from benchmarks.faults.store import Store, store
from benchmarks.faults.topologies import Cluster, Watched, run_cluster, run_watched
from lockstep.redis_where import RedisType

__all__ = ["Ground", "on_ground"]

NODE_TIMEOUT_MS: Final = 1000
_PREFIX: Final = "LOCKSTEP_SERVE_REDIS"


@dataclass(frozen=True)
class Ground:
    """Redis, of one kind."""

    env: Mapping[str, str]
    """How a scorer finds it."""
    one: tuple[Store, Proxy] | None = None
    """The only server, and what stands before it."""
    many: Cluster | Watched | None = None


@contextmanager
def on_ground(kind: RedisType, folder: Path, keys: Keys) -> Iterator[Ground]:
    """A Redis of that kind with these keys, until the block ends."""
    match kind:
        case RedisType.REDIS:
            with store(folder, keys) as one, proxy(one.port) as between:
                yield Ground({_PREFIX: f"redis://127.0.0.1:{between.port}"}, one=(one, between))
        case RedisType.CLUSTER:
            with run_cluster(folder, replica=True, node_timeout_ms=NODE_TIMEOUT_MS) as cluster:
                with redis.RedisCluster(host="127.0.0.1", port=cluster.ports[0]) as client:
                    restore(client, keys)
                    client.wait(1, 10_000, target_nodes=client.get_node("127.0.0.1", cluster.ports[0]))
                yield Ground(_named(kind, cluster.connection_string), many=cluster)
        case RedisType.SENTINEL:
            with run_watched(folder) as watched:
                with redis.Redis(port=watched.ports[0]) as client:
                    restore(client, keys)
                    client.wait(1, 10_000)
                yield Ground(_named(kind, watched.connection_string), many=watched)


def _named(kind: RedisType, connection_string: str) -> dict[str, str]:
    return {_PREFIX: connection_string, f"{_PREFIX}_TYPE": str(kind)}
