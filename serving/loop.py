"""The event loop of a serving process."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["new_loop", "run"]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, on uvloop where there is one: less Python between a socket and a request."""
    try:
        from uvloop import run as run_fast
    except ImportError:  # not made for Windows
        asyncio.run(main)
    else:
        run_fast(main)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop of the same kind, for a thread of its own."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = new_event_loop()
    return loop
