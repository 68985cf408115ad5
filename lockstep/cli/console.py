"""Where the verbs print their tables."""

import os
import sys

from rich.console import Console

__all__ = ["console"]

PIPED_WIDTH = 200
"""Columns of a table that goes to a file or another program: nothing is cut for want of a window."""


def console() -> Console:
    """Standard output as wide as its terminal, or wide where it is none."""
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return Console(width=wide, highlight=False)
