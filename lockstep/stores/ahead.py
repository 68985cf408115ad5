"""An iterator that works ahead on a thread of its own."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")


def ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
    """The items, up to `count` of them made before they are asked for; what making one raises comes in its place.

    Pays where both sides leave Python's lock, as Arrow, DuckDB and sockets do. When the caller stops early, so does the
    thread, after the item that it is at.
    """
    thread = ThreadPoolExecutor(1)
    try:
        waiting: deque[Future[list[T]]] = deque(thread.submit(_next, items) for _ in range(count))
        while item := waiting.popleft().result():
            waiting.append(thread.submit(_next, items))
            yield item[0]
    finally:
        thread.shutdown(cancel_futures=True)


def _next(items: Iterator[T]) -> list[T]:
    """The next item, or nothing at the end: a StopIteration does not cross threads."""
    return list(islice(items, 1))
