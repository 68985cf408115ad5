"""PredictStream over the wire: order, failures in their place, flow control, and how a stream ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest

from lockstep.plan import Array, Plan
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.reader import Reader
from serving.server import Server, running
from serving.settings import Settings
from tests.bundles import NOON, MemoryReader, Row, row
from tests.serving.conftest import Client, column, odds, request

IP, BID = column("ip", 1), column("bid", 0.5)
GOOD = request(IP, BID)


@asynccontextmanager
async def asking(settings: Settings, reader: Reader) -> AsyncIterator[Client]:
    async with running(settings, reader) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield Client(channel)


async def streamed(client: Client, requests: Sequence[pb.PredictRequest]) -> list[pb.PredictStreamResponse]:
    """The replies to all requests, in order."""
    return [reply async for reply in client.stub.PredictStream(iter(requests))]


def bids(count: int) -> list[pb.PredictRequest]:
    """Requests whose log-odds are 2, 2.25, 2.5 … 3.75, over and over."""
    return [request(IP, column("bid", i % 8 / 4)) for i in range(count)]


def bid_odds(count: int) -> list[list[float]]:
    return [[2 + i % 8 / 4] for i in range(count)]


@dataclass
class Shop(MemoryReader):
    """Counts its reads; holds those of the addresses from 100 on until it is opened."""

    rows: dict[int, Row] = field(default_factory=lambda: {1: row(), 2: row(clicks=3.0)})
    reads: int = 0
    held: int = 0
    cancelled: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Any:
        """As its base class, later."""
        self.reads += 1
        if (given["ip"] >= 100).any():
            self.held += 1
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return await super().read(plan, given, rows)


async def until(true: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def tasks() -> set[str]:
    """What runs on the loop: by name, or by type where it has none (the loop closing a generator)."""
    running = (task.get_coro() for task in asyncio.all_tasks() if not task.done())
    return {str(getattr(doing, "__qualname__", type(doing).__name__)) for doing in running}


class TestOrder:
    """The i-th reply answers the i-th request."""

    async def test_a_thousand_requests_are_answered_in_order(self, client: Client) -> None:
        replies = await streamed(client, bids(1000))
        assert [odds(reply.response) for reply in replies] == bid_odds(1000)

    async def test_requests_without_a_pause_share_reads(self, settings: Settings) -> None:
        reader = Shop()
        async with asking(settings, reader) as client:
            assert len(await streamed(client, bids(500))) == 500
        assert reader.reads < 400

    async def test_a_slow_request_holds_its_place_and_those_behind_it_are_read_meanwhile(
        self, settings: Settings
    ) -> None:
        reader = Shop()
        async with asking(settings, reader) as client:
            call = client.stub.PredictStream()
            await call.write(request(column("ip", 100), BID))
            await until(lambda: reader.held)
            for ip in (1, 2):
                await call.write(request(column("ip", ip), BID))
            await call.done_writing()
            await until(lambda: reader.reads >= 2)
            reader.gate.set()
            assert [odds(reply.response) async for reply in call] == [[-0.5], [2.5], [3.5]]

    async def test_a_reply_is_that_of_the_same_request_alone(self, client: Client) -> None:
        several = [
            request(column("ip", 2, 9, 1), column("bid", 0.5, 0.25, 1.0)),
            request(IP, BID, column("site", "ab", "boom")),
            request(IP, BID, t=[NOON - 1]),
        ]
        several[0].explain = True
        replies = await streamed(client, several)
        alone = [await client.ask(one) for one in several]
        assert [reply.response for reply in replies] == alone

    async def test_streams_side_by_side_and_calls_between_them_get_their_own_answers(self, client: Client) -> None:
        def of(bid: float) -> list[pb.PredictRequest]:
            return [request(IP, column("bid", bid))] * 50

        streaming = asyncio.gather(*(streamed(client, of(n / 4)) for n in range(6)))
        calls = await asyncio.gather(*(client.ask(of(n)[0]) for n in range(6)))
        for n, (call, replies) in enumerate(zip(calls, await streaming, strict=True)):
            assert odds(call) == [2.0 + n]
            assert [odds(reply.response) for reply in replies] == [[2 + n / 4]] * 50


class TestFailures:
    """A request that fails is answered by its failure, and the stream goes on."""

    async def test_a_failure_stands_in_its_place_with_the_code_and_the_sentence_of_the_call_alone(
        self, client: Client
    ) -> None:
        bad = [
            request(IP),
            request(IP, BID, model="tini"),
            request(IP, BID, model=""),
            request(column("ip", *range(1001)), BID),
            pb.PredictRequest(),
        ]
        replies = await streamed(client, [one for wrong in bad for one in (wrong, GOOD)])
        assert [odds(reply.response) for reply in replies[1::2]] == [[2.5]] * len(bad)
        for reply, wrong in zip(replies[::2], bad, strict=True):
            code, message = await client.refused(wrong)
            assert reply.WhichOneof("outcome") == "failure"
            assert reply.failure.code == grpc.StatusCode[code].value[0]
            assert reply.failure.message == message

    async def test_a_stream_of_nothing_but_failures_is_answered_to_its_end(self, client: Client) -> None:
        replies = await streamed(client, [pb.PredictRequest()] * 300)
        assert [reply.WhichOneof("outcome") for reply in replies] == ["failure"] * 300

    async def test_an_unforeseen_error_stands_in_its_place_too(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Forgetful(MemoryReader):
            async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Any:
                return {} if 13 in given["ip"] else await super().read(plan, given, rows)

        replies = []
        async with asking(settings, Forgetful({1: row()})) as client:
            call = client.stub.PredictStream()
            for ip in (1, 13, 1):  # one after the other: requests of one batch fail together
                await call.write(request(column("ip", ip), BID))
                replies.append(await call.read())
            call.cancel()
        assert [reply.WhichOneof("outcome") for reply in replies] == ["response", "failure", "response"]
        assert (replies[1].failure.code, replies[1].failure.message) == (13, "internal error")
        assert "KeyError" in caplog.text

    async def test_bytes_that_are_no_message_end_the_stream_after_the_answers_before_them(self, client: Client) -> None:
        async def messages() -> AsyncIterator[bytes]:
            yield GOOD.SerializeToString()
            yield b"\xff\xff\xff"
            await asyncio.Event().wait()  # grpc.aio says INTERNAL where it is sending when the stream ends

        call = client.channel.stream_stream("/lockstep.v1.Scorer/PredictStream")(messages())
        assert odds(pb.PredictStreamResponse.FromString(await call.read()).response) == [2.5]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "PredictStream" in (raised.value.details() or "")
        assert odds(await client.ask(GOOD)) == [2.5]

    async def test_a_store_that_does_not_answer_costs_every_request_its_own_time_and_no_more(
        self, settings: Settings
    ) -> None:
        async with asking(replace(settings, default_deadline_ms=100), Shop()) as client:
            started = time.monotonic()
            replies = await streamed(client, [request(column("ip", 100 + i % 2), BID) for i in range(20)])
            assert time.monotonic() - started < 3
        assert [reply.response.rung for reply in replies] == [pb.RUNG_ALL_DEFAULTS] * 20


class TestFlow:
    """Whoever takes no answers is read no further."""

    async def test_a_caller_that_takes_no_answers_is_read_no_further_than_the_window(self, settings: Settings) -> None:
        reader = Shop()
        window = 8
        large = request(column("ip", *range(1, 90)), column("bid", *[0.5] * 89), column("site", "s" * 900))
        large.explain = True  # 150 kB of answer
        async with asking(replace(settings, stream_window=window), reader) as client:
            call = client.stub.PredictStream()
            writing = asyncio.ensure_future(_write_all(call, [large] * 200))
            await until(lambda: reader.reads > window)
            await _at_rest(lambda: reader.reads)
            assert reader.reads < 60  # the window, and what the sockets hold
            assert odds(await client.ask(GOOD)) == [2.5]
            taken = [await call.read() for _ in range(200)]
            assert {len(reply.response.scores) for reply in taken} == {89}
            await writing
            call.cancel()
        assert reader.reads == 201

    async def test_requests_that_are_under_way_are_no_more_than_the_window(self, settings: Settings) -> None:
        reader = Shop()
        async with asking(replace(settings, stream_window=3, batch_rows=1), reader) as client:
            call = client.stub.PredictStream()
            writing = asyncio.ensure_future(_write_all(call, [request(column("ip", 100), BID)] * 20))
            await until(lambda: reader.held >= 3)
            await _at_rest(lambda: reader.held)
            assert reader.held == 3
            reader.gate.set()
            assert [odds((await call.read()).response) for _ in range(20)] == [[-0.5]] * 20
            await writing
            call.cancel()


async def _write_all(call: Any, requests: Sequence[pb.PredictRequest]) -> None:
    for one in requests:
        await call.write(one)


async def _at_rest(count: Any) -> None:
    """Wait until a number has not changed for a fifth of a second."""
    before, since = count(), time.monotonic()
    async with asyncio.timeout(10):
        while time.monotonic() - since < 0.2:
            await asyncio.sleep(0.02)
            if count() != before:
                before, since = count(), time.monotonic()


class TestEnds:
    """How a stream ends, and that nothing stays behind."""

    async def test_a_stream_without_requests_ends_without_replies(self, client: Client) -> None:
        assert await streamed(client, []) == []

    async def test_whoever_has_sent_its_last_request_gets_all_answers(self, settings: Settings) -> None:
        reader = Shop()
        async with asking(settings, reader) as client:
            call = client.stub.PredictStream()
            await _write_all(call, [request(column("ip", 100), BID), *bids(10)])
            await call.done_writing()
            await until(lambda: reader.held)
            reader.gate.set()
            replies = [reply async for reply in call]
            assert [odds(reply.response) for reply in replies] == [[-0.5], *bid_odds(10)]
            assert await call.code() is grpc.StatusCode.OK

    async def test_a_stream_lives_longer_than_a_request_may_take(self, settings: Settings) -> None:
        async with asking(replace(settings, default_deadline_ms=50, max_deadline_ms=50), Shop()) as client:
            call = client.stub.PredictStream()
            for _ in range(3):
                await call.write(GOOD)
                reply = (await call.read()).response
                assert (odds(reply), reply.rung) == ([2.5], pb.RUNG_FRESH)
                await asyncio.sleep(0.04)
            call.cancel()

    @pytest.mark.parametrize("taken", [False, True], ids=["before any answer", "between answers"])
    async def test_a_caller_that_cancels_frees_the_reader_and_leaves_nothing_behind(
        self, settings: Settings, taken: bool
    ) -> None:
        reader = Shop()
        async with asking(replace(settings, default_deadline_ms=10_000), reader) as client:
            await client.ask(GOOD)
            before = tasks()
            call = client.stub.PredictStream()
            if taken:
                await call.write(GOOD)
                assert odds((await call.read()).response) == [2.5]
            for _ in range(5):
                await call.write(request(column("ip", 100), BID))
            await until(lambda: reader.held)
            call.cancel()
            await until(lambda: reader.cancelled == reader.held)
            await until(lambda: tasks() <= before)
            assert odds(await client.ask(GOOD)) == [2.5]

    async def test_a_caller_that_cancels_while_its_answers_pile_up_leaves_nothing_behind(
        self, settings: Settings
    ) -> None:
        reader = Shop()
        async with asking(settings, reader) as client:
            await client.ask(GOOD)
            before = tasks()
            call = client.stub.PredictStream()
            large = request(column("ip", *range(1, 90)), BID, column("site", "s" * 900))
            large.explain = True
            writing = asyncio.ensure_future(_write_all(call, [large] * 150))
            await until(lambda: reader.reads > 64)
            await _at_rest(lambda: reader.reads)
            call.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await until(lambda: tasks() <= before)

    async def test_a_connection_that_breaks_frees_the_reader(self, settings: Settings) -> None:
        reader = Shop()
        async with running(replace(settings, default_deadline_ms=10_000), reader) as server:
            async with grpc.aio.insecure_channel(server.address) as channel:
                call = Client(channel).stub.PredictStream()
                await call.write(request(column("ip", 100), BID))
                await until(lambda: reader.held)
            await until(lambda: reader.cancelled)

    async def test_a_server_that_stops_answers_what_is_under_way_and_ends_the_stream_within_its_drain_time(
        self, settings: Settings
    ) -> None:
        reader = Shop()
        async with stopped(replace(settings, drain_s=0.3), reader) as (server, client):
            call = client.stub.PredictStream()
            await call.write(GOOD)
            assert odds((await call.read()).response) == [2.5]
            await call.write(request(column("ip", 100), BID))
            await until(lambda: reader.held)
            started = time.monotonic()
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0.05)
            reader.gate.set()
            assert odds((await call.read()).response) == [-0.5]
            assert await _ended(call) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            await stopping
            assert time.monotonic() - started < 2
        await until(lambda: tasks() <= {_here()})

    async def test_a_server_that_stops_does_not_wait_for_a_store_that_never_answers(self, settings: Settings) -> None:
        reader = Shop()
        async with stopped(replace(settings, drain_s=0.2, default_deadline_ms=10_000), reader) as (server, client):
            call = client.stub.PredictStream()
            await call.write(request(column("ip", 100), BID))
            alone = asyncio.ensure_future(client.ask(request(column("ip", 101), BID)))
            await until(lambda: reader.reads == reader.held > 0)
            async with asyncio.timeout(3):
                await server.stop()
            (outcome,) = await asyncio.gather(alone, return_exceptions=True)
            await _ended(call)
        assert isinstance(outcome, grpc.aio.AioRpcError | asyncio.CancelledError)
        await until(lambda: tasks() <= {_here()})


@asynccontextmanager
async def stopped(settings: Settings, reader: Reader) -> AsyncIterator[tuple[Server, Client]]:
    """A server that the block stops, and a client of it."""
    async with running(settings, reader) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield server, Client(channel)


async def _ended(call: Any) -> grpc.StatusCode:
    """The status with which a call ends that has no more replies."""
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        assert await call.read() is grpc.aio.EOF
    code: grpc.StatusCode = await call.code()
    return code


def _here() -> str:
    task = asyncio.current_task()
    assert task is not None
    return str(task.get_coro().__qualname__)  # type: ignore[union-attr]
