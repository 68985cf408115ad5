"""Answer a stream of requests side by side and hand the answers out in the order of the requests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar

__all__ = ["failed", "in_order"]

Request = TypeVar("Request")
Answer = TypeVar("Answer")


async def in_order(
    requests: AsyncIterator[Request], start: Callable[[Request], "asyncio.Future[Answer]"], *, window: int
) -> AsyncGenerator["asyncio.Future[Answer]", None]:
    """The answers of all requests, in their order, each as a future that the caller awaits before it asks for the next.

    At most `window` requests are under way or answered and not yet taken: whoever takes no answers is read no further.
    What `start` or `requests` raise ends the stream; whoever closes it cancels what is under way.
    """
    room = asyncio.Semaphore(window)
    answers: asyncio.Queue[asyncio.Future[Answer] | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async for request in requests:
                await room.acquire()
                answers.put_nowait(start(request))
        finally:
            answers.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (answering := await answers.get()) is not None:
            try:
                yield answering
            finally:
                _drop(answering)
            room.release()
        await reading
    finally:
        reading.cancel()
        _cancel_rest(answers)


def failed(error: Exception) -> "asyncio.Future[Any]":
    """An answer that is an error from the start."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answer.set_exception(error)
    return answer


def _drop(answering: "asyncio.Future[Answer]") -> None:
    """Nobody wants it, not even to be told that it failed."""
    if not answering.cancel() and not answering.cancelled():
        answering.exception()


def _cancel_rest(answers: "asyncio.Queue[asyncio.Future[Answer] | None]") -> None:
    while not answers.empty():
        answering = answers.get_nowait()
        if answering is not None:
            _drop(answering)
