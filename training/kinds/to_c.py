"""`lockstep export --to c`: the C files of a bundle of any kind that can be a graph."""

from collections.abc import Callable, Iterable
from pathlib import Path

from lockstep.bundle import Bundle
from training.exports.c.export import export as export_graph
from training.exports.formats import Exported
from training.exports.rows import RowSet
from training.kinds.turn import as_graph

__all__ = ["export"]


def export(bundle: Bundle, rows: Iterable[RowSet], folder: Path, advance: Callable[[float], None]) -> Exported:
    """As `training.exports.formats.Exporter` says: the code's scores are compared with those of the bundle itself."""
    return export_graph(as_graph(bundle), rows, folder, advance, published=bundle)
