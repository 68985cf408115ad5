"""Calls that have waited too long with their clients are turned away before they are read."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

import grpc
import pytest

from serving.http2 import pressure
from serving.http2.pressure import LASTS_S, REMEMBERED_S, Pressure
from tests.serving.http2.peers import served


class Clock:
    """`time.monotonic`, told what it says."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pressure, "time", made)
    return made


def test_a_connection_that_stays_full_wants_half_of_the_longest_time(clock: Clock) -> None:
    one = Pressure()
    for _ in range(5):
        assert one.needs_s == 0
        one.seen(0.4, full=True)
        clock.now_s += LASTS_S / 4
    one.seen(0.1, full=True)
    assert one.needs_s == 0.2
    clock.now_s += LASTS_S
    assert one.needs_s == 0


def test_a_long_time_is_forgotten_after_a_while(clock: Clock) -> None:
    one = Pressure()
    one.seen(30, full=False)
    for longest_s in (30.0, 0.4):
        clock.now_s += REMEMBERED_S
        for _ in range(6):
            one.seen(0.4, full=True)
            clock.now_s += LASTS_S / 4
        assert one.needs_s == longest_s / 2


def test_a_burst_and_a_connection_with_room_want_nothing(clock: Clock) -> None:
    one = Pressure()
    for _ in range(5):
        one.seen(0.4, full=True)
        clock.now_s += 2 * LASTS_S
        assert one.needs_s == 0
    for _ in range(100):
        one.seen(0.4, full=False)
        clock.now_s += LASTS_S / 10
    assert one.needs_s == 0


@dataclass
class Shed:
    """Turns away whose caller waits less than a second; remembers what it was asked."""

    paths: Collection[str] = ("/t.T/echo", "/t.T/wait")
    asked: list[tuple[str, float, float]] = field(default_factory=list)
    shortest_s: float = 1.0

    def turns_away(self, path: str, left_s: float, needs_s: float) -> bool:
        """As the class says."""
        self.asked.append((path, left_s, needs_s))
        return left_s < self.shortest_s


async def test_a_client_hears_at_once_that_there_is_no_time_and_when_to_come_again() -> None:
    shed = Shed()
    async with served(shedding=shed) as server, grpc.aio.insecure_channel(server.address) as channel:
        wait, echo = channel.unary_unary("/t.T/wait"), channel.unary_unary("/t.T/echo")
        waiting = [wait(b"") for _ in range(16)]
        async with asyncio.timeout(5):
            while server.calls < len(waiting):
                await asyncio.sleep(0.01)
        assert await echo(b"x") == b"x"
        assert not shed.asked, "those who name no deadline are never turned away"
        assert await channel.unary_unary("/t.T/metadata")(b"", timeout=0.9)
        assert not shed.asked, "nor is a call of another method"
        assert await echo(b"x", timeout=20) == b"x"
        times = set()
        for _ in range(30):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await echo(bytes(100_000), timeout=0.9)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "as much to do as it can answer in time" in (raised.value.details() or "")
            times.add(int(dict(iter(raised.value.trailing_metadata() or ()))["grpc-retry-pushback-ms"]))
        assert len(times) > 20
        assert 50 <= min(times) < max(times) <= 150
        assert len(shed.asked) == 31
        assert server.calls == len(waiting)
        assert await echo(b"x", timeout=20) == b"x"
        for one in waiting:
            one.cancel()


async def test_a_connection_that_is_full_for_long_says_so_of_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "LASTS_S", 0.5)  # machines pause
    shed = Shed(shortest_s=0.0)
    async with served(max_calls=20, shedding=shed) as server, grpc.aio.insecure_channel(server.address) as channel:
        wait = channel.unary_unary("/t.T/wait")
        waiting = [wait(b"", timeout=20) for _ in range(19)]
        waiting += [wait(b"", timeout=0.02 * place) for place in range(1, 100)]  # one after the other has the last room
        async with asyncio.timeout(10):
            while not any(needs_s for *_, needs_s in shed.asked):
                await asyncio.sleep(0.01)
        for one in waiting:
            one.cancel()
    assert max(needs_s for *_, needs_s in shed.asked) == pytest.approx(10, rel=0.05)
