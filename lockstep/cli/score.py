"""`lockstep score`: scores for a whole table, without a server."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from lockstep.cli.console import console

if TYPE_CHECKING:
    from training.batch import Report

__all__ = ["score"]


@click.command()
@click.argument("model")
@click.option("--spine", required=True, metavar="FILE_OR_SQL", help="The rows: Parquet, a folder of it, or a query.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A folder of their own for the scores."
)
@click.option("--version", default="champion", show_default=True, help="A version or an alias of the model.")
@click.option("--latest", is_flag=True, help="Features of one moment for all rows, instead of each row's own time.")
@click.option("--at", metavar="TIME", help="That moment, e.g. 2017-11-09T04:00:00Z.  [default: now]")
@click.option("--redo", is_flag=True, help="Remove the scores that DIR holds and begin anew.")
@click.option("--part-rows", type=click.IntRange(min=1), default=250_000, show_default=True, help="Rows of a part.")
@click.option("--memory", default="4GB", show_default=True, help="What the join may hold before it spills into DIR.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads that score.  [default: one a core]")
def score(
    model: str,
    spine: str,
    out: Path,
    version: str,
    latest: bool,
    at: str | None,
    redo: bool,
    part_rows: int,
    memory: str,
    workers: int | None,
) -> None:
    """Score every row of a table with MODEL and write the rows and their scores as Parquet.

    The spine has the join keys and request columns of the model, `event_timestamp`, and whatever else it likes. Each
    row gets the features that were known at its event_timestamp; the scores are those that the scorer would answer.
    Added columns: score, rung, defaulted, model_version, and <view>__status for each view.

    The scores are written in parts that are complete or absent. After a kill the same command goes on where it was; it
    refuses where the spine, the model or the feature tables changed meanwhile.

    \b
    Examples:
      lockstep score install --spine clicks.parquet --out scores
      lockstep score install --out today --spine "SELECT * FROM 'clicks.csv' WHERE app = 12"
    """
    from lockstep.home import default_home
    from lockstep.model_store import ModelStore
    from lockstep.stores.repo import open_store
    from lockstep.times import parse_time
    from training.batch import Job
    from training.batch import score as run

    home = default_home()
    bundle = ModelStore(home.models).load(model, version)
    at_us = None if at is None else parse_time(at)
    job = Job(bundle, spine, out, latest, at_us, redo, part_rows, memory, workers or os.cpu_count() or 1)
    _tell(out, bundle.manifest.version, run(open_store(home), job))


def _tell(out: Path, version: str, report: "Report") -> None:
    shown = Table("scores", str(out))
    for name, value in _facts(version, report).items():
        shown.add_row(name, value)
    console().print(shown)


def _facts(version: str, report: "Report") -> dict[str, str]:
    now = sum(report.rungs.values())
    facts = {
        "version of the model": version,
        "rows": f"{report.rows:,}",
        "parts": f"{report.parts:,}",
        "parts that were there": f"{report.kept:,}",
    }
    if now:
        facts |= {f"scored now, {rung}": f"{count:,}" for rung, count in sorted(report.rungs.items())}
        facts["rows a second"] = f"{now / report.seconds:,.0f}"
    return facts
