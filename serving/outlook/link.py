"""How a supervisor asks its workers: one JSON object a line, over a socket that only the two of them hold.

No file, no port, nothing to clean up; whoever dies takes the connection along.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

from lockstep.errors import WorkerSilent

__all__ = ["Answers", "Link", "answer"]

MOST_LINE_BYTES = 32 * 1024 * 1024
"""The report of a model is the longest answer."""

Answers = Mapping[str, Callable[..., Awaitable[Any]]]
"""By the name of a question what answers it; takes and returns what JSON can hold."""

log = logging.getLogger(__name__)


class Link:
    """The supervisor's end."""

    def __init__(self, worker: int, end: socket.socket) -> None:
        self._worker, self._end = worker, end
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._opened: tuple[asyncio.Task[None], asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Begin to listen."""
        reader, writer = await asyncio.open_connection(sock=self._end, limit=MOST_LINE_BYTES)
        self._opened = asyncio.create_task(self._listen(reader)), writer

    async def ask(self, question: str, *facts: Any, within_s: float) -> Any:
        """The worker's answer. Raises WorkerSilent where it gives none in time."""
        if self._opened is None or self._opened[0].done():
            raise WorkerSilent(self._worker)
        number = next(self._numbers)
        self._asked[number] = waiting = asyncio.get_running_loop().create_future()
        self._opened[1].write(_line([number, question, *facts]))
        try:
            async with asyncio.timeout(within_s):
                return await waiting
        except TimeoutError as error:
            raise WorkerSilent(self._worker) from error
        finally:
            self._asked.pop(number, None)

    async def close(self) -> None:
        """Let go of the worker."""
        if self._opened is not None:
            listening, writer = self._opened
            listening.cancel()
            await _closed(writer)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            async for line in reader:
                number, answer = json.loads(line)
                if number in self._asked and not self._asked[number].done():
                    self._asked[number].set_result(answer)
        except OSError:
            pass  # it died; its supervisor sees that by itself
        finally:
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(WorkerSilent(self._worker))


async def answer(end: socket.socket, answers: Answers) -> None:
    """The worker's end: answer until the supervisor is gone."""
    reader, writer = await asyncio.open_connection(sock=end, limit=MOST_LINE_BYTES)
    under_way: set[asyncio.Task[None]] = set()
    try:
        async for line in reader:
            number, question, *facts = json.loads(line)
            task = asyncio.create_task(_answer(writer, number, answers[question](*facts)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    finally:
        for task in under_way:
            task.cancel()
        await _closed(writer)


async def _answer(writer: asyncio.StreamWriter, number: int, answering: Awaitable[Any]) -> None:
    try:
        writer.write(_line([number, await answering]))
    except Exception:  # the supervisor's question times out, and the next one may be answered
        log.exception("the supervisor was not answered", extra={"reason": "link"})


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):  # the other end was quicker
        await writer.wait_closed()


def _line(plain: Any) -> bytes:
    return json.dumps(plain, allow_nan=False).encode() + b"\n"
