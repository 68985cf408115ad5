"""`lockstep export`: a published model as files that score without Lockstep."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from lockstep.cli.console import console
from lockstep.errors import BadRequest, LockstepError
from lockstep.model_store import CHAMPION
from training.exports.formats import FORMATS, exporter

if TYPE_CHECKING:
    from lockstep.bundle import Bundle
    from lockstep.home import Home
    from training.exports.formats import Exported
    from training.exports.rows import RowSet

__all__ = ["export"]


@click.command()
@click.argument("name")
@click.argument("version", default=CHAMPION)
@click.option("--to", required=True, type=click.Choice(list(FORMATS)), help="The format.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option(
    "--rows",
    "files",
    multiple=True,
    metavar="FILE.parquet",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Compare on these rows instead of the training frame's; may be given several times.",
)
@click.option("--golden-only", is_flag=True, help="Compare on the bundle's golden rows and no others.")
def export(name: str, version: str, to: str, out: Path, files: tuple[Path, ...], golden_only: bool) -> None:
    """Turn the model NAME into files that score without Lockstep, and prove that they score the same.

    VERSION is a number or an alias; left out, it is the champion. The files' scores are compared with the model's on
    the golden rows and on every training and test row, which are joined again from the feature tables of this home; C
    is compiled for that. A bundle of kind c holds its C code already, and gives that. Nothing is written where one
    row's score parts. A file for --rows holds the model's inputs, or every stored and request column of the plan;
    `lockstep models show NAME` lists them.

    \b
    Examples:
      lockstep export install --to c --out bidder/
      lockstep export install 3 --to c --out bidder/ --rows requests.parquet
    """
    from lockstep.home import default_home
    from lockstep.model_store import ModelStore
    from lockstep.progress import bar

    if files and golden_only:
        raise click.UsageError("--rows names rows to compare, --golden-only wants none.")
    home = default_home()
    bundle = ModelStore(home.models).load(name, version)
    with bar(f"export {name} to {to}", FORMATS[to].steps) as step:
        made = exporter(to)(bundle, _rows(bundle, home, files, golden_only), out, step)
    console().print(_table(f"{name} {bundle.manifest.version} as {to}", made))


def _rows(bundle: "Bundle", home: "Home", files: tuple[Path, ...], golden_only: bool) -> "Iterator[RowSet]":
    """The golden rows, then those asked for, which are only made once the code is there."""
    from training.exports.rows import file_rows, golden_rows, remade_rows

    yield golden_rows(bundle)
    if files or golden_only:
        yield from (file_rows(bundle, path) for path in files)
        return
    from lockstep.stores.repo import open_store

    try:
        remade = remade_rows(bundle, open_store(home), home)
    except LockstepError as error:
        raise BadRequest(
            f"the training rows cannot be joined again to compare on: {error} "
            "Or name rows with --rows FILE.parquet, or say --golden-only."
        ) from error
    yield remade


def _table(title: str, made: "Exported") -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    for path in made.files:
        table.add_row(str(path), f"{path.stat().st_size:,} bytes")
    table.add_section()
    for name, value in made.facts.items():
        table.add_row(name, value)
    return table
