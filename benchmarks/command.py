"""What the benchmarks that stand on a home share: their command line, the home, and how figures are told."""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import facts
from lockstep.home import Home

__all__ = ["home_at", "parser", "tell"]


def parser(module: str, about: str) -> argparse.ArgumentParser:
    """A command line with --json and --home."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    made.add_argument("--json", action="store_true", help="print the JSON line alone")
    made.add_argument("--home", type=Path, help="keep data and model here and use them again (default: none is kept)")
    return made


@contextmanager
def home_at(folder: Path | None) -> Iterator[Home]:
    """A home in this folder; None: in one that goes when the block ends."""
    if folder is not None:
        yield Home(folder.absolute())
    else:
        with TemporaryDirectory(prefix="lockstep-benchmark-") as passing:
            yield Home(Path(passing))


def tell(
    figures: dict[str, Any],
    packages: Iterable[str],
    sentences: Callable[[dict[str, Any]], Iterable[str]],
    *,
    as_json: bool,
) -> None:
    """Print figures for people, unless only the line for programs is wanted, and that; with the machine."""
    figures["machine"] = facts(*packages)
    if not as_json:
        print("\n".join(sentences(figures)))
    print(json.dumps(figures))
