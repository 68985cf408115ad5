"""Looking again and again at who is in charge."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["LOOK_AGAIN_S", "Watch"]

log = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 1.0
"""How often Sentinels are asked for the master, and a cluster for its slots."""


class Watch:
    """Looks once before the first read, then every second, and at once when told to hurry."""

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._done = asyncio.Event()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def looked(self) -> None:
        """Wait for the first look."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_looking())
        if not self._done.is_set():
            await self._done.wait()

    def hurry(self) -> None:
        """What was seen is no longer true."""
        self._wanted.set()

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            self._wanted.clear()
            try:
                await self._look()
            except Exception:  # whatever a server answered: the next look may see more
                log.exception("looking again failed", extra={"reason": "look failed"})
            else:
                self._done.set()
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._wanted.wait()
                await asyncio.sleep(LOOK_AGAIN_S / 20)  # many requests see the same change
            except TimeoutError:
                pass
