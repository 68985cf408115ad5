"""A supervisor and a worker, over the socket that they share."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from lockstep.errors import WorkerSilent
from serving.outlook.link import Link, answer


async def twice(value: Any) -> Any:
    return [value, value]


async def never() -> None:
    await asyncio.Event().wait()


async def boom() -> None:
    raise KeyError("secret")


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    mine, theirs = socket.socketpair()
    made = Link(7, mine)
    await made.open()
    answering = asyncio.create_task(answer(theirs, {"twice": twice, "never": never, "boom": boom}))
    yield made
    await made.close()
    answering.cancel()
    with suppress(asyncio.CancelledError):
        await answering


async def test_a_question_is_answered(link: Link) -> None:
    assert await link.ask("twice", {"a": [1, None, "é\n"]}, within_s=5) == [{"a": [1, None, "é\n"]}] * 2


async def test_answers_find_their_questions_whatever_their_order(link: Link) -> None:
    slow = asyncio.create_task(link.ask("never", within_s=5))
    found = await asyncio.gather(*(link.ask("twice", number, within_s=5) for number in range(50)))
    assert found == [[number, number] for number in range(50)]
    slow.cancel()


async def test_an_answer_of_megabytes_comes_whole(link: Link) -> None:
    text = "x" * 3_000_000
    assert (await link.ask("twice", text, within_s=20))[1] == text


async def test_a_worker_that_is_busy_or_fails_is_silent_and_the_link_goes_on(link: Link) -> None:
    for question in ("never", "boom"):
        with pytest.raises(WorkerSilent, match="worker 7"):
            await link.ask(question, within_s=0.2)
    assert await link.ask("twice", 1, within_s=5) == [1, 1]


async def test_a_worker_that_is_gone_is_silent_at_once() -> None:
    mine, theirs = socket.socketpair()
    link = Link(3, mine)
    await link.open()
    asking = asyncio.create_task(link.ask("twice", 1, within_s=60))
    await asyncio.sleep(0.05)
    theirs.close()
    async with asyncio.timeout(2):
        with pytest.raises(WorkerSilent):
            await asking
        with pytest.raises(WorkerSilent):
            await link.ask("twice", 1, within_s=60)
    await link.close()


async def test_a_worker_ends_its_side_when_the_supervisor_is_gone() -> None:
    mine, theirs = socket.socketpair()
    answering = asyncio.create_task(answer(theirs, {}))
    await asyncio.sleep(0.05)
    mine.close()
    async with asyncio.timeout(2):
        await answering
