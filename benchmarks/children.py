"""Processes of a benchmark's own that carry out orders: what loads a server must not share its interpreter."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

__all__ = ["child"]


@contextmanager
def child(live: Callable[..., None], *known: Any) -> Iterator["Pipe[Any, Any]"]:
    """A process that runs `live(pipe, *known)` until the block ends; yields the other end of its pipe.

    `live` is a function of a module, what it knows can be pickled, and it returns when its pipe raises EOFError. The
    block begins when the process has imported what it needs: orders at fixed times would find it late. Raises EOFError
    where it does not come that far.
    """
    context = multiprocessing.get_context("spawn")  # a fork would take gRPC's threads along, and hang
    ours, theirs = context.Pipe()
    process = context.Process(target=_begin, args=(theirs, live, *known), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield ours
    finally:
        ours.close()
        process.join()


def _begin(pipe: "Pipe[Any, Any]", live: Callable[..., None], *known: Any) -> None:
    pipe.send("ready")
    live(pipe, *known)
