"""`lockstep events`: make a click log, or read one from files."""

from datetime import date, datetime
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from lockstep.home import default_home
from lockstep.times import format_time

__all__ = ["events"]


@click.group()
def events() -> None:
    """Make or read the event log: clicks with the TalkingData AdTracking columns, one Parquet file a UTC day."""


@events.command()
@click.option("--clicks", type=click.IntRange(min=1), default=200_000, show_default=True, help="How many clicks.")
@click.option("--days", type=click.IntRange(min=1), default=7, show_default=True, help="Over how many days.")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Equal seeds give equal logs.")
@click.option(
    "--start", type=click.DateTime(["%Y-%m-%d"]), default="2017-11-06", show_default=True, help="First UTC day."
)
def generate(clicks: int, days: int, seed: int, start: datetime) -> None:
    """Make up a click log with a known process behind it. It takes the place of the whole log.

    The process is written at the top of training/events/process.py.
    """
    from training.events import generate as make_up
    from training.events import write_log

    folder = default_home().events
    table = make_up(clicks, days, seed, start.date())
    _tell(folder, table, write_log(table, folder), [])


@events.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--add", is_flag=True, help="Add days to the log instead of replacing it.")
def load(files: tuple[Path, ...], add: bool) -> None:
    """Read clicks from FILES (.csv, .csv.gz, .zip with one CSV, .parquet). They take the place of the whole log.

    Columns: ip, app, device, os, channel, click_time, attributed_time, is_attributed; times as 2017-11-07 09:30:38,
    in UTC. Rows are sorted and exact duplicates dropped. With --add, days that the log does not have yet are added; a
    day that it has with other clicks is refused. On any error the log stays as it was.
    """
    from training.events import load as read
    from training.events import write_log

    folder = default_home().events
    loaded = read(files)
    days = write_log(loaded.table, folder, add=add)
    counts = [
        ("rows read", f"{loaded.rows:,}"),
        ("duplicates dropped", f"{loaded.duplicates:,}"),
        ("out of order, sorted", f"{loaded.out_of_order:,}"),
    ]
    _tell(folder, loaded.table, days, counts)


def _tell(folder: Path, table: pa.Table, days: list[date], counts: list[tuple[str, str]]) -> None:
    """Print what was written: a short table of what lies in `folder` now."""
    times = table["click_time"].cast(pa.int64())
    installs = pc.sum(table["is_attributed"]).as_py()
    shown = Table("click log", str(folder))
    for name, value in [
        *counts,
        ("clicks", f"{table.num_rows:,}"),
        ("installs", f"{installs:,} ({installs / table.num_rows:.2%})"),
        ("days written", str(len(days))),
        ("first click", format_time(pc.min(times).as_py())),
        ("last click", format_time(pc.max(times).as_py())),
    ]:
        shown.add_row(name, value)
    Console(soft_wrap=True).print(shown)
