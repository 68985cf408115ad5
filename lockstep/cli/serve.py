"""`lockstep serve`: the scorer in the foreground."""

import os

import click

__all__ = ["serve"]


@click.command()
@click.option("--host", help="Address to listen on; 0.0.0.0 for every interface.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="TCP port; 0 lets the system choose.  [default: 50051]")
@click.option(
    "--models", "models_url", metavar="URL", help="Folder or URL of the models.  [default: models/ of the home]"
)
@click.option(
    "--reader",
    metavar="MODULE:CLASS",
    help="How the online store is read; lockstep.stores.reader:FeastReader reads any store that Feast knows.  "
    "[default: packed rows in Redis]",
)
@click.option("--workers", type=int, help="Processes that share the port.  [default: 1]")
@click.option(
    "--metrics-port", type=int, help="TCP port for metrics, health and the page.  [default: 9464, with --port 0 any]"
)
@click.option("--max-rows", type=int, help="Most rows in one request.  [default: 1000]")
def serve(**options: object) -> None:
    """Serve the models over gRPC until Ctrl-C.

    Prints a line when ready, with the address, the models and their versions, and one with the address of the page
    that shows what the server does; then logs to standard error as JSON lines. A version that is promoted while the
    server runs is picked up within seconds; on SIGTERM or Ctrl-C requests under way are finished first.

    Redis is the one of REDIS_URL, else localhost:6379. Every setting can also be given in the environment as
    LOCKSTEP_SERVE_<NAME>, e.g. LOCKSTEP_SERVE_DEFAULT_DEADLINE_MS=200; an option given here takes precedence.

    \b
    Example:
      REDIS_URL=redis://localhost:6379 lockstep serve --port 50051
    """
    from serving.logs import configure
    from serving.loop import run
    from serving.server import serve as serve_as
    from serving.settings import Settings

    settings = Settings.from_env(os.environ, **options)
    configure()
    run(serve_as(settings))
