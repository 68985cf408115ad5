"""docs/settings.md: every setting of the scorer, made from the docstrings of serving/settings.py.

    python -m tests.serving.settings_page

writes the page; a test compares it.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path

from lockstep.files import write_bytes
from serving import settings
from serving.settings import PREFIX, Settings

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = f"""# Settings of the scorer

Every setting is read from the environment as `{PREFIX}<NAME>`; some are options of `lockstep serve` as well, which
take precedence. A name that is no setting is refused, with the nearest one that is. Made by
`python -m tests.serving.settings_page`.

| setting | default | what it does |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    texts = dict(_docstrings())
    rows = [
        f"| `{PREFIX}{one.name.upper()}` | {_default(one.name)} | {' '.join(texts[one.name].split())} |"
        for one in fields(Settings)
        if "the supervisor sets it" not in texts[one.name]
    ]
    return HEAD + "\n".join(rows) + "\n"


def _docstrings() -> Iterator[tuple[str, str]]:
    """The text that stands under each field."""
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(settings)).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            yield field.target.id, ast.literal_eval(text.value)


def _default(name: str) -> str:
    (field,) = (one for one in fields(Settings) if one.name == name)
    if field.default is MISSING:
        return "from the environment"
    return "" if field.default in ("", None) else f"`{field.default}`"


if __name__ == "__main__":
    write_bytes(PAGE, page().encode())
