"""Answer a stream of requests side by side and hand the answers out in the order of the requests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["in_order"]

Request = TypeVar("Request")
Answer = TypeVar("Answer")


async def in_order(
    requests: AsyncIterator[Request], answer: Callable[[Request], Coroutine[Any, Any, Answer]], *, window: int
) -> AsyncGenerator[Answer, None]:
    """The answers of all requests, in their order.

    At most `window` requests are under way or answered and not yet taken: whoever takes no answers is read no further.
    What `answer` or `requests` raise ends the stream; whoever closes it cancels what is under way.
    """
    room = asyncio.Semaphore(window)
    answers: asyncio.Queue[asyncio.Task[Answer] | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async for request in requests:
                await room.acquire()
                answers.put_nowait(asyncio.create_task(answer(request)))
        finally:
            answers.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (answering := await answers.get()) is not None:
            yield await answering
            room.release()
        await reading
    finally:
        reading.cancel()
        _cancel_rest(answers)


def _cancel_rest(answers: "asyncio.Queue[asyncio.Task[Answer] | None]") -> None:
    while not answers.empty():
        answering = answers.get_nowait()
        if answering is not None:
            answering.cancel()
