"""A row replaces another only if its (event, created) is greater, whoever writes and in whatever order."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import WritesUnconfirmed
from lockstep.keys import KeySpace
from lockstep.redis_server import run_redis
from lockstep.rows import pack, unpack
from lockstep.schema import NO_CREATED, DType, Field, Schema
from lockstep.stores.redis_write import Replace, RowWriter, Safety, WriteCounts

NOW = 1_510_000_000_000_000
SPACE = KeySpace("shop", "clicks", (Field("ip", DType.INT64),))
PLAIN = Schema((Field("n", DType.INT64),), owner=SPACE.owner)
DATED = Schema((Field("n", DType.INT64),), created=True, owner=SPACE.owner)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with run_redis(tmp_path_factory.mktemp("redis")) as url, redis.Redis.from_url(url) as found:
        yield found


@pytest.fixture(autouse=True)
def empty(client: redis.Redis) -> None:
    client.flushall()


def batch(
    rows: Sequence[tuple[int, int, int | None, int]], schema: Schema = DATED
) -> tuple[pa.BinaryArray, pa.BinaryArray]:
    """Keys and packed rows of (ip, event, created, n)."""
    ips, events, created, numbers = zip(*rows, strict=True) if rows else ((), (), (), ())
    table = pa.table(
        {
            "ip": pa.array(ips, pa.int64()),
            "n": pa.array(numbers, pa.int64()),
            "event": pa.array(events, pa.int64()).cast(pa.timestamp("us", "UTC")),
            "created": pa.array(created, pa.int64()).cast(pa.timestamp("us", "UTC")),
        }
    )
    return SPACE.encode(table), pack(table, schema, event="event", created="created" if schema.created else None)


def writer(client: Any, **settings_: Any) -> RowWriter:
    return RowWriter(client, "clicks", **{"expire_ms": None, "clock": lambda: NOW, **settings_})


def stored(client: redis.Redis, ip: int) -> tuple[int, int, int] | None:
    """(event, created, n) of a key."""
    found = unpack([client.get(SPACE.encode_one({"ip": ip}))], {s.fingerprint: s for s in (PLAIN, DATED)}, PLAIN)
    return (
        (int(found.event_us[0]), int(found.created_us[0]), int(found.values("n")[0])) if found.status[0] == 0 else None
    )


TIMES = st.sampled_from([0, 1, 2, 2**32 - 1, 2**32, 2**53, 2**53 + 1, -1, -(2**62)])


@given(
    st.lists(st.tuples(st.integers(0, 2), TIMES, st.none() | TIMES, st.integers(0, 9)), max_size=12), st.integers(1, 12)
)
@settings(max_examples=60, deadline=None)
def test_the_greatest_event_and_created_stays_in_any_order(
    client: redis.Redis, rows: list[tuple[int, int, int | None, int]], size: int
) -> None:
    client.flushall()
    write = writer(client, clock=lambda: 2**62)
    expected: dict[int, tuple[int, int, int]] = {}
    for ip, event, created, n in rows:
        row = (event, NO_CREATED if created is None else created, n)
        if ip not in expected or row[:2] > expected[ip][:2]:
            expected[ip] = row
    for first in range(0, len(rows), size):
        write.write(*batch(rows[first : first + size]))
    assert {ip: stored(client, ip) for ip in range(3)} == {ip: expected.get(ip) for ip in range(3)}
    assert write.counts.total == len(rows)
    assert client.dbsize() == len(expected)


def test_a_row_without_created_loses_to_one_with_it_at_the_same_event(client: redis.Redis) -> None:
    writer(client).write(*batch([(1, 5, None, 1)], PLAIN))
    writer(client).write(*batch([(1, 5, 3, 2)]))
    assert writer(client).write(*batch([(1, 5, None, 3)], PLAIN)) == WriteCounts(older=1)
    assert stored(client, 1) == (5, 3, 2)


@pytest.mark.parametrize("count", [1, 99, 100, 101, 6543])
def test_batches_of_any_size_arrive_whole(client: redis.Redis, count: int) -> None:
    rows = [(ip, 5, None, ip * 7) for ip in range(count)]
    assert writer(client).write(*batch(rows, PLAIN)) == WriteCounts(written=count)
    assert client.dbsize() == count
    assert stored(client, count - 1) == (5, NO_CREATED, (count - 1) * 7)


def test_every_row_is_counted_once(client: redis.Redis) -> None:
    write = writer(client)
    write.write(*batch([(1, 5, None, 1), (2, 5, None, 1)], PLAIN))
    keys, rows = batch(
        [(1, 4, None, 1), (2, 5, None, 1), (3, 5, None, 1), (4, NOW + 1, None, 1), (5, 1, None, 1)], PLAIN
    )
    keys = pa.array([*keys.to_pylist()[:4], None], pa.binary())
    assert write.write(keys, rows) == WriteCounts(written=1, same=1, older=1, future=1, keyless=1)
    assert write.finish() == WriteCounts(written=3, same=1, older=1, future=1, keyless=1)


@pytest.mark.parametrize(("event", "created", "refused"), [(NOW, NOW, 0), (NOW + 1, None, 1), (NOW, NOW + 1, 1)])
def test_rows_after_the_clock_are_refused_to_the_microsecond(
    client: redis.Redis, event: int, created: int | None, refused: int
) -> None:
    assert writer(client).write(*batch([(1, event, created, 1)])).future == refused
    assert (stored(client, 1) is None) == bool(refused)


@pytest.mark.parametrize(
    ("replace", "survivors"),
    [(Replace.OLDER, [1, 2, 30]), (Replace.SAME, [1, 20, 30]), (Replace.ANY, [10, 20, 30])],
    ids=["older", "same", "any"],
)
def test_a_rewrite_replaces_what_it_names(client: redis.Redis, replace: Replace, survivors: list[int]) -> None:
    writer(client).write(*batch([(1, 6, None, 1), (2, 5, None, 2), (3, 4, None, 3)], PLAIN))
    writer(client, replace=replace).write(*batch([(1, 5, None, 10), (2, 5, None, 20), (3, 5, None, 30)], PLAIN))
    assert [row[2] for ip in (1, 2, 3) if (row := stored(client, ip))] == survivors


@pytest.mark.parametrize("garbage", [b"", b"x", b"\x00" * 40, b"\xff" * 21])
def test_bytes_that_are_no_row_give_way(client: redis.Redis, garbage: bytes) -> None:
    client.set(SPACE.encode_one({"ip": 1}), garbage)
    assert writer(client).write(*batch([(1, -5, None, 1)], PLAIN)).written == 1
    assert stored(client, 1) == (-5, NO_CREATED, 1)


def test_a_row_expires_as_long_after_its_write_as_asked(client: redis.Redis) -> None:
    writer(client, expire_ms=60_000).write(*batch([(1, 5, None, 1)], PLAIN))
    writer(client).write(*batch([(2, 5, None, 1)], PLAIN))
    assert 55_000 < client.pttl(SPACE.encode_one({"ip": 1})) <= 60_000
    assert client.pttl(SPACE.encode_one({"ip": 2})) == -1


def test_two_writers_at_once_leave_the_newest_of_both(client: redis.Redis) -> None:
    rows = [[(ip, 10 * time + which, None, which) for time in range(20) for ip in range(300)] for which in (0, 1)]
    threads = [
        threading.Thread(target=lambda found=found: writer(client).write(*batch(found, PLAIN))) for found in rows
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [stored(client, ip) for ip in range(300)] == [(191, NO_CREATED, 1)] * 300


def test_scripts_forgotten_by_the_server_are_brought_again(client: redis.Redis) -> None:
    writer(client).write(*batch([(1, 5, None, 1)], PLAIN))
    client.script_flush()
    assert writer(client).write(*batch([(2, 5, None, 1)], PLAIN)).written == 1


def test_no_replica_that_confirms_makes_every_row_unconfirmed(client: redis.Redis) -> None:
    write = writer(client, safety=Safety(wait_replicas=1, wait_timeout_ms=10))
    assert write.write(*batch([(1, 5, None, 1)], PLAIN)) == WriteCounts(unconfirmed=1)
    with pytest.raises(WritesUnconfirmed, match=r"1 of 1 rows are unconfirmed \(0 of 1 replicas"):
        write.finish()


def test_a_dead_redis_leaves_every_row_unconfirmed_and_is_not_asked_again(tmp_path: Path) -> None:
    with run_redis(tmp_path) as url:
        gone = redis.Redis.from_url(url)
        write = writer(gone, safety=Safety(patience_s=0.2))
        write.write(*batch([(1, 5, None, 1)], PLAIN))
    assert write.write(*batch([(2, 5, None, 1), (3, NOW + 1, None, 1)], PLAIN)) == WriteCounts(unconfirmed=1, future=1)
    assert write.write(*batch([(4, 5, None, 1)], PLAIN)) == WriteCounts(unconfirmed=1)
    with pytest.raises(WritesUnconfirmed, match=r"2 of 4 rows .*Run the same job again"):
        write.finish()


def test_a_refusal_that_time_does_not_heal_ends_at_once(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)
    try:
        write = writer(client, safety=Safety(patience_s=60))
        assert write.write(*batch([(1, 5, None, 1)], PLAIN)).unconfirmed == 1
        with pytest.raises(WritesUnconfirmed, match="maxmemory"):
            write.finish()
    finally:
        client.config_set("maxmemory", 0)


def test_nothing_to_write_is_nothing_written(client: redis.Redis) -> None:
    assert writer(client).write(*batch([], PLAIN)) == WriteCounts()
    assert astuple(WriteCounts() + WriteCounts(1, 2, 3, 4, 5, 6)) == (1, 2, 3, 4, 5, 6)
    assert np.sum(astuple(WriteCounts(1, 2, 3, 4, 5, 6))) == WriteCounts(1, 2, 3, 4, 5, 6).total
