"""Streams: one answer per request, in their order, whatever became of the others."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from lockstep_client import AsyncClient, Client, DeadlineExceeded, InvalidArgument, Request, ScorerError, Unavailable
from lockstep_client.answers import Prediction
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.server import Server
from tests.bundles import NOON
from tests.lockstep_client.conftest import Dial, Either, Outcome, answering


def asked(ip: object, bid: object = 0.5) -> Request:
    """A request at noon."""
    return Request("tiny", {"ip": ip, "bid": bid}, at=NOON)


def told(outcomes: list[Outcome]) -> list[Any]:
    """Log-odds of the first row, or the code."""
    return [
        one.code.name if isinstance(one, ScorerError) else round(float(np.log(one.scores / (1 - one.scores))[0]), 4)
        for one in outcomes
    ]


async def test_answers_come_in_order_with_failures_in_place(scorer: Either) -> None:
    requests = [asked(1), asked("one"), asked([1, "one"]), asked(9), Request("tinny", {"ip": 1}), asked(1, 1.5)]
    outcomes = await scorer.stream(requests)
    assert told(outcomes) == [2.5, "INVALID_ARGUMENT", "INVALID_ARGUMENT", -0.5, "NOT_FOUND", 3.5]
    assert "holds strings; expected int64" in str(outcomes[1])
    assert isinstance(outcomes[2], InvalidArgument)
    assert "row 1: is one of strings" in str(outcomes[2])  # never left this process


@pytest.mark.parametrize("refused", [[], [asked([])]])
async def test_a_stream_may_hold_nothing_to_send(scorer: Either, refused: list[Request]) -> None:
    assert told(await scorer.stream(refused)) == ["INVALID_ARGUMENT"] * len(refused)


async def test_a_long_stream_is_answered_whole(scorer: Either) -> None:
    outcomes = await scorer.stream([asked(9, float(bid % 7)) for bid in range(500)])
    assert told(outcomes) == [float(bid % 7) - 1 for bid in range(500)]


async def test_an_error_of_the_callers_iterator_comes_back_after_the_answers(server: Server) -> None:
    def requests() -> Iterator[Request]:
        yield asked(1)
        raise KeyError("the caller's own")

    with Client(server.address, timeout_s=5.0) as client:
        answers = client.predict_stream(requests())
        assert isinstance(await asyncio.to_thread(next, answers), Prediction)
        with pytest.raises(KeyError, match="the caller's own"):
            await asyncio.to_thread(next, answers)


async def test_requests_may_come_from_an_async_iterator_that_waits_for_answers(server: Server) -> None:
    answered = asyncio.Event()

    async def requests() -> AsyncIterator[Request]:
        yield asked(1)
        await answered.wait()
        yield asked(9)

    outcomes = []
    async with AsyncClient(server.address, timeout_s=5.0) as client:
        async for outcome in client.predict_stream(requests()):
            outcomes.append(outcome)
            answered.set()
    assert told(outcomes) == [2.5, -0.5]


async def test_an_error_of_an_async_iterator_comes_back_too(server: Server) -> None:
    async def requests() -> AsyncIterator[Request]:
        yield asked(1)
        raise KeyError("the caller's own")

    async with AsyncClient(server.address, timeout_s=5.0) as client:
        answers = client.predict_stream(requests())
        assert told([await anext(answers)]) == [2.5]
        with pytest.raises(KeyError, match="the caller's own"):
            await anext(answers)


async def silent(requests: AsyncIterator[pb.PredictRequest], context: Any) -> AsyncIterator[pb.PredictStreamResponse]:
    """Answers the first request and then nothing."""
    async for _ in requests:
        yield pb.PredictStreamResponse(response=pb.PredictResponse(scores=[0.5]))
        await asyncio.sleep(60)


async def test_a_server_that_falls_silent_ends_the_stream_in_time(dial: Dial) -> None:
    async with answering(stream=silent) as address, dial(address, timeout_s=0.2) as client:
        with pytest.raises(DeadlineExceeded, match=r"next answer of the stream did not come within 0\.2 s"):
            await asyncio.wait_for(client.stream([asked(1), asked(1)]), 5)


async def leaves(requests: AsyncIterator[pb.PredictRequest], context: Any) -> AsyncIterator[pb.PredictStreamResponse]:
    """Answers one request and says goodbye."""
    async for _ in requests:
        yield pb.PredictStreamResponse(response=pb.PredictResponse(scores=[0.5]))
        return


async def test_a_server_that_leaves_requests_unanswered_is_said_so(dial: Dial) -> None:
    async with answering(stream=leaves) as address, dial(address, timeout_s=5) as client:
        with pytest.raises(Unavailable, match="ended the stream before it had answered every request"):
            await client.stream([asked(1), asked(1)])


async def breaks(requests: AsyncIterator[pb.PredictRequest], context: Any) -> AsyncIterator[pb.PredictStreamResponse]:
    """Ends with an error of the stream itself."""
    async for _ in requests:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        yield pb.PredictStreamResponse()


async def test_a_stream_that_breaks_says_why_though_the_caller_has_more_to_send(dial: Dial) -> None:
    more = threading.Event()

    def requests() -> Iterator[Request]:
        yield asked(1)
        more.wait(10)  # the stream is long over before there is another request

    async with answering(stream=breaks) as address:
        with Client(address, timeout_s=5) as client, pytest.raises(ScorerError, match="too many streams"):
            await asyncio.to_thread(list, client.predict_stream(requests()))
        more.set()
        async with AsyncClient(address, timeout_s=5) as waiting:
            with pytest.raises(ScorerError, match="RESOURCE_EXHAUSTED: too many streams"):
                _ = [one async for one in waiting.predict_stream([asked(1)])]


async def test_a_stream_that_breaks_says_why_though_requests_were_under_way(dial: Dial) -> None:
    async with answering(stream=breaks) as address:
        for _ in range(20):  # whether the server's status or the failed send is seen first, is chance
            async with dial(address, timeout_s=5) as client:
                with pytest.raises(ScorerError, match="RESOURCE_EXHAUSTED: too many streams"):
                    await client.stream([asked(1)] * 3)


async def test_who_stops_reading_ends_the_stream(server: Server) -> None:
    taken: list[int] = []

    def requests() -> Iterator[Request]:
        while len(taken) < 100_000:
            taken.append(1)
            yield asked(9)

    def first() -> Outcome:
        with Client(server.address, timeout_s=5) as client:
            answers = client.predict_stream(requests())
            outcome = next(answers)
            del answers
            gc.collect()
            return outcome

    assert isinstance(await asyncio.to_thread(first), Prediction)
    assert len(taken) < 100_000
    await asyncio.sleep(0.2)
    watches = [thread.name for thread in threading.enumerate() if thread.name == "lockstep-client-watch"]
    assert watches == []
