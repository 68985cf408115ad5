"""The formats that a bundle can be exported to, each imported only when it is used.

To add one: write a package with a function like `Exporter` and list it in FORMATS.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lockstep.bundle import Bundle
    from training.exports.rows import RowSet

__all__ = ["FORMATS", "Exported", "Exporter", "Format", "exporter"]


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    files: Sequence[Path]
    """In the order in which a reader should open them."""
    facts: Mapping[str, str]
    """What was found on the way, ready to print: rows compared, the largest difference, speed."""


class Exporter(Protocol):
    """Turns a bundle into files, and proves on rows that they score the same."""

    def __call__(
        self, bundle: "Bundle", rows: "Iterable[RowSet]", folder: Path, advance: Callable[[float], None]
    ) -> Exported:
        """Write the files; `advance` is told of each of the format's steps.

        The golden rows come first in `rows`. The others may take long to make, and are asked for last.
        Raises ExportRefused where the model cannot be expressed, ExportDiffers where one row's score parts; then
        nothing is written.
        """


@dataclass(frozen=True)
class Format:
    """One entry of the list."""

    name: str
    """As `--to` takes it."""
    module: str
    """Where the function `export` lies."""
    steps: int
    """How often it calls `advance(1)`."""


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format("c", "training.kinds.to_c", 4),
        Format("onnx", "training.kinds.to_onnx", 3),
        Format("coefficients", "training.kinds.to_coefficients", 3),
    )
}


def exporter(name: str) -> Exporter:
    """The exporter of a format of the list."""
    found: Exporter = import_module(FORMATS[name].module).export
    return found
