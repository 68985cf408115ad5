"""A coroutine that begins in the turn of the loop in which it is asked for, and ends in the turn in which it is done.

A task costs a turn of the loop before its first step, one after its last, and itself: of a call that shares its batch
with thirty others that is a tenth. What a coroutine loses without one is `asyncio.current_task`, and with it
`asyncio.timeout`: those that need it ask for a task themselves. Python 3.12 has eager tasks, which begin so, for all.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

__all__ = ["Doing", "at_once", "begins_at_once"]

Handler = Callable[..., Coroutine[Any, Any, Any]]
_MARK = "begins_at_once"


def at_once(handler: Handler) -> Handler:
    """Let the calls of a handler be done so: it must not need a task of its own."""
    setattr(handler, _MARK, True)
    return handler


def begins_at_once(handler: Handler) -> bool:
    """Whether it is such a handler."""
    return getattr(handler, _MARK, False)


class Doing:
    """One such coroutine; what `asyncio.Task` is as far as a call needs it. Not to be awaited."""

    __slots__ = ("_cancelling", "_context", "_coroutine", "_error", "_left", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], left: "Callable[[Doing], None]") -> None:
        """`left` is called with it when it has ended, however."""
        self._coroutine: Coroutine[Any, Any, None] | None = coroutine
        self._left, self._context = left, copy_context()
        self._waits_for: asyncio.Future[Any] | None = None
        self._error: BaseException | None = None
        self._cancelling = False

    def begin(self) -> None:
        """Take the first step."""
        self._context.run(self._step)

    def cancel(self) -> None:
        """End it by CancelledError, which it sees where it waits."""
        if self._coroutine is not None and (self._waits_for is None or not self._waits_for.cancel()):
            self._cancelling = True

    def cancelled(self) -> bool:
        """Whether it has ended so."""
        return isinstance(self._error, asyncio.CancelledError)

    def exception(self) -> BaseException | None:
        """What it ended with; None where it came to its end."""
        return self._error

    def _step(self, _: object = None) -> None:
        """From one wait to the next, in its own context. `_`: what it waited for."""
        assert self._coroutine is not None
        self._waits_for = None
        try:
            if self._cancelling:
                self._cancelling = False
                waits_for = self._coroutine.throw(asyncio.CancelledError())
            else:
                waits_for = self._coroutine.send(None)
        except StopIteration:
            self._end(None)
        except (KeyboardInterrupt, SystemExit) as error:
            self._end(error)
            raise
        except BaseException as error:  # noqa: BLE001 # whoever it is for asks for it
            self._end(error)
            error.__traceback__ = None  # it holds this frame, and that this: a circle, left to the garbage collector
        else:
            self._wait(waits_for)

    def _wait(self, waits_for: Any) -> None:
        """What `await` of a future hands out, or of nothing: asyncio.sleep(0)."""
        if waits_for is None:
            asyncio.get_running_loop().call_soon(self._step, context=self._context)
            return
        waits_for._asyncio_future_blocking = False  # the sign between a future and a task that it is waited for
        self._waits_for = waits_for
        waits_for.add_done_callback(self._step, context=self._context)
        if self._cancelling and waits_for.cancel():
            self._cancelling = False

    def _end(self, error: BaseException | None) -> None:
        self._coroutine, self._error = None, error
        self._left(self)
