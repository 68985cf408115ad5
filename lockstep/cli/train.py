"""`lockstep train`: fit a spec through the serving graph and publish it."""

import click
from rich.table import Table

from lockstep.cli.console import console

__all__ = ["train"]


@click.command()
@click.argument("name")
@click.option("--promote/--no-promote", default=True, show_default=True, help="Make the new version the champion.")
def train(name: str, promote: bool) -> None:
    """Train the model NAME as training/specs/NAME.py says, and publish it as a new version.

    The feature tables must be built and `feast apply` run. A model that fails one of its gates is not published; the
    message says which gate, and by how much. To train a model of your own, copy training/specs/install.py.

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
    trained = run(open_store(home), load_spec(name), home)
    version = trained.bundle.manifest.version
    if promote:
        ModelStore(home.models).promote(name, version)
    console().print(metrics_table(trained.assessment))
    for gate in trained.gates:
        click.echo(f"  {'passed' if gate.passed else 'failed'}  {gate.sentence}")
    report = home.models / name / version / "report.html"
    click.echo(f"{name} {version} published{' and promoted' if promote else ''}: {report}")


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
