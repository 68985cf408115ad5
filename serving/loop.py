"""The event loop of a serving process."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["run"]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, on uvloop where there is one: less Python between a socket and a request."""
    try:
        from uvloop import run as run_fast
    except ImportError:  # not made for Windows
        asyncio.run(main)
    else:
        run_fast(main)
