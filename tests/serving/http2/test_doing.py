"""A coroutine without a task of its own ends as it would with one."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from serving.http2.doing import Doing, at_once, begins_at_once

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def doing(coroutine: Coroutine[Any, Any, None], ends: list[Doing] | None = None) -> Doing:
    """One that has begun."""
    made = Doing(coroutine, lambda one: None if ends is None else ends.append(one))
    made.begin()
    return made


async def test_it_begins_at_once_and_ends_in_the_turn_in_which_it_is_done() -> None:
    ends, said = list[Doing](), list[str]()

    async def short() -> None:
        said.append("done")

    one = doing(short(), ends)
    assert (said, ends, one.cancelled(), one.exception()) == (["done"], [one], False, None)


async def test_it_waits_for_futures_and_for_turns() -> None:
    ends, said = list[Doing](), list[Any]()
    first = asyncio.get_running_loop().create_future()

    async def long() -> None:
        said.append(await first)
        await asyncio.sleep(0)
        said.append(await asyncio.to_thread(lambda: "thread"))
        async with asyncio.Lock():
            said.append("lock")

    one = doing(long(), ends)
    await turns()
    assert (said, ends) == ([], [])
    first.set_result("first")
    while not ends:
        await asyncio.sleep(0.001)
    assert (said, ends, one.exception()) == (["first", "thread", "lock"], [one], None)


@pytest.mark.parametrize("late", [False, True])
async def test_an_error_is_its_end(late: bool) -> None:
    ends = list[Doing]()

    async def bad() -> None:
        if late:
            await asyncio.sleep(0)
        raise ValueError("no")

    one = doing(bad(), ends)
    await turns()
    assert ends == [one]
    assert (repr(one.exception()), one.cancelled()) == ("ValueError('no')", False)


async def cancel_waiting(one: Doing) -> None:
    one.cancel()


async def cancel_a_turn_before_it_goes_on(one: Doing) -> None:
    await asyncio.sleep(0)
    one.cancel()
    one.cancel()


@pytest.mark.parametrize("cancel", [cancel_waiting, cancel_a_turn_before_it_goes_on])
@pytest.mark.parametrize("wait", [lambda: asyncio.Event().wait(), lambda: turns(50)])
async def test_it_is_cancelled_where_it_waits(
    cancel: Callable[[Doing], Coroutine[Any, Any, None]], wait: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    ends, said = list[Doing](), list[str]()

    async def cleaning() -> None:
        try:
            await wait()
            said.append("no")
        finally:
            said.append("cleaned")

    one = doing(cleaning(), ends)
    await cancel(one)
    await turns()
    assert (said, ends, one.cancelled()) == (["cleaned"], [one], True)
    one.cancel()
    await turns()
    assert ends == [one]


async def test_one_that_catches_its_cancellation_goes_on() -> None:
    ends, said = list[Doing](), list[str]()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            said.append("on")

    one = doing(stubborn(), ends)
    one.cancel()
    await turns()
    assert (said, ends, one.cancelled(), one.exception()) == (["on"], [one], False, None)


async def test_one_that_cancels_itself_is_cancelled_where_it_waits_next() -> None:
    ends = list[Doing]()

    async def itself() -> None:
        one.cancel()
        await asyncio.Event().wait()

    one = Doing(itself(), ends.append)
    one.begin()
    await turns()
    assert (ends, one.cancelled()) == ([one], True)


async def test_what_it_sets_is_its_own() -> None:
    seen = list[str]()

    async def named(name: str) -> None:
        WHO.set(name)
        await asyncio.sleep(0)
        seen.append(WHO.get())

    doing(named("a"))
    doing(named("b"))
    await turns()
    assert (seen, WHO.get()) == (["a", "b"], "nobody")


async def test_the_end_of_the_process_is_passed_on() -> None:
    ends = list[Doing]()

    async def last() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        doing(last(), ends)
    assert isinstance(ends[0].exception(), SystemExit)


def test_only_a_handler_that_says_so_is_done_so() -> None:
    async def one() -> None: ...
    async def other() -> None: ...

    assert begins_at_once(at_once(one))
    assert not begins_at_once(other)
