"""`lockstep online import`: packed rows from the hashes of Feast's own Redis store."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lockstep.cli.console import console

if TYPE_CHECKING:
    from feast import FeatureStore

    from lockstep.stores.moving import Compared, Moved
    from lockstep.stores.redis_connect import Client

__all__ = ["import_"]


@click.command("import")
@click.argument("views", nargs=-1)
@click.option(
    "--repo",
    type=click.Path(exists=True, path_type=Path),
    help="The feature_store.yaml with the new store, or its folder. Default: this project's repository and home.",
)
@click.option(
    "--from",
    "source",
    metavar="CONNECTION",
    help="The Redis with Feast's hashes, as host:port,option=value… or a redis:// URL. Default: the new store's own.",
)
@click.option(
    "--from-type",
    type=click.Choice(["redis", "redis_cluster", "redis_sentinel"]),
    default="redis",
    show_default=True,
    help="What --from names.",
)
@click.option("--from-master", default="mymaster", show_default=True, help="The master that its Sentinels watch.")
@click.option("--check", is_flag=True, help="Compare the rows and write nothing; exit status 1 where they differ.")
def import_(
    views: tuple[str, ...], repo: Path | None, source: str | None, from_type: str, from_master: str, check: bool
) -> None:
    """Fill packed rows from the hashes of Feast's own Redis store, while both serve.

    VIEWS are feature views; without any, all of the project's. A row that is there already and as new stays, so the
    command may be killed and run again, also beside a materialize. docs/moving-in-and-out.md tells the whole way.
    """
    from lockstep.stores.moving import compare_rows, import_rows
    from lockstep.stores.repo import open_named

    store = open_named(repo)
    client = _client(store, source, from_type, from_master)
    if check:
        _show_compared(_with_bar("comparing", client, lambda done: compare_rows(store, client, views, done)))
    else:
        _show_moved(_with_bar("importing", client, lambda done: import_rows(store, client, views, done)))


def _client(store: "FeatureStore", source: str | None, kind: str, master: str) -> "Client":
    from lockstep.stores.moving import our_store
    from lockstep.stores.redis_connect import RedisType, Where, connect

    online = our_store(store)
    if source is None:
        return online.client(store.config)
    return connect(Where(source, RedisType(kind), master))


def _with_bar(what: str, client: "Client", run: Callable[[Callable[[float], None]], Any]) -> Any:
    """Run with a bar of the keys that were looked at. Raises BadConnection where a Redis does not answer."""
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import TimeoutError as RedisTimeoutError

    from lockstep.errors import BadConnection
    from lockstep.progress import bar
    from lockstep.stores.moving import count_keys

    try:
        with bar(what, count_keys(client)) as done:
            return run(done)
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise BadConnection(
            f"Redis does not answer ({error}). What was written stays; run the command again."
        ) from error


def _show_moved(moved: "Sequence[Moved]") -> None:
    table = _table("feature view", "found", "written", "as new already", "older than ours", "refused", "past their TTL")
    for one in moved:
        counts = one.counts
        refused = sum(one.refused.values()) + counts.future
        numbers = (one.found, counts.written, counts.same, counts.older, refused, one.stale)
        table.add_row(one.view, *(f"{number:,}" for number in numbers))
    console().print(table)
    for one in moved:
        reasons = dict(one.refused) | ({"dated after the clock": one.counts.future} if one.counts.future else {})
        _name(one.view, reasons, one.named)
    if not any(one.found for one in moved):
        click.echo("No row was found: is this the Redis, the project and the entity of the old store?")
        sys.exit(1)


def _show_compared(compared: "Sequence[Compared]") -> None:
    columns = ("equal", "newer", "older", "missing", "different")
    table = _table("feature view", *columns, "refused")
    for one in compared:
        numbers = [*(getattr(one, name) for name in columns), sum(one.refused.values())]
        table.add_row(one.view, *(f"{number:,}" for number in numbers))
    console().print(table)
    for one in compared:
        _name(one.view, one.refused, one.named)
    if not all(one.agrees for one in compared):
        sys.exit(1)


def _table(*columns: str) -> Table:
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _name(view: str, reasons: Any, named: Sequence[str]) -> None:
    for reason, number in reasons.items():
        click.echo(f"view {view!r}: {number:,} rows: {reason}")
    for line in named:
        click.echo(f"  {line}")
