"""A progress bar for long work, on standard error, so that what a command prints can be piped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["bar"]


@contextmanager
def bar(description: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """Show a bar while the block runs; yields a function that takes the number of units done since the last call.

    `total` in units, None where it is not known. On a terminal the bar moves; elsewhere it is printed once, at its end.
    """
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.advance(task, done)
