"""A Redis Cluster: the keys of each node in one round trip, all nodes at the same time."""

import asyncio
import logging
from binascii import crc_hqx
from collections.abc import Sequence
from typing import Final

import hiredis

from lockstep.errors import StoreUnreachable
from serving.redis.node import Node
from serving.redis.put import Command, all_taken, writes
from serving.redis.terms import UNREACHED, Access, Answer, Reply, Unreached, hash_of, packed
from serving.redis.watch import Watch

__all__ = ["ClusterClient", "slot_of"]

SLOTS: Final = 16384

log = logging.getLogger(__name__)


class ClusterClient:
    """A cluster: the keys of each node in one round trip, all nodes at the same time."""

    def __init__(self, nodes: Sequence[tuple[str, int]], access: Access) -> None:
        self._access = access
        self._nodes = {each: Node(*each, access) for each in nodes}
        self._seeds = list(nodes)
        self._owners: list[Node | None] = [None] * SLOTS
        self._watch = Watch(self._look)

    async def get(self, keys: Sequence[bytes]) -> Sequence[Answer]:
        """As RedisClient says. A key whose slot has moved is asked for again where it went."""
        found = await self._routed(keys, [(b"GET", key) for key in keys])
        for error in {str(each) for each in found if isinstance(each, hiredis.ReplyError)}:
            log.error("the cluster refused a read: %s", error, extra={"reason": "redis refused"})
        return [UNREACHED if isinstance(each, hiredis.ReplyError) else each for each in found]

    async def hashes(self, keys: Sequence[bytes]) -> Sequence[dict[bytes, bytes] | Unreached]:
        """As RedisClient says."""
        found = await self._routed(keys, [(b"HGETALL", key) for key in keys])
        return [each if isinstance(each, Unreached) else hash_of(each) for each in found]

    async def put(self, keys: Sequence[bytes], rows: Sequence[bytes], expire_ms: int | None) -> bool:
        """As RedisClient says."""
        return all_taken(await self._routed(keys, writes(keys, rows, expire_ms, at_once=1)))

    async def close(self) -> None:
        """As RedisClient says."""
        await self._watch.close()
        for node in self._nodes.values():
            await node.close()

    async def _routed(self, keys: Sequence[bytes], commands: Sequence[Command]) -> list[Reply | Unreached]:
        """The replies to commands; command i goes where key i lives."""
        await self._watch.looked()
        answers: list[Reply | Unreached] = [UNREACHED] * len(commands)
        places: dict[Node, list[int]] = {}
        for place, key in enumerate(keys):
            owner = self._owners[slot_of(key)]
            if owner is not None:
                places.setdefault(owner, []).append(place)
        sent = [self._ask(node, commands, some, answers) for node, some in places.items()]
        await (asyncio.gather(*sent) if len(sent) != 1 else sent[0])
        if len(places) == 0 or any(each is UNREACHED for each in answers):
            self._watch.hurry()
        moved = [place for place, each in enumerate(answers) if _is_moved(each)]
        if moved:
            await self._again(commands, moved, answers)
        return answers

    async def _ask(
        self,
        node: Node,
        commands: Sequence[Command],
        places: Sequence[int],
        answers: list[Reply | Unreached],
    ) -> None:
        try:
            async with asyncio.timeout(self._access.node_s):
                replies = await node.send(b"".join([packed(*commands[place]) for place in places]), len(places))
        except (StoreUnreachable, TimeoutError):
            return
        for place, reply in zip(places, replies, strict=True):
            answers[place] = reply

    async def _again(self, commands: Sequence[Command], moved: Sequence[int], answers: list[Reply | Unreached]) -> None:
        """Follow MOVED and ASK once: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/."""
        self._watch.hurry()
        await asyncio.gather(*(self._follow(commands[place], place, answers) for place in moved))

    async def _follow(self, command: Command, place: int, answers: list[Reply | Unreached]) -> None:
        kind, _, address = str(answers[place]).split()[:3]
        host, _, port = address.rpartition(":")
        node = self._node(host, int(port))
        answers[place] = UNREACHED
        try:
            async with asyncio.timeout(self._access.node_s):
                if kind == "ASK":
                    answers[place] = (await node.send(packed(b"ASKING") + packed(*command), 2))[1]
                else:
                    answers[place] = (await node.send(packed(*command)))[0]
        except (StoreUnreachable, TimeoutError):
            return

    def _node(self, host: str, port: int) -> Node:
        if (host, port) not in self._nodes:
            self._nodes[host, port] = Node(host, port, self._access)
        return self._nodes[host, port]

    async def _look(self) -> None:
        """Ask any node who owns which slot."""
        for address in [*self._seeds, *self._nodes]:
            try:
                async with asyncio.timeout(self._access.patience_s):
                    (reply,) = await self._node(*address).send(packed(b"CLUSTER", b"SLOTS"))
            except (StoreUnreachable, TimeoutError):
                continue
            if isinstance(reply, list) and reply:
                for first, last, owner, *_ in reply:
                    host = (owner[0] or b"").decode()
                    host = address[0] if host in ("", "?") else host  # it does not know how others call it
                    self._owners[first : last + 1] = [self._node(host, owner[1])] * (last - first + 1)
                await self._forget_who_left()
                return

    async def _forget_who_left(self) -> None:
        """Close the connections to nodes that own no slot any more, the ones named at first aside."""
        for address in [each for each, node in self._nodes.items() if node not in self._owners]:
            if address not in self._seeds:
                await self._nodes.pop(address).close()


def _is_moved(reply: Reply | Unreached) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(("MOVED ", "ASK "))


def slot_of(key: bytes) -> int:
    """The cluster slot of a key: of what stands between its first braces, where there is something.

    >>> slot_of(b"123456789"), slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers")
    (12739, True)
    """
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS
