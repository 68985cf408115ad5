"""What a reader is: the one thing between the scorer and an online store."""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from lockstep.errors import BadSetting
from lockstep.plan import Array, Plan
from lockstep.resolve import ViewRows

__all__ = ["Reader", "open_reader"]


class Reader(Protocol):
    """Reads the rows of every view of a plan for a batch of keys. A reader for another store fits in a file."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """By view name: what the store holds for row i's keys, in the order of the rows.

        `given` by column name, arrays of shape (rows,): join keys by the names of `JoinKey.column`. A store that does
        not answer is not an error: its rows are UNREACHABLE. The caller bounds the time and cancels.
        """
        ...

    async def close(self) -> None:
        """Give connections and threads back."""
        ...


def open_reader(path: str) -> Reader:
    """The reader named `module:Class`; its class method `open()` takes no argument and reads its own configuration.

    Imported here and only here: Feast alone takes seconds. Raises BadSetting where the path names no such class.
    """
    module, _, name = path.partition(":")
    expected = "expected a reader class that can be imported and opened, e.g. lockstep.stores.reader:FeastReader"
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSetting("reader", path, f"{expected}: {error}.") from error
    if not hasattr(found, "open"):
        raise BadSetting("reader", path, f"{expected}; {name} has no class method open().")
    reader: Reader = found.open()
    return reader
