"""Answers come in the order of the requests, a window of them at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from serving.ordered import in_order


class Shop:
    """Answers n with n, one tenth of a millisecond the sooner the greater n is; counts what is under way."""

    def __init__(self, count: int) -> None:
        self.count, self.asked, self.under_way, self.most, self.cancelled = count, 0, 0, 0, 0

    async def requests(self) -> AsyncIterator[int]:
        """0, 1, 2…"""
        for n in range(self.count):
            self.asked += 1
            yield n

    async def answer(self, n: int) -> int:
        """The same number, later."""
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
    assert [n async for n in in_order(shop.requests(), shop.answer, window=window)] == list(range(count))
    assert shop.most == min(count, window)


async def test_whoever_takes_no_answers_is_read_no_further() -> None:
    shop = Shop(20)
    answers = in_order(shop.requests(), shop.answer, window=3)
    assert await anext(answers) == 0
    await asyncio.sleep(0.02)
    assert shop.asked <= 1 + 3 + 1
    await answers.aclose()


async def test_closing_cancels_what_is_under_way() -> None:
    shop = Shop(2000)
    answers = in_order(shop.requests(), shop.answer, window=3)
    taking = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0.01)
    taking.cancel()
    await asyncio.wait({taking})
    await asyncio.sleep(0)
    assert (shop.cancelled, shop.asked) == (3, 4)


async def test_what_an_answer_raises_ends_the_stream() -> None:
    async def answer(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        return n

    answers = in_order(Shop(5).requests(), answer, window=2)
    assert [await anext(answers), await anext(answers)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        await anext(answers)


async def test_what_the_requests_raise_comes_after_the_answers_before_it() -> None:
    async def requests() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    answers = in_order(requests(), Shop(2).answer, window=2)
    assert await anext(answers) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(answers)
