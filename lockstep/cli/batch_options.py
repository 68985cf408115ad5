"""The options that `lockstep score` and `lockstep cache fill` share, and the job that they and the rest describe."""

import os
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lockstep.home import Home
    from training.batch import Job

__all__ = ["batch_options", "job_of"]

Command = Callable[..., Any]

_WORKERS = "Threads that score.  [default: one a core]"


def batch_options(at: str, redo: str) -> Callable[[Command], Command]:
    """Add --version, --at, --redo, --part-rows, --memory and --workers; `at` and `redo` are help texts."""
    options = (
        click.option("--version", default="champion", show_default=True, help="A version or an alias of the model."),
        click.option("--at", metavar="TIME", help=at),
        click.option("--redo", is_flag=True, help=redo),
        click.option(
            "--part-rows", type=click.IntRange(min=1), default=250_000, show_default=True, help="Rows of a part."
        ),
        click.option(
            "--memory", default="4GB", show_default=True, help="What the join may hold before it spills to disk."
        ),
        click.option("--workers", type=click.IntRange(min=1), help=_WORKERS),
    )
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


def job_of(home: "Home", model: str, source: str, out: Path, options: dict[str, Any], *, latest: bool) -> "Job":
    """The job of a command line. Raises UnknownModel, BundleRefused, BadRequest."""
    from lockstep.model_store import ModelStore
    from lockstep.times import parse_time
    from training.batch import Job

    return Job(
        ModelStore(home.models).load(model, options["version"]),
        source,
        out,
        latest=latest,
        at_us=None if options["at"] is None else parse_time(options["at"]),
        redo=options["redo"],
        part_rows=options["part_rows"],
        memory=options["memory"],
        workers=options["workers"] or os.cpu_count() or 1,
    )
