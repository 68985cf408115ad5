"""When a request waits for company, by a clock that the test turns."""

import asyncio
import time
from dataclasses import dataclass

import pytest

from serving.pace import HOLD_S, Pace
from serving.server import Server
from tests.serving.conftest import Client, column, odds, request


@dataclass
class Machine:
    """A clock, and the CPU time of a thread."""

    now_s: float = 100.0
    cpu_s: float = 7.0

    def pace(self) -> Pace:
        return Pace(lambda: self.now_s, lambda: self.cpu_s)

    def runs(self, pace: Pace, requests: int, *, busy: float, batches: int = 40) -> None:
        """Batches of a millisecond each, of which the thread works so much."""
        for _ in range(batches):
            pace.began(requests)
            self.now_s += 0.001
            self.cpu_s += 0.001 * busy


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_nobody_waits_at_the_start(machine: Machine) -> None:
    assert not machine.pace().alone(1)


def test_on_a_busy_server_a_request_waits_until_there_is_as_much_company_as_lately(machine: Machine) -> None:
    pace = machine.pace()
    machine.runs(pace, 4, busy=0.9)
    assert [pace.alone(waiting) for waiting in (1, 3, 4, 5)] == [True, True, False, False]


def test_on_a_server_with_time_to_spare_nobody_waits(machine: Machine) -> None:
    pace = machine.pace()
    machine.runs(pace, 4, busy=0.4)
    assert not pace.alone(1)


def test_one_caller_alone_never_waits_for_others(machine: Machine) -> None:
    pace = machine.pace()
    machine.runs(pace, 4, busy=0.9)
    machine.runs(pace, 1, busy=0.9, batches=60)
    assert not pace.alone(1)


def test_after_a_pause_nobody_waits(machine: Machine) -> None:
    pace = machine.pace()
    machine.runs(pace, 4, busy=0.9)
    machine.now_s += 0.05
    assert not pace.alone(1)


async def test_a_request_that_waits_for_company_in_vain_is_answered_all_the_same(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "alone", lambda _self, _waiting: True)
    began_s = time.monotonic()
    reply = await client.ask(request(column("ip", 1), column("bid", 0.5)))
    assert (odds(reply), time.monotonic() - began_s >= HOLD_S) == ([2.5], True)


async def test_a_request_that_waits_goes_with_the_company_it_waited_for(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.lane.HOLD_S", 60.0)
    monkeypatch.setattr(Pace, "alone", lambda _self, waiting: waiting < 3)
    asked = [client.ask(request(column("ip", 1), column("bid", 0.5))) for _ in range(3)]
    assert [odds(one) for one in await asyncio.wait_for(asyncio.gather(*asked), 10)] == [[2.5]] * 3


async def test_a_lane_that_others_have_emptied_meanwhile_goes_on(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "alone", lambda _self, _waiting: True)
    asked = request(column("ip", 1), column("bid", 0.5))
    await client.ask(asked)
    (lane,) = server.scorer._lanes.values()
    lane._gather(asyncio.get_running_loop(), 0, 9)
    assert odds(await asyncio.wait_for(client.ask(asked), 10)) == [2.5]
