"""Packed rows into Redis: each replaces what is there only if it is newer, in one atomic step.

Rows go in scripts of at most 100 keys, many scripts in flight on a connection. Arrow lays the commands out, not a loop:
a row costs no Python object.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from operator import add
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from lockstep import arrays, rows
from lockstep.errors import WritesUnconfirmed
from lockstep.ragged import Ints
from lockstep.replace_script import KEYS_PER_SCRIPT, LEAST_ORDER, SCRIPT, Replace
from lockstep.stores.redis_connect import Client
from lockstep.times import now_us

__all__ = ["Prepared", "Replace", "RowWriter", "Safety", "WriteCounts"]

_ROWS_PER_WINDOW: Final = 200
"""Sent at once; two windows are in flight, so that Redis never waits for the sender. Larger ones were not faster, and
others waited longer: what has arrived from one connection, up to some 40 KB, Redis does before it turns to the next.
"""

_ROWS_PER_WAIT: Final = 3200
"""The same where replicas must confirm: each window waits for them."""

_SHA: Final = hashlib.sha1(SCRIPT).hexdigest().encode()

_PASSING: Final = (
    "READONLY",
    "NOREPLICAS",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "LOADING",
    "NOSCRIPT",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "UNBLOCKED",
)
"""Error codes of a failover, a restart or a resharding. Redis before 7 puts them inside the text of a script's error.
"""


@dataclass(frozen=True)
class WriteCounts:
    """What became of rows. Every row is counted once."""

    written: int = 0
    same: int = 0
    """Not written: the stored row has the same event and created timestamps, as when a job runs again."""
    older: int = 0
    """Not written: the stored row is newer."""
    future: int = 0
    """Refused: dated after the clock."""
    keyless: int = 0
    """Refused: a join key is NULL, so no request can ever ask for the row."""
    unconfirmed: int = 0
    """Redis failed, or too few replicas answered in time: each may be stored or not."""

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self._numbers)

    @property
    def _numbers(self) -> tuple[int, ...]:
        # Every script's answer is added up: dataclasses.astuple, which copies deeply, took half of the client's time.
        return self.written, self.same, self.older, self.future, self.keyless, self.unconfirmed

    def __add__(self, other: "WriteCounts") -> "WriteCounts":
        return WriteCounts(*map(add, self._numbers, other._numbers))


@dataclass(frozen=True)
class Safety:
    """How sure a write is to outlive a failure."""

    wait_replicas: int = 0
    """Replicas that must have the rows of a window before they count as written; 0 asks none."""
    wait_timeout_ms: int = 1000
    """How long to wait for them, each time."""
    patience_s: float = 15.0
    """How long to try again when Redis fails, e.g. while a Sentinel names a new master."""


@dataclass(frozen=True)
class _Call:
    """The rows of one script, as Redis's wire format has them."""

    keys: memoryview
    rows: memoryview
    count: int
    slot: int | None
    """The one cluster slot of its keys; None outside a cluster."""


@dataclass(frozen=True)
class Prepared:
    """A batch as Redis's wire format has it, ready to be sent."""

    calls: list[_Call]
    refused: WriteCounts
    """Its rows that are not sent."""


class RowWriter:
    """Writes packed rows of one view. Not for two threads at once, but for `prepare`; two writers never harm each
    other.

    Writes go on when Redis fails and comes back within `patience_s`. After that nothing more is tried, and all further
    rows are unconfirmed; `finish` says so.
    """

    def __init__(
        self,
        client: Client,
        view: str,
        *,
        expire_ms: int | None,
        replace: Replace = Replace.OLDER,
        safety: Safety = Safety(),  # frozen
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._client, self._view, self._safety, self._clock = client, view, safety, clock
        self._arguments = _bulk(b"%d" % LEAST_ORDER[replace]) + _bulk(b"%d" % (expire_ms or 0))
        self._broken = ""
        self._short = ""
        self.counts = WriteCounts()

    def write(self, keys: pa.BinaryArray, packed: pa.BinaryArray) -> WriteCounts:
        """Write one batch, row i of `packed` under key i. Rows without a key and rows dated after the clock are
        refused.

        Returns the counts of this batch; `counts` holds those of all.
        """
        return self.send(self.prepare(keys, packed))

    def prepare(self, keys: pa.BinaryArray, packed: pa.BinaryArray) -> Prepared:
        """What `write` would send. Any thread may do this while another sends."""
        known = keys.is_valid()
        keyless = len(keys) - pc.sum(known).as_py() if len(keys) else 0
        if keyless:
            keys, packed = keys.filter(known), packed.filter(known)
        past = _is_past(packed, self._clock())
        future = int(len(keys) - past.sum())
        if future:
            keys, packed = keys.filter(pa.array(past)), packed.filter(pa.array(past))
        calls = _calls(keys, packed, clustered=self._clustered)
        return Prepared(calls, WriteCounts(future=future, keyless=keyless))

    def send(self, batch: Prepared) -> WriteCounts:
        """Write a prepared batch; returns its counts."""
        counts = self._send(batch.calls) + batch.refused
        self.counts += counts
        return counts

    @property
    def gave_up(self) -> bool:
        """Whether Redis failed for so long that nothing more is tried."""
        return bool(self._broken)

    def finish(self) -> WriteCounts:
        """The counts of all batches. Raises WritesUnconfirmed where some rows are."""
        if self.counts.unconfirmed:
            raise WritesUnconfirmed(self._view, self.counts.unconfirmed, self.counts.total, self._broken or self._short)
        return self.counts

    @property
    def _clustered(self) -> bool:
        return isinstance(self._client, redis.RedisCluster)

    def _send(self, calls: list[_Call]) -> WriteCounts:
        """Send until every call is answered, Redis refuses for good, or patience ends."""
        counts = WriteCounts()
        give_up = None
        while calls and not self._broken:
            try:
                lanes = self._run(calls)
            except RedisClusterException as error:  # a slot that no node holds: nothing was sent
                lanes, why = [], str(error)
            else:
                calls = [call for lane in lanes for call in lane.failed]
                why = next((lane.why for lane in lanes if lane.why), "")
            counts = sum((lane.counts for lane in lanes), counts)
            self._short = next((lane.short for lane in lanes if lane.short), self._short)
            give_up = give_up or time.monotonic() + self._safety.patience_s
            if calls and (time.monotonic() > give_up or any(lane.refused for lane in lanes)):
                self._broken = why
            elif calls:
                time.sleep(0.1)
                self._look_again()
        return counts + WriteCounts(unconfirmed=sum(call.count for call in calls))

    def _run(self, calls: list[_Call]) -> list["_Lane"]:
        """Send all calls once, to every node of a cluster at the same time."""
        pools = self._pools(calls)
        lanes = [_Lane(pool, self._arguments, self._safety) for pool in pools]
        rows_at_once = _ROWS_PER_WAIT if self._safety.wait_replicas else _ROWS_PER_WINDOW
        windows = [_windows(found, rows_at_once) for found in pools.values()]
        for round_ in zip_longest(*windows):
            for lane, window in zip(lanes, round_, strict=True):
                if window is not None:
                    lane.push(window)
        for lane in lanes:
            lane.drain()
        return lanes

    def _pools(self, calls: list[_Call]) -> dict[Any, list[_Call]]:
        """The calls of each connection pool: of the one server, or of each node of a cluster."""
        if not isinstance(self._client, redis.RedisCluster):
            return {self._client.connection_pool: calls}
        pools: dict[Any, list[_Call]] = {}
        for call in calls:
            node = self._client.nodes_manager.get_node_from_slot(call.slot)
            pools.setdefault(self._client.get_redis_connection(node).connection_pool, []).append(call)
        return pools

    def _look_again(self) -> None:
        """Ask the cluster who holds which slot now. Sentinel's connections ask by themselves."""
        if isinstance(self._client, redis.RedisCluster):
            try:
                self._client.nodes_manager.initialize()
            except (RedisError, RedisClusterException) as error:
                self._short = str(error)  # the next round meets the same error, or not


class _Lane:
    """One connection with up to two windows in flight."""

    def __init__(self, pool: Any, arguments: bytes, safety: Safety) -> None:
        self._pool, self._arguments, self._safety = pool, arguments, safety
        self._connection: Any = None
        self._in_flight: deque[Sequence[_Call]] = deque()
        self.counts = WriteCounts()
        self.failed: list[_Call] = []
        self.why = ""
        """Why calls failed."""
        self.short = ""
        """Why calls that were answered are unconfirmed."""
        self.refused = False
        """Whether it is of no use to try again."""

    def push(self, window: Sequence[_Call]) -> None:
        """Send a window, and read the answers to the one before."""
        self._in_flight.append(window)
        if self.why:
            return
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            self._connection.send_packed_command(self._packed(window))
            if len(self._in_flight) > 1:
                self._read()
        except RedisError as error:
            self._fail(error)

    def drain(self) -> None:
        """Read the remaining answers and give the connection back."""
        try:
            while self._in_flight and not self.why:
                self._read()
        except RedisError as error:
            self._fail(error)
        for window in self._in_flight:
            self.failed += window
        if self._connection is not None:
            if self.why:
                self._connection.disconnect()
            self._pool.release(self._connection)

    def _fail(self, error: RedisError) -> None:
        self.why = f"{type(error).__name__}: {error}"
        self.refused = not _is_passing(error)

    def _packed(self, window: Sequence[_Call]) -> list[bytes]:
        """The commands of a window. The first brings the script along, so that no server is ever without it."""
        parts: list[bytes | memoryview] = []
        for i, call in enumerate(window):
            script = _bulk(b"EVAL") + _bulk(SCRIPT) if i == 0 else _EVALSHA
            parts += [
                b"*%d\r\n" % (2 * call.count + 5),
                script,
                _bulk(b"%d" % call.count),
                call.keys,
                self._arguments,
                call.rows,
            ]
        if self._safety.wait_replicas:
            numbers = (self._safety.wait_replicas, self._safety.wait_timeout_ms)
            parts.append(b"*3\r\n" + _bulk(b"WAIT") + b"".join(_bulk(b"%d" % number) for number in numbers))
        return [b"".join(parts)]

    def _read(self) -> None:
        """The answers to the oldest window, which is then no longer in flight."""
        window = self._in_flight[0]
        counts, failed = WriteCounts(), []
        passing: RedisError | None = None
        for call in window:
            try:
                counts += WriteCounts(*self._connection.read_response())
            except ResponseError as error:
                if not _is_passing(error):
                    raise
                failed.append(call)
                passing = error
        if self._safety.wait_replicas:
            counts = self._confirmed(counts, int(self._connection.read_response()))
        self._in_flight.popleft()
        self.counts += counts
        self.failed += failed
        if passing is not None:
            raise passing

    def _confirmed(self, counts: WriteCounts, replicas: int) -> WriteCounts:
        if replicas >= self._safety.wait_replicas:
            return counts
        self.short = (
            f"{replicas} of {self._safety.wait_replicas} replicas answered within {self._safety.wait_timeout_ms} ms"
        )
        return WriteCounts(unconfirmed=counts.total)


def _is_passing(error: RedisError) -> bool:
    """Whether a later try may succeed."""
    if isinstance(error, AuthenticationError | AuthorizationError):
        return False
    if isinstance(error, ResponseError) and not isinstance(error, ClusterError):
        return any(code in f"{type(error).__name__.upper()} {error}" for code in _PASSING)
    return True


def _is_past(packed: pa.BinaryArray, clock: int) -> Any:
    """Which rows are dated at or before the clock, by both of their times. Shape (n,)."""
    event, created = rows.times(packed)
    return np.maximum(event, created) <= clock


def _windows(calls: list[_Call], rows_at_once: int) -> Iterator[list[_Call]]:
    """The calls in order, so many rows at a time: in a cluster a script holds few, those of one slot."""
    window: list[_Call] = []
    rows_in_it = 0
    for call in calls:
        window.append(call)
        rows_in_it += call.count
        if rows_in_it >= rows_at_once:
            yield window
            window, rows_in_it = [], 0
    if window:
        yield window


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)


_EVALSHA: Final = _bulk(b"EVALSHA") + _bulk(_SHA)


def _heads(lengths: pa.Int32Array) -> pa.BinaryArray:
    """What stands before a value of each length."""
    digits = pc.cast(lengths, pa.string()).cast(pa.binary())
    return pc.binary_join_element_wise(pa.scalar(b"$", pa.binary()), digits, pa.scalar(b"\r\n", pa.binary()), b"")


_HEADS: Final = _heads(pa.array(range(1024), pa.int32()))
"""Of the usual lengths: looked up, not printed a million times."""


def _bulks(values: pa.BinaryArray) -> tuple[memoryview, Ints]:
    """Every value as Redis's wire format has it, end to end, and the n + 1 offsets."""
    lengths = pc.binary_length(values)
    most = pc.max(lengths).as_py()
    heads = _HEADS.take(lengths) if most < len(_HEADS) else _heads(lengths)
    framed = pc.binary_join_element_wise(heads, values, pa.scalar(b"\r\n", pa.binary()), b"")
    data, ends = arrays.bytes_of(framed)
    return memoryview(data.data), ends


def _calls(keys: pa.BinaryArray, packed: pa.BinaryArray, *, clustered: bool) -> list[_Call]:
    """The scripts that write these rows, in order; in a cluster each of one slot."""
    if not len(keys):
        return []
    slots = np.array([key_slot(key) for key in keys.to_pylist()]) if clustered else np.zeros(len(keys), np.int64)
    if clustered:
        order = np.argsort(slots, kind="stable")
        keys, packed, slots = keys.take(pa.array(order)), packed.take(pa.array(order)), slots[order]
    (key_data, key_ends), (row_data, row_ends) = _bulks(keys), _bulks(packed)
    return [
        _Call(
            key_data[key_ends[first] : key_ends[last]],
            row_data[row_ends[first] : row_ends[last]],
            last - first,
            int(slots[first]) if clustered else None,
        )
        for first, last in _spans(slots)
    ]


def _spans(slots: Ints) -> Iterator[tuple[int, int]]:
    """Runs of one slot, cut to the size of a script."""
    edges = [0, *(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(slots)]
    for start, stop in pairwise(edges):
        for first in range(start, stop, KEYS_PER_SCRIPT):
            yield first, min(first + KEYS_PER_SCRIPT, stop)
