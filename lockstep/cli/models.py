"""`lockstep models`: versions and aliases of the published models."""

import json
from typing import Any

import click
from rich.table import Table

from lockstep.bundle import Manifest
from lockstep.cli.console import console
from lockstep.errors import UnknownModel
from lockstep.home import default_home
from lockstep.model_store import CHAMPION, ModelStore
from lockstep.plan import Column, Computed, Given, Moment, Plan, Stored, View
from lockstep.signature import SIGNING_KEY, Signer
from lockstep.times import DAY, HOUR, MINUTE, SECOND, format_time

__all__ = ["models"]


@click.group()
@click.option(
    "--models", "url", metavar="URL", help="Folder or URL of the models.  [default: models/ of LOCKSTEP_HOME]"
)
@click.pass_context
def models(context: click.Context, url: str | None) -> None:
    """List, show, promote and roll back model versions.

    A model's versions are numbered from 1 and never change. An alias is a name that points at one of them: the scorer
    answers with the `champion` unless a request asks for another version or alias, and follows an alias within seconds.
    """
    context.obj = ModelStore(url or default_home().models)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
@click.pass_obj
def list_models(store: ModelStore, as_json: bool) -> None:
    """List every version of every model, newest first."""
    listed = [_listed(store, name, version) for name in store.names() for version in store.versions(name)[::-1]]
    if as_json:
        click.echo(json.dumps(listed))
        return
    if not listed:
        click.echo(f"No model under {store.url} yet. `lockstep train` makes one.")
        return
    table = Table("model", "version", "aliases", "created", "service", "inputs", "metrics")
    for one in listed:
        aliases, metrics = ", ".join(one["aliases"]), _metrics(one["metrics"])
        table.add_row(
            one["model"], one["version"], aliases, one["created"], one["service"], str(one["inputs"]), metrics
        )
    console().print(table)


def _listed(store: ModelStore, name: str, version: str) -> dict[str, Any]:
    manifest = store.manifest(name, version)
    return {
        "model": name,
        "version": version,
        "aliases": [alias for alias, pointed in store.aliases(name).items() if pointed == version],
        "created": format_time(manifest.created_us),
        "service": manifest.plan.service,
        "inputs": len(manifest.plan.inputs),
        "metrics": manifest.metrics,
    }


def _metrics(metrics: dict[str, Any]) -> str:
    """The plain numbers among the metrics; nested ones are in `show`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float))


@models.command()
@click.argument("name")
@click.argument("version", default=CHAMPION)
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest.")
@click.pass_obj
def show(store: ModelStore, name: str, version: str, as_json: bool) -> None:
    """Show what a model needs and what is known of it.

    VERSION is a number or an alias; left out, it is the champion. The columns are listed in the order in which the
    scorer fills them: those from the request are what `lockstep predict` sends.

    \b
    Example:
      lockstep models show install 3
    """
    manifest = store.manifest(name, version)
    if as_json:
        click.echo(manifest.to_json().decode().rstrip())
        return
    out = console()
    out.print(_facts(store, manifest), _columns(manifest.plan), _views(manifest.plan))


def _facts(store: ModelStore, manifest: Manifest) -> Table:
    aliases = [alias for alias, pointed in store.aliases(manifest.name).items() if pointed == manifest.version]
    facts = {
        "model": f"{manifest.name} {manifest.version}" + (f" ({', '.join(aliases)})" if aliases else ""),
        "created": format_time(manifest.created_us),
        "feature service": manifest.plan.service,
        "kind": manifest.kind,
        "prior": f"{manifest.prior:.6g}",
        "metrics": _metrics(manifest.metrics),
        "code": manifest.revision or "unknown",
        "plan": manifest.plan.sha256()[:12],
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _columns(plan: Plan) -> Table:
    table = Table("column", "type", "from", "default", "model input", title="Columns", title_justify="left")
    for column in plan.columns:
        default = "" if column.default is None else repr(column.default)
        table.add_row(
            column.name, column.dtype.value, _source(column), default, "yes" if column.name in plan.inputs else ""
        )
    return table


def _source(column: Column) -> str:
    match column.source:
        case Given(role=role):
            return "the request (join key)" if role == "join_key" else "the request"
        case Stored(view=view, field=field):
            return f"{view}:{field}"
        case Moment():
            return "t, the time of the row"
        case Computed(function=function, arguments=arguments):
            return f"{function}({', '.join(arguments)})"


def _views(plan: Plan) -> Table:
    table = Table("view", "join keys", "TTL", title="Views", title_justify="left")
    for view in plan.views:
        table.add_row(view.name, _keys(view), "for ever" if view.ttl_us is None else duration(view.ttl_us))
    return table


def _keys(view: View) -> str:
    return ", ".join(
        key.key if key.key == key.column else f"{key.key} (sent as {key.column})" for key in view.join_keys
    )


def duration(us: int) -> str:
    """A duration in its largest whole unit.

    >>> duration(2 * DAY), duration(90 * MINUTE)
    ('2d', '90m')
    """
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if us % unit == 0:
            return f"{us // unit}{letter}"
    return f"{us}µs"


@models.command()
@click.argument("name")
@click.argument("version")
@click.option("--alias", default=CHAMPION, show_default=True, help="The alias to point at the version.")
@click.pass_obj
def promote(store: ModelStore, name: str, version: str, alias: str) -> None:
    """Point an alias at a version.

    Running servers follow within seconds: each loads the version, checks its golden rows, and keeps the one before if
    anything differs. `lockstep models rollback` undoes it.

    \b
    Example:
      lockstep models promote install 4
    """
    store.load(name, version)  # a bundle that does not build here will not build in a server either
    before = store.aliases(name).get(alias)
    now = store.promote(name, version, alias)
    click.echo(f"{alias} of {name}: {_moved(before, now)}")


@models.command()
@click.argument("name")
@click.option("--alias", default=CHAMPION, show_default=True, help="The alias to point back.")
@click.pass_obj
def rollback(store: ModelStore, name: str, alias: str) -> None:
    """Point an alias back at the version it pointed at before."""
    if name not in store.names():
        raise UnknownModel(name, None, store.names())
    before = store.aliases(name).get(alias)
    click.echo(f"{alias} of {name}: {_moved(before, store.rollback(name, alias))}")


@models.command()
@click.argument("name")
@click.argument("version")
@click.option(
    "--key",
    required=True,
    envvar=SIGNING_KEY,
    metavar="FILE",
    help=f"Ed25519 private key in PEM.  [default: {SIGNING_KEY}]",
)
@click.pass_obj
def sign(store: ModelStore, name: str, version: str, key: str) -> None:
    """Sign a version, for servers that take signed ones alone.

    What is published while LOCKSTEP_SIGNING_KEY names a key is signed at once; this is for what was published before.
    The version is checked first, as a server would.

    \b
    Example:
      openssl genpkey -algorithm ed25519 -out signing.key
      openssl pkey -in signing.key -pubout -out bundles.pub
      lockstep models sign install 4 --key signing.key
      LOCKSTEP_SERVE_BUNDLE_KEY=bundles.pub lockstep serve
    """
    click.echo(f"version {store.sign(name, version, Signer(key))} of {name} is signed")


@models.command()
@click.argument("name")
@click.argument("version", default=CHAMPION)
@click.option("--key", required=True, metavar="FILE", help="Ed25519 public key in PEM.")
@click.pass_obj
def verify(store: ModelStore, name: str, version: str, key: str) -> None:
    """Check a version's signature, its files and its golden rows, as a server with that key does."""
    bundle = ModelStore(store.url, key).load(name, version)
    click.echo(f"version {bundle.manifest.version} of {name} is signed by that key, and scores as trained")


def _moved(before: str | None, now: str) -> str:
    if before == now:
        return f"version {now} already"
    return f"version {now}" + (f", before {before}" if before else "")
