"""`lockstep score`: scores for a whole table, without a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.table import Table

from lockstep.cli.batch_options import batch_options, job_of
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
@click.option("--latest", is_flag=True, help="Features of one moment for all rows, instead of each row's own time.")
@batch_options(
    at="The moment of --latest, e.g. 2017-11-09T04:00:00Z.  [default: now]",
    redo="Remove the scores that DIR holds and begin anew.",
)
@click.option(
    "--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True, help="Where it is scored."
)
def score(model: str, spine: str, out: Path, latest: bool, engine: str, **options: Any) -> None:
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
      lockstep score install --out scores --spine clicks/ --engine spark
    """
    if engine == "spark":
        _check_local_options()
    from lockstep.home import default_home
    from lockstep.stores.repo import open_store
    from training.batch.engine import Engine, scorer

    run, home = scorer(Engine(engine)), default_home()
    job = job_of(home, model, spine, out, options, latest=latest)
    _tell(out, job.bundle.manifest.version, run(open_store(home), job))


def _check_local_options() -> None:
    """Raise UsageError where an option was given that Spark would not heed."""
    context = click.get_current_context()
    for option in ("memory", "workers"):
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{option} is for the local engine; Spark has settings of its own.")


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
