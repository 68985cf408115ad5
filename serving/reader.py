"""What a reader is: the one thing between the scorer and an online store."""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from lockstep.errors import BadSetting
from lockstep.plan import Array, Plan
from lockstep.resolve import PlanRows, ViewRows
from serving.settings import Settings

__all__ = ["PREPARE_S", "Reader", "open_reader"]

PREPARE_S = 5.0
"""How long the online store may take to say what its views mean."""


class Reader(Protocol):
    """Reads the rows of every view of a plan for a batch of keys. A reader for another store fits in a file."""

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> Mapping[str, ViewRows] | PlanRows:
        """What the store holds for row i's keys, in the order of the rows: by view name, or of all views at once.

        `given` by column name, arrays of shape (rows,): join keys by the names of `JoinKey.column`. A store that does
        not answer is not an error: its rows are UNREACHABLE. The caller bounds the time and cancels.
        """
        ...

    async def prepare(self, plan: Plan) -> None:
        """Make ready to read a plan, before it takes traffic.

        Raises DefinitionDiffers where a view means something else than when the plan was trained. A store that does not
        answer is not an error.
        """
        ...

    async def close(self) -> None:
        """Give connections and threads back."""
        ...


def open_reader(settings: Settings) -> Reader:
    """The reader that the settings name as `module:Class`, made by its class method `open(settings)`.

    Imported here and only here: Feast alone takes seconds. Raises BadSetting where the path names no such class.
    """
    module, _, name = settings.reader.partition(":")
    expected = "expected a reader class that can be imported and opened, e.g. serving.packed_reader:PackedReader"
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSetting("reader", settings.reader, f"{expected}: {error}.") from error
    if not hasattr(found, "open"):
        raise BadSetting("reader", settings.reader, f"{expected}; {name} has no class method open().")
    reader: Reader = found.open(settings)
    return reader
