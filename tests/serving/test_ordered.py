"""Answers come in the order of the requests, a window of them at once."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from serving.ordered import failed, in_order


class Shop:
    """Answers n with n, one tenth of a millisecond the sooner the greater n is; counts what is under way."""

    def __init__(self, count: int) -> None:
        self.count, self.asked, self.under_way, self.most, self.cancelled = count, 0, 0, 0, 0

    async def requests(self) -> AsyncIterator[int]:
        """0, 1, 2…"""
        for n in range(self.count):
            self.asked += 1
            yield n

    def start(self, n: int) -> "asyncio.Task[int]":
        """The same number, later."""
        return asyncio.ensure_future(self.answer(n))

    async def answer(self, n: int) -> int:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep((self.count - n) / 10_000)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.under_way -= 1
        return n


@pytest.mark.parametrize(("count", "window"), [(0, 3), (1, 3), (3, 3), (20, 3), (20, 1), (20, 50)])
async def test_answers_come_in_order_and_no_more_than_the_window_at_once(count: int, window: int) -> None:
    shop = Shop(count)
    answers = in_order(shop.requests(), shop.start, window=window)
    assert [await answer async for answer in answers] == list(range(count))
    assert shop.most == min(count, window)


async def test_whoever_takes_no_answers_is_read_no_further() -> None:
    shop = Shop(20)
    answers = in_order(shop.requests(), shop.start, window=3)
    assert await (await anext(answers)) == 0
    await asyncio.sleep(0.02)
    assert shop.asked <= 1 + 3 + 1
    await answers.aclose()


async def test_closing_cancels_what_is_under_way() -> None:
    shop = Shop(2000)
    answers = in_order(shop.requests(), shop.start, window=3)
    await anext(answers)
    await asyncio.sleep(0.01)
    await answers.aclose()
    await asyncio.sleep(0)
    assert (shop.cancelled, shop.asked) == (3, 4)


async def test_an_answer_that_fails_is_one_of_many() -> None:
    def start(n: int) -> "asyncio.Future[int]":
        return failed(ValueError("two")) if n == 2 else Shop(5).start(n)

    found = []
    async for answer in in_order(Shop(5).requests(), start, window=2):
        (outcome,) = await asyncio.gather(answer, return_exceptions=True)
        found.append(str(outcome))
    assert found == ["0", "1", "two", "3", "4"]


async def test_what_starting_raises_ends_the_stream() -> None:
    def start(n: int) -> "asyncio.Future[int]":
        if n == 2:
            raise ValueError("two")
        return Shop(5).start(n)

    answers = in_order(Shop(5).requests(), start, window=2)
    assert [await (await anext(answers)), await (await anext(answers))] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        await anext(answers)


async def test_an_error_that_nobody_takes_any_more_is_not_complained_about(caplog: pytest.LogCaptureFixture) -> None:
    answers = in_order(Shop(5).requests(), lambda n: failed(ValueError("unwanted")), window=3)
    await anext(answers)
    await asyncio.sleep(0.01)
    await answers.aclose()
    gc.collect()
    assert not caplog.records


async def test_what_the_requests_raise_comes_after_the_answers_before_it() -> None:
    async def requests() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    answers = in_order(requests(), Shop(2).start, window=2)
    assert await (await anext(answers)) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(answers)
