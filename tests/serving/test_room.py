"""A lane takes as much as it has room for; what goes beyond is refused at once, and is told when to come again."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import grpc
import numpy as np
import pytest

from lockstep.bundle import Bundle, build
from lockstep.errors import Overloaded
from lockstep.plan import Array, Plan
from lockstep.resolve import ViewRows
from lockstep.status import Rung
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.answers import Scores
from serving.lane import Lane
from serving.metrics import LaneMeter
from serving.room import AGAIN_S, CAUTION, MANY, Room
from serving.server import running
from serving.settings import Settings
from serving.together import Unchecked
from tests.bundles import NOON, MemoryReader, bundle_files, row
from tests.serving.conftest import Client, column, request

LONG_S = 20.0


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build(bundle_files())


class Gated(MemoryReader):
    """Answers no read before its gate opens."""

    def __init__(self) -> None:
        super().__init__({1: row()})
        self.gate = asyncio.Event()

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """As its base class, later."""
        await self.gate.wait()
        return await super().read(plan, given, rows)


def ask(lane: Lane, *ips: int, answer_by_s: float = math.inf) -> "asyncio.Future[Scores]":
    columns: dict[str, Array] = {"ip": np.array(ips, np.int64), "bid": np.full(len(ips), 0.5, np.float32)}
    unchecked = Unchecked(columns, np.full(len(ips), NOON, np.int64))
    return lane.score(unchecked, time.monotonic() + LONG_S, answer_by_s=answer_by_s)


def dropped(meter: LaneMeter) -> dict[str, float]:
    """Requests by why they were dropped."""
    return {
        key[-1]: value
        for name, key, value in meter.samples()
        if name == "lockstep_requests_dropped_total" and isinstance(value, float)
    }


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("rows", "requests"), [(3, 100), (100, 2)], ids=["rows", "requests"])
async def test_what_is_beyond_the_room_is_refused_and_the_others_are_answered(
    bundle: Bundle, rows: int, requests: int
) -> None:
    reader, meter = Gated(), LaneMeter(bundle)
    room = Room("tiny", max_rows=rows, max_requests=requests)
    lane = Lane(bundle, reader.read, max_rows=10, batch_rows=10, hold_s=LONG_S, room=room, meter=meter)
    admitted = [ask(lane, 1), ask(lane, 1, 1)]
    with pytest.raises(Overloaded, match="'tiny' has 2 requests of 3 rows under way"):
        ask(lane, 1)
    await settle()
    with pytest.raises(Overloaded):  # their batch has begun and they still take room
        ask(lane, 1)
    reader.gate.set()
    assert [answer.rung for answer in await asyncio.gather(*admitted)] == [Rung.FRESH, Rung.FRESH]
    assert (await ask(lane, 1)).rung is Rung.FRESH
    assert dropped(meter) == {"overload": 2.0, "gone": 0.0}


async def test_a_request_larger_than_the_room_is_taken_by_an_empty_lane(bundle: Bundle) -> None:
    reader = Gated()
    reader.gate.set()
    room = Room("tiny", max_rows=1, max_requests=1)
    lane = Lane(bundle, reader.read, max_rows=10, batch_rows=10, hold_s=LONG_S, room=room)
    assert len((await ask(lane, 1, 1, 1)).scores) == 3


async def test_whose_caller_went_away_leaves_its_room_and_costs_no_read(bundle: Bundle) -> None:
    reader, meter = Gated(), LaneMeter(bundle)
    room = Room("tiny", max_rows=100, max_requests=2)
    lane = Lane(bundle, reader.read, max_rows=10, batch_rows=10, hold_s=LONG_S, room=room, meter=meter)
    first = ask(lane, 1)
    await settle()
    gone = ask(lane, 1)
    gone.cancel()
    await settle()
    last = ask(lane, 1)
    reader.gate.set()
    await asyncio.gather(first, last)
    assert dropped(meter) == {"overload": 0.0, "gone": 1.0}


def test_who_would_be_answered_too_late_is_refused_while_many_are_under_way() -> None:
    room = Room("tiny", max_rows=1000, max_requests=1000)
    for _ in range(8):
        room.worked(0.1, 100)
    for _ in range(MANY):
        room.take(10, 0.001)  # they are still too few to tell
    assert 0.15 < room.needs_s / CAUTION < 0.17
    with pytest.raises(Overloaded):
        room.take(1, 0.15)
    room.take(1, 0.2)
    room.take(1)
    for _ in range(2):
        room.give_back(10)
    with pytest.raises(Overloaded):
        room.take(1, 0.13)
    room.take(1, 0.15)
    for _ in range(8):
        room.worked(0.01, 100)
    room.take(1, 0.02)


async def test_the_wait_for_the_store_says_nothing_of_how_much_there_is_to_do(bundle: Bundle) -> None:
    reader, room = Gated(), Room("tiny", max_rows=1000, max_requests=1000)
    lane = Lane(bundle, reader.read, max_rows=10, batch_rows=100, hold_s=LONG_S, room=room)
    waiting = [ask(lane, 1) for _ in range(MANY)]
    await asyncio.sleep(1.5)
    reader.gate.set()
    await asyncio.gather(*waiting)
    waiting = [ask(lane, 1) for _ in range(MANY)]
    assert 0 < room.needs_s < 1
    late = ask(lane, 1, answer_by_s=time.monotonic() + 0.6)
    assert (await late).rung is Rung.FRESH
    crowd = [ask(lane, 1) for _ in range(MANY)]
    with pytest.raises(Overloaded):
        ask(lane, 1, answer_by_s=time.monotonic())
    await asyncio.gather(*waiting, *crowd)


def test_a_refused_caller_is_told_to_come_again_at_a_time_of_its_own() -> None:
    room = Room("tiny", max_rows=1, max_requests=1)
    room.take(1)
    times = set()
    for _ in range(50):
        with pytest.raises(Overloaded) as raised:
            room.take(1)
        times.add(raised.value.retry_ms)
    assert len(times) > 10
    assert all(0.5 <= each / (1e3 * AGAIN_S) <= 1.5 for each in times)


class TestOverTheWire:
    """What a caller sees of it."""

    @pytest.fixture
    def reader(self) -> Gated:
        return Gated()

    @pytest.fixture
    async def client(self, settings: Settings, reader: Gated) -> AsyncIterator[Client]:
        one_at_a_time = replace(settings, max_queue_requests=1)
        async with running(one_at_a_time, reader) as server, grpc.aio.insecure_channel(server.address) as channel:
            yield Client(channel)

    async def test_a_call_beyond_the_room_is_pushed_back(self, client: Client, reader: Gated) -> None:
        asked = request(column("ip", 1), column("bid", 0.5))
        first = asyncio.ensure_future(client.ask(asked))
        await asyncio.sleep(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.ask(asked)
        reader.gate.set()
        trailers = dict(iter(raised.value.trailing_metadata() or ()))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 50 <= int(trailers["grpc-retry-pushback-ms"]) <= 150
        assert (await first).rung == pb.RUNG_FRESH

    async def test_in_a_stream_it_is_the_failure_of_one_request(self, client: Client, reader: Gated) -> None:
        asked = request(column("ip", 1), column("bid", 0.5))
        call = client.stub.PredictStream()
        for _ in range(2):
            await call.write(asked)
        await asyncio.sleep(0.1)
        reader.gate.set()
        first, second = await call.read(), await call.read()
        await call.done_writing()
        assert (first.response.rung, second.failure.code) == (
            pb.RUNG_FRESH,
            grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
        )
