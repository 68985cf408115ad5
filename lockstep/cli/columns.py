"""Columns of a request as options of a command: --ip 1 --app 2,3."""

import re
from typing import Any

from lockstep.errors import BadColumn, BadRequest

__all__ = ["Values", "read_columns"]

Values = list[int] | list[float] | list[str]


def read_columns(arguments: list[str]) -> dict[str, Values]:
    """Columns by name from `--NAME VALUES`, `--NAME=VALUES` and `--NAME:TYPE VALUES`. Raises BadRequest, BadColumn.

    >>> read_columns(["--ip", "1,2", "--bid=0.5", "--zip:string", "01234"])
    {'ip': [1, 2], 'bid': [0.5], 'zip': ['01234']}
    """
    columns: dict[str, Values] = {}
    rest = list(arguments)
    while rest:
        head = rest.pop(0)
        match = re.fullmatch(r"--([^=:]+)(?::([^=]*))?(?:=(.*))?", head, re.DOTALL)
        if match is None:
            raise BadRequest(f"{head!r} is not a column; write --NAME VALUE, e.g. --ip 1 --app 2,3.")
        name, kind, text = match.groups()
        if text is None and not rest:
            raise BadColumn(name, "has no value; write --NAME VALUE.")
        if name in columns:
            raise BadColumn(name, "given twice; put its values into one list with commas between them.")
        columns[name] = _values(name, kind, (rest.pop(0) if text is None else text).split(","))
    return columns


def _values(name: str, kind: str | None, texts: list[str]) -> Values:
    """The texts in the type named, or in the narrowest of int64, float64 and string that takes all of them."""
    readers: dict[str, Any] = {"int64": _int64, "float64": float, "string": str}
    if kind is not None and kind not in readers:
        raise BadColumn(name, f"has no type {kind!r}; write int64, float64 or string.")
    for reader in [readers[kind]] if kind else readers.values():
        try:
            return [reader(text) for text in texts]
        except ValueError:
            continue
    raise BadColumn(name, f"{','.join(texts)!r} cannot be read as {kind}.")


def _int64(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} is no int64")
    return number
