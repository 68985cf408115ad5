"""`lockstep features`: the feature tables that the views read."""

import click
from rich.console import Console
from rich.table import Table

from lockstep.home import default_home

__all__ = ["features"]


@click.group()
def features() -> None:
    """Build the feature tables from the event log."""


@features.command()
@click.option("--full", is_flag=True, help="Build every day anew, also those that are up to date.")
def build(full: bool) -> None:
    """Bring the feature tables up to date with the click log: only days whose inputs changed are built.

    The result equals a full build, value for value.
    """
    from training.tables import TABLES
    from training.tables import build as bring_up_to_date

    report = bring_up_to_date(default_home(), full)
    shown = Table("feature table", "days built", "rows written", "days kept", "days removed")
    for column in shown.columns[1:]:
        column.justify = "right"
    for name in TABLES:
        built = report.built[name]
        counts = (len(built), sum(built.values()), len(report.kept[name]), len(report.removed[name]))
        shown.add_row(name, *(f"{count:,}" for count in counts))
    Console(soft_wrap=True).print(shown)
