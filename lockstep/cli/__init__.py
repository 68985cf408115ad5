"""The `lockstep` command: one file per verb, imported only when the verb is used."""

import os
import sys
from importlib import import_module

import click

from lockstep import __version__
from lockstep.errors import LockstepError, did_you_mean

__all__ = ["main"]

VERBS = {
    "events": "Make or read the event log.",
    "features": "Build the feature tables; show what a scorer sees of them.",
    "feast": "Feast's own command line, on this project's registry and Redis.",
    "train": "Train a model and publish it as a bundle.",
    "models": "List, show, promote and roll back model versions.",
    "export": "Turn a model into C code or another kind, with the proof that it scores the same.",
    "online": "Rewrite the rows in Redis, or take them over from Feast's own store.",
    "redis": "Run a Redis for this project in the foreground.",
    "serve": "Serve the models over gRPC.",
    "predict": "Ask a running server for scores.",
    "score": "Score a whole table, with features as of each row's time.",
    "cache": "Answer requests with stored predictions.",
    "bench": "Load a running server and draw its latency curve.",
    "demo": "Run the whole loop, from events to proven scores.",
    "doctor": "Say what this machine lacks, and what to do about it.",
}


class _Verbs(click.Group):
    """Lists every verb without importing it: `lockstep --help` answers at once; Feast takes seconds to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = getattr(import_module(f"lockstep.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            ctx.fail(f"There is no verb {args[0]!r}.{did_you_mean(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs, in the order in which a project uses them"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lockstep")
def cli() -> None:
    """Keep training and scoring in lockstep: features defined once in Feast, the same values on both sides.

    Start with `lockstep demo`, which runs everything once on made-up clicks. What a project makes lies in the folder
    named by LOCKSTEP_HOME (default: data).
    """


def main() -> None:
    """Run the command line; an error that Lockstep foresaw is one sentence on standard error and exit status 1."""
    # Before OpenMP is loaded: threads that wait by spinning starve whatever else runs on a small machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LockstepError as error:
        click.echo(f"lockstep: {error}", err=True)
        sys.exit(1)
