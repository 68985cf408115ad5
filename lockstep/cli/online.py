"""`lockstep online`: the rows in Redis."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from feast import FeatureStore

    from lockstep.stores.materialize import Job

__all__ = ["online", "rewrite"]

IMPORTED = {"import": ("lockstep.cli.online_import", "import_")}
"""Command -> the module that holds it, and its name there."""


class _Commands(click.Group):
    """Imports the commands of other modules when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *IMPORTED])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in IMPORTED:
            return super().get_command(ctx, name)
        module, attribute = IMPORTED[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=_Commands)
def online() -> None:
    """Rewrite the rows in Redis, or take them over from Feast's own store.

    They are filled by `feast materialize` and `feast materialize-incremental`.
    """


@online.command()
@click.argument("view")
@click.option(
    "--repo",
    type=click.Path(exists=True, path_type=Path),
    help="The feature_store.yaml, or its folder. Default: this project's repository and home.",
)
@click.option("--until", metavar="TIME", help="Take rows that count by then, e.g. 2017-11-09T04:00:00Z. Default: now.")
@click.option(
    "--newer-too",
    is_flag=True,
    help="Replace also stored rows that are newer than the table's: what was pushed meanwhile is lost.",
)
def rewrite(view: str, repo: Path | None, until: str | None, newer_too: bool) -> None:
    """Replace the rows of VIEW after its table was repaired.

    A materialize leaves a stored row that has the same timestamps as the table's; this writes it again, and with it
    every row of the table that may be in Redis. Reads go on meanwhile. It may be killed and run again. Rows whose keys
    the table no longer has stay until they expire.
    """
    from lockstep.stores.materialize import materialize
    from lockstep.stores.repo import open_named

    click.echo(materialize(_job(open_named(repo), view, until, newer_too, repo)))


def _job(store: "FeatureStore", view: str, until: str | None, newer_too: bool, repo: Path | None) -> "Job":
    """Raises BadRequest for a view or a time that there is not, and for a view that Feast's own engine fills."""
    from feast.infra.offline_stores.offline_utils import get_offline_store_from_config
    from feast.infra.online_stores.helpers import get_online_store_from_config

    from lockstep.errors import BadRequest
    from lockstep.stores.engine import feasts_own_way
    from lockstep.stores.materialize import Job
    from lockstep.stores.online import LockstepOnlineStore
    from lockstep.stores.redis_write import Replace
    from lockstep.times import now_us, parse_time

    kept = get_online_store_from_config(store.config.online_store)
    if not isinstance(kept, LockstepOnlineStore):
        raise BadRequest(f"the online store is {type(kept).__name__}; only rows of LockstepOnlineStore are rewritten.")
    table = _table(store, view)
    why = feasts_own_way(table, get_offline_store_from_config(store.config.offline_store))
    if why:
        raise BadRequest(f"view {view!r} is filled by Feast's own engine ({why}), which cannot rewrite it.")
    until_us = parse_time(until) if until else now_us()
    options = [["--repo", str(repo)] if repo else [], ["--until", until] if until else []]
    command = ["lockstep", "online", "rewrite", view, *options[0], *options[1], *(["--newer-too"] if newer_too else [])]
    return Job(
        store.config,
        kept,
        table,
        start_us=until_us,
        end_us=until_us,
        command=" ".join(command),
        replace=Replace.ANY if newer_too else Replace.SAME,
        whole=True,
        bar=_bar,
    )


def _table(store: "FeatureStore", name: str) -> Any:
    from lockstep.errors import BadRequest, did_you_mean

    views = {
        each.name: each
        for kind in (store.list_batch_feature_views(), store.list_stream_feature_views())
        for each in kind
    }
    if name not in views:
        raise BadRequest(f"there is no feature view {name!r} to rewrite.{did_you_mean(name, views)}")
    return views[name]


def _bar(rows: int) -> Any:
    """As Feast draws it."""
    from tqdm import tqdm

    return tqdm(total=rows, ncols=100, unit=" rows", unit_scale=True)
