"""The topologies: one Redis, the master that Sentinels name, a cluster."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import hiredis

from lockstep.errors import BadConnection, StoreUnreachable
from lockstep.redis_where import RedisType, Where, nodes_and_options
from serving.redis.cluster import ClusterClient
from serving.redis.node import Node
from serving.redis.put import all_taken, writes
from serving.redis.terms import UNREACHED, Access, Answer, RedisClient, Unreached, hash_of, mget, packed
from serving.redis.watch import Watch

__all__ = ["SentinelClient", "SingleClient", "open_client"]

_IGNORED: Final = frozenset(
    {
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options", "protocol"),
        *("retry", "retry_on_timeout", "retry_on_error", "health_check_interval", "max_connections", "client_name"),
        *("decode_responses", "skip_full_coverage_check", "key_ttl_seconds", "full_scan_for_deletion"),
    }
)
"""Options that redis-py takes and that change nothing about which server is asked, or how safely."""
_VERIFY: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}

log = logging.getLogger(__name__)


def open_client(where: Where, *, patience_s: float = 1.0, node_s: float = 0.1, breaker_s: float = 0.25) -> RedisClient:
    """A client; it connects when it is used. Raises BadConnection for an option that it cannot honour."""
    nodes, options = nodes_and_options(where)
    access = replace(_access(options, patience_s), node_s=node_s, breaker_s=breaker_s)
    if where.redis_type is RedisType.CLUSTER:
        return ClusterClient(nodes, access)
    if where.redis_type is RedisType.SENTINEL:
        return SentinelClient(nodes, where.sentinel_master, access, _access(dict(where.sentinel_kwargs), patience_s))
    return SingleClient(Node(*nodes[0], access))


def _access(options: dict[str, Any], patience_s: float) -> Access:
    rest = {name: value for name, value in options.items() if name not in _IGNORED}
    tls = _tls(rest) if rest.pop("ssl", False) else None
    known = {name: rest.pop(name) for name in ("username", "password", "db") if name in rest}
    if rest:
        raise BadConnection(f"connection string: the scorer does not know the option {next(iter(rest))!r}.")
    return Access(**known, tls=tls, patience_s=patience_s)


def _tls(rest: dict[str, Any]) -> ssl.SSLContext:
    """A context from redis-py's ssl_… options, which are taken out of `rest`."""
    authorities, certificate, key = (rest.pop(f"ssl_{name}", None) for name in ("ca_certs", "certfile", "keyfile"))
    required = str(rest.pop("ssl_cert_reqs", "required"))
    check_host = bool(rest.pop("ssl_check_hostname", required == "required"))
    if required not in _VERIFY:
        raise BadConnection(f"connection string: ssl_cert_reqs is {required!r}; write required, optional or none.")
    try:
        context = ssl.create_default_context(cafile=authorities)
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        raise BadConnection(f"connection string: the TLS files cannot be read: {error}.") from error
    context.check_hostname = check_host and required != "none"
    context.verify_mode = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}[
        required
    ]
    return context


async def _get(node: Node, keys: Sequence[bytes]) -> Sequence[Answer]:
    """One MGET."""
    try:
        (reply,) = await node.send(mget(keys))
    except StoreUnreachable:
        return [UNREACHED] * len(keys)
    if isinstance(reply, hiredis.ReplyError):
        log.error("Redis at %s refused a read: %s", node.address, reply, extra={"reason": f"redis {node.address}"})
        return [UNREACHED] * len(keys)
    found: list[Answer] = reply
    return found


async def _hashes(node: Node, keys: Sequence[bytes]) -> Sequence[dict[bytes, bytes] | Unreached]:
    if not keys:
        return []
    commands = b"".join(packed(b"HGETALL", key) for key in keys)
    try:
        return [hash_of(reply) for reply in await node.send(commands, len(keys))]
    except StoreUnreachable:
        return [UNREACHED] * len(keys)


async def _put(node: Node, keys: Sequence[bytes], rows: Sequence[bytes], expire_ms: int | None) -> bool:
    made = writes(keys, rows, expire_ms)
    try:
        return all_taken(await node.send(b"".join(packed(*one) for one in made), len(made)))
    except StoreUnreachable:
        return False


class SingleClient:
    """One Redis."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def get(self, keys: Sequence[bytes]) -> Sequence[Answer]:
        """As RedisClient says."""
        return await _get(self._node, keys) if keys else []

    async def hashes(self, keys: Sequence[bytes]) -> Sequence[dict[bytes, bytes] | Unreached]:
        """As RedisClient says."""
        return await _hashes(self._node, keys) if keys else []

    async def put(self, keys: Sequence[bytes], rows: Sequence[bytes], expire_ms: int | None) -> bool:
        """As RedisClient says."""
        return await _put(self._node, keys, rows, expire_ms)

    async def close(self) -> None:
        """As RedisClient says."""
        await self._node.close()


class SentinelClient:
    """The master that the Sentinels name, asked for again every second."""

    def __init__(self, sentinels: Sequence[tuple[str, int]], master: str, access: Access, watch: Access) -> None:
        self._sentinels = [Node(*each, watch) for each in sentinels]
        self._name, self._access = master, access
        self._master: Node | None = None
        self._watch = Watch(self._look)

    async def get(self, keys: Sequence[bytes]) -> Sequence[Answer]:
        """As RedisClient says."""
        await self._watch.looked()
        return await _get(self._master, keys) if self._master is not None else [UNREACHED] * len(keys)

    async def hashes(self, keys: Sequence[bytes]) -> Sequence[dict[bytes, bytes] | Unreached]:
        """As RedisClient says."""
        await self._watch.looked()
        return await _hashes(self._master, keys) if self._master is not None else [UNREACHED] * len(keys)

    async def put(self, keys: Sequence[bytes], rows: Sequence[bytes], expire_ms: int | None) -> bool:
        """As RedisClient says."""
        await self._watch.looked()
        return await _put(self._master, keys, rows, expire_ms) if self._master is not None else False

    async def close(self) -> None:
        """As RedisClient says."""
        await self._watch.close()
        for node in (*self._sentinels, *([self._master] if self._master else [])):
            await node.close()

    async def _look(self) -> None:
        """Ask the Sentinels, the first that answers counts, and goes first the next time."""
        command = packed(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._name)
        for place, sentinel in enumerate(self._sentinels):
            try:
                async with asyncio.timeout(self._access.patience_s):
                    (reply,) = await sentinel.send(command)
            except (StoreUnreachable, TimeoutError):
                continue
            if isinstance(reply, list):
                self._sentinels.insert(0, self._sentinels.pop(place))
                await self._follow(reply[0].decode(), int(reply[1]))
                return
            log.error("a Sentinel does not know the master %r: %s", self._name, reply, extra={"reason": "sentinel"})

    async def _follow(self, host: str, port: int) -> None:
        before = self._master
        if before is None or (before.host, before.port) != (host, port):
            self._master = Node(host, port, self._access)
            log.info("the master is at %s:%d", host, port)
            if before is not None:
                await before.close()
