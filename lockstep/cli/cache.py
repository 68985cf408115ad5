"""`lockstep cache`: stored predictions that answer requests."""

from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lockstep.cli.batch_options import batch_options, job_of
from lockstep.cli.console import console

if TYPE_CHECKING:
    from training.batch.fill import Filled

__all__ = ["cache"]


@click.group()
def cache() -> None:
    """Answer requests with stored predictions.

    `fill` scores keys in batch and keeps the scores in the online store; `publish` makes a model that answers with
    them. docs/cached-predictions.md tells the whole story.
    """


@cache.command()
@click.argument("model")
@click.option("--keys", required=True, metavar="FILE_OR_SQL", help="What to score: Parquet, a folder, or a query.")
@batch_options(
    at="The t of all predictions, e.g. 2017-11-09T04:00:00Z.  [default: now]",
    redo="Begin anew what an earlier run left unfinished.",
)
def fill(model: str, keys: str, **options: Any) -> None:
    """Score every row of KEYS with MODEL as of one moment, and let the scores answer.

    The keys have the join keys and request columns of the model, one row for each request that is expected. The rows
    are written under the version that scored; then one pointer is flipped, and requests read that version from there
    on. What was killed is gone on with by the same command; until it ends the version before answers.

    \b
    Examples:
      lockstep cache fill install --keys pairs.parquet
      lockstep cache fill install --keys "SELECT DISTINCT ip, app, channel, os, device FROM 'clicks.parquet'"
    """
    from lockstep.home import default_home
    from lockstep.stores.repo import open_store
    from training.batch.fill import fill as run

    home = default_home()
    job = job_of(home, model, keys, home.predictions / model, options, latest=True)
    _tell(model, run(open_store(home), job, f"lockstep cache fill {model} --keys ..., as before"))


def _tell(model: str, done: "Filled") -> None:
    from lockstep.times import format_time

    counts = done.counts
    facts = {
        "answers now": f"version {done.version}" + (f", before {done.before}" if done.before else ""),
        "predictions as of": format_time(done.moment_us),
        "written": f"{counts.written:,}",
        "left, newer ones were there": f"{counts.older:,}",
        **{f"scored, {rung}": f"{count:,}" for rung, count in sorted(done.rungs.items())},
        "seconds": f"{done.seconds:.1f}",
    }
    shown = Table("predictions", model)
    for name, value in facts.items():
        shown.add_row(name, value)
    console().print(shown)


@cache.command()
@click.argument("model")
@click.option("--on-miss", required=True, type=click.Choice(["default", "live"]), help="What becomes of a miss.")
@click.option("--default", "score", type=float, help="The score where there is no other.  [default: MODEL's prior]")
@click.option("--name", help="Name of the cached model.  [default: MODEL_cached]")
@click.option("--version", default="champion", show_default=True, help="Whose columns a request has.")
@click.option("--alias", default="champion", show_default=True, help="The alias to point at the new version.")
def publish(model: str, on_miss: str, score: float | None, name: str | None, version: str, alias: str) -> None:
    """Publish a model of kind `cached` that answers with the predictions of MODEL.

    A request without a usable prediction gets the default, or is scored by MODEL itself (`live`) and its score is kept.
    It needs to be published once: it follows the predictions from version to version as long as MODEL takes the same
    columns. Running servers pick it up within seconds.

    \b
    Example:
      lockstep cache publish install --on-miss live
    """
    from lockstep.cached_bundle import cached_files, check_behind
    from lockstep.cached_model import OnMiss
    from lockstep.home import default_home
    from lockstep.model_store import ModelStore
    from lockstep.plan import View
    from lockstep.stores.predictions import open_predictions
    from lockstep.stores.repo import open_store

    home, named = default_home(), name or f"{model}_cached"
    models = ModelStore(home.models)
    behind = models.manifest(model, version)
    check_behind(behind)  # before Feast is imported, which takes seconds
    record = open_predictions(open_store(home), model)[1].record
    view, rule = View(record.view, (), record.ttl_us, record.definition), OnMiss(on_miss)
    made = models.publish(
        named, lambda number: cached_files(behind, view, named, number, on_miss=rule, default=score)
    ).manifest
    models.promote(named, made.version, alias)
    click.echo(
        f"{named} {made.version} ({alias}) answers with the predictions of {model}; a miss: {_miss(rule, made.prior)}"
    )


def _miss(on_miss: str, default: float) -> str:
    return "scored live" if on_miss == "live" else f"the default, {default:g}"
