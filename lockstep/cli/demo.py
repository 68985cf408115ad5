"""`lockstep demo`: the whole loop on one machine, from events to proven scores."""

import json
import time
from pathlib import Path

import click

__all__ = ["demo"]


@click.command()
@click.option(
    "--events", "file", metavar="FILE", type=click.Path(path_type=Path), help="Real clicks instead of made-up ones."
)
@click.option("--clicks", default=200_000, show_default=True, help="How many clicks to make up.")
@click.option("--days", default=7, show_default=True, help="Over how many days.")
@click.option("--seed", default=7, show_default=True, help="Seed of the clicks, the training and the proof.")
@click.option("--rows", default=10_000, show_default=True, help="Key combinations to ask the scorer about.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line, for programs.")
def demo(file: Path | None, clicks: int, days: int, seed: int, rows: int, as_json: bool) -> None:
    """Run the whole loop: events, feature tables, Feast, training, Redis, scorer, proof.

    It writes to the home (LOCKSTEP_HOME, default: data), replaces what an earlier demo left there, and refuses a home
    that holds anything else. It ends with an error where one score of the scorer differs from the one made offline.

    \b
    Examples:
      lockstep demo
      lockstep demo --events train_sample.csv.gz
    """
    from lockstep.cli.loop import Settings, run

    started = time.monotonic()
    result = run(Settings(file, clicks, days, seed, rows))
    result.facts["seconds"] = round(time.monotonic() - started, 1)
    result.print()
    if as_json:
        click.echo(json.dumps(result.facts))
    result.require_same()
