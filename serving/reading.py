"""Reads of the store that end in time, whatever the store does."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from lockstep.plan import Array, Plan
from lockstep.resolve import PlanRows, ViewRows
from lockstep.status import Status

__all__ = ["Read", "Rows", "found", "found_in_time", "said_late", "unreachable"]

Rows = Mapping[str, ViewRows] | PlanRows
Read = Callable[[Plan, Mapping[str, Array], int], Awaitable[Rows]]

log = logging.getLogger(__name__)


async def found(read: Read, plan: Plan, given: Mapping[str, Array], rows: int) -> Rows:
    """What a reader finds; all UNREACHABLE where it fails, which is logged."""
    if not plan.views:
        return {}
    try:
        return await read(plan, given, rows)
    except Exception:
        log.exception("the reader failed", extra={"reason": "reader failed"})
        return unreachable(plan, rows)


async def found_in_time(read: Read, plan: Plan, given: Mapping[str, Array], rows: int, read_by_s: float) -> Rows:
    """The same, and all UNREACHABLE where it is not done by `read_by_s` on the monotonic clock."""
    task = asyncio.ensure_future(found(read, plan, given, rows))
    try:
        # Not wait_for: that waits for the cancelled reader, which may never give up.
        await asyncio.wait({task}, timeout=max(read_by_s - time.monotonic(), 0.0))
        if task.done():
            return task.result()
    finally:
        task.cancel()
    said_late()
    return unreachable(plan, rows)


def said_late() -> None:
    """Log that a store was given up."""
    log.error("the store did not answer in its share of the deadline", extra={"reason": "store too slow"})


def unreachable(plan: Plan, rows: int) -> PlanRows:
    """What is found where nobody answers."""
    return PlanRows.missing(plan, rows, Status.UNREACHABLE)
