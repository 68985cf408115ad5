"""`lockstep train`: fit a spec through the serving graph and publish it."""

from typing import TYPE_CHECKING

import click
from rich.table import Table

from lockstep.cli.console import console

if TYPE_CHECKING:
    from pathlib import Path

    from training.champion import Since
    from training.train import Trained

__all__ = ["train"]


@click.command()
@click.argument("name")
@click.option("--promote/--no-promote", default=True, show_default=True, help="Make the new version the champion.")
@click.option("--accept-schema", is_flag=True, help="Train although columns or their types are not the champion's.")
def train(name: str, promote: bool, accept_schema: bool) -> None:
    """Train the model NAME as training/specs/NAME.py says, and publish it as a new version.

    The feature tables must be built and `feast apply` run. A model that fails one of its gates is not published; the
    message says which gate, and by how much. To train a model of your own, copy training/specs/install.py.

    Before anything is fitted, each column is compared with what the champion was trained on. A column that is gone, of
    another type or empty stops the training, unless --accept-schema; one whose values have moved is reported. A model
    that is worse than the champion beyond its gate is published and not promoted, and the exit status is 1.

    \b
    Example:
      lockstep train install
    """
    from lockstep.home import default_home
    from lockstep.model_store import ModelStore
    from lockstep.stores.repo import open_store
    from training.spec import load_spec
    from training.train import train as run

    home = default_home()
    trained = run(open_store(home), load_spec(name), home, accept_schema=accept_schema, tell=_tell)
    version = trained.bundle.manifest.version
    promoted = promote and (trained.since is None or trained.since.promotes)
    if promoted:
        ModelStore(home.models).promote(name, version)
    _show(trained, home.models / name / version / "report.html", promoted=promoted)
    if promote:
        _require_promoted(name, version, trained.since)


def _show(trained: "Trained", report: "Path", *, promoted: bool) -> None:
    console().print(metrics_table(trained.assessment))
    beside = trained.since.gate if trained.since is not None else None
    for gate in [*trained.gates, *([beside] if beside is not None else [])]:
        click.echo(f"  {'passed' if gate.passed else 'failed'}  {gate.sentence}")
    if beside is None and trained.since is not None and trained.since.note:
        click.echo(f"  {trained.since.note}")
    manifest = trained.bundle.manifest
    click.echo(f"{manifest.name} {manifest.version} published{' and promoted' if promoted else ''}: {report}")


def _require_promoted(name: str, version: str, since: "Since | None") -> None:
    """Raises NotPromoted where the champion is better beyond the gate."""
    from lockstep.errors import NotPromoted
    from lockstep.model_store import CHAMPION

    if since is not None and since.gate is not None and not since.gate.passed:
        raise NotPromoted(name, version, CHAMPION, since.gate.sentence)


def _tell(since: "Since") -> None:
    """What changed since the champion was trained."""
    champion = f"the champion, version {since.version}"
    if since.note:
        click.echo(since.note)
    if any(one.index is None for one in since.drifts):
        click.echo(f"Some columns cannot be compared: {champion}, was trained before their distribution was kept.")
    if since.changes:
        console().print(_changes_table(since, champion))
    if since.moved:
        console().print(_moved_table(since, champion))
    elif compared := [one for one in since.drifts if one.index is not None]:
        click.echo(f"{len(compared)} of {len(since.drifts)} columns compared with {champion}: none has moved.")


def _changes_table(since: "Since", champion: str) -> Table:
    table = Table("column", "what became of it", title=f"Schema since {champion}", title_justify="left")
    for change in since.changes:
        table.add_row(change.column, change.what)
    return table


def _moved_table(since: "Since", champion: str) -> Table:
    from training.drift import range_text

    title = f"{len(since.moved)} of {len(since.drifts)} columns have moved since {champion}"
    table = Table("column", "moved", "index", "without a value", "range", title=title, title_justify="left")
    for one in since.moved:
        nulls = f"{one.null_before:.2%} → {one.null_now:.2%}"
        ranges = " → ".join(text for text in map(range_text, (one.range_before, one.range_now)) if text)
        table.add_row(one.column, one.verdict, "" if one.index is None else f"{one.index:.3f}", nulls, ranges)
    return table


def metrics_table(assessment: object) -> Table:
    """The measures of the model, the prior and the model on request data alone, with their intervals."""
    table = Table(title="Test rows whose label had time to come")
    table.add_column("measure")
    for who in ("model", "request data alone", "prior"):
        table.add_column(who, justify="right")
    sides = [getattr(assessment, name) for name in ("model", "baseline", "prior")]
    for name, digits in (("auc", 4), ("average_precision", 4), ("log_loss", 5), ("calibration", 3)):
        estimates = [getattr(side, name) for side in sides]
        cells = [f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]" for e in estimates]
        table.add_row(name.replace("_", " "), *cells)
    return table
