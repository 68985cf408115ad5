"""`lockstep feast`: Feast's own command line on this project."""

import os

import click

__all__ = ["feast"]


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def feast(arguments: tuple[str, ...]) -> None:
    """Run Feast's own command line with the registry of LOCKSTEP_HOME and the Redis of REDIS_URL.

    The same as `feast -c REPOSITORY -f HOME/feature_store.yaml ARGUMENTS`, for whoever does not keep the project in
    data/ and Redis on localhost. `lockstep feast --help` is Feast's help.

    \b
    Examples:
      lockstep feast apply
      lockstep feast materialize 2017-11-06T00:00:00 2017-11-12T00:00:00
    """
    from lockstep.home import default_home
    from lockstep.stores.repo import feast_command

    command = feast_command(default_home(), *arguments)
    os.execv(command[0], command)
