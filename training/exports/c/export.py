"""`lockstep export NAME --to c`: write the C files of a bundle, once they have scored every row as the bundle does."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import MODEL, SCORE, Bundle, parts_at
from lockstep.errors import BundleRefused, ExportDiffers
from lockstep.files import write_bytes
from lockstep.link import log_odds
from lockstep.plan import Array, DType
from training.exports.c.compiler import FLAGS, Compiled, compiled, find_compiler, run_compiler
from training.exports.c.header import Api
from training.exports.c.source import source
from training.exports.formats import Exported
from training.exports.rows import RowSet

__all__ = ["SHIPPED", "Difference", "code", "compare", "difference", "export", "scratch_model"]

SHIPPED = "c/"
"""Folder of the header and the source in a bundle of kind c."""

_EXAMPLE = Path(__file__).with_name("example.c.in")


@dataclass(frozen=True)
class Difference:
    """How far the compiled scores of some rows lie from the bundle's."""

    rows: int
    odds: float
    """Greatest |Δ log-odds|."""
    probability: float
    """Greatest |Δp|."""
    same_bits: int
    """Rows whose scores are equal to the last bit."""


def export(
    bundle: Bundle,
    rows: Iterable[RowSet],
    folder: Path,
    advance: Callable[[float], None],
    published: Bundle | None = None,
) -> Exported:
    """As `training.exports.formats.Exporter` says, of a bundle that holds a graph. The golden rows become golden.csv.

    `published`: the bundle that was turned into it, whose scores are those to give; None where that is itself.
    Raises BundleRefused for a bundle without a graph.
    """
    if MODEL not in bundle.files:
        raise BundleRefused(
            f"model {bundle.manifest.name!r} is of kind {bundle.manifest.kind!r}; C is made from an ONNX graph. "
            "Turn it into one first: `lockstep export --to onnx`."
        )
    find_compiler()  # before anything that takes long
    api, waiting = Api(bundle, published), iter(rows)
    golden = next(waiting)
    files = _files(api, golden)
    advance(1)
    with scratch_model(api, files) as model:
        advance(1)
        compared = [golden, *waiting]
        differences = [compare(api, model, one) for one in compared]
        speed = model.ns_per_row(max(compared, key=lambda one: one.rows).columns)
        advance(1)
    _write(folder, files)
    advance(1)
    return Exported([folder / name for name in files], _facts(compared, differences, speed))


@contextmanager
def scratch_model(api: Api, files: Mapping[str, bytes]) -> Iterator[Compiled]:
    """The files' model, compiled in a folder that goes away, and with it the example where there is one.

    Raises MissingTool, CompilerFailed.
    """
    with TemporaryDirectory(prefix="lockstep-export-") as scratch:
        _write(Path(scratch), files)
        model, example = compiled(api, Path(scratch)), f"{api.name}_example.c"
        if example in files:
            run_compiler(Path(scratch), *FLAGS, "-o", "example", f"{api.name}.c", example, "-lm")
        yield model


def _files(api: Api, golden: RowSet) -> dict[str, bytes]:
    """The files by name, in the order in which a reader should open them."""
    example = _EXAMPLE.read_text().replace("$MODEL", api.name.upper()).replace("$model", api.name)
    return {
        **(shipped(api) or code(api, golden)),
        f"{api.name}_example.c": example.encode(),
        "golden.csv": _csv(api, golden),
    }


def code(api: Api, rows: RowSet) -> dict[str, bytes]:
    """The header and the source by name, made anew. Raises ExportRefused, MissingTool."""
    row = {name: values[:1] for name, values in rows.columns.items()}
    return {f"{api.name}.h": api.header().encode(), f"{api.name}.c": source(api, row).encode()}


def shipped(api: Api) -> dict[str, bytes]:
    """The same as a bundle of kind c holds them, which were compared when it was trained; none of other kinds."""
    files, names = api.bundle.files, (f"{api.name}.h", f"{api.name}.c")
    return {name: files[f"{SHIPPED}{name}"] for name in names if f"{SHIPPED}{name}" in files}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        write_bytes(folder / name, content)


def compare(api: Api, model: Compiled, rows: RowSet) -> Difference:
    """Score rows by the compiled code and by the bundle. Raises ExportDiffers naming the first that parts."""
    return difference(rows, model.score(rows.columns), _wanted(api, rows.columns))


def difference(rows: RowSet, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Difference:
    """Compare two scorings of some rows. Raises ExportDiffers naming the first that parts."""
    parted = parts_at(ours, theirs)
    if parted.size:
        first = int(parted[0])
        scores = (float(ours[first]), float(theirs[first]))
        raise ExportDiffers(rows.source, first + 1, scores, len(parted), rows.rows)
    with np.errstate(invalid="ignore"):
        odds = np.where(ours == theirs, 0.0, np.abs(log_odds(ours) - log_odds(theirs)))
    return Difference(rows.rows, float(odds.max()), float(np.abs(ours - theirs).max()), int((ours == theirs).sum()))


def _wanted(api: Api, columns: Mapping[str, Array]) -> NDArray[np.float64]:
    return api.scored.score_inputs(columns)


def _facts(rows: Sequence[RowSet], differences: Sequence[Difference], speed: float) -> dict[str, str]:
    compared = sum(one.rows for one in differences)
    return {
        "rows compared": ", ".join(f"{one.rows:,} of {one.source}" for one in rows),
        "rows that part": "0",
        "same to the last bit": f"{sum(one.same_bits for one in differences):,} of {compared:,}",
        "greatest difference of log-odds": f"{max(one.odds for one in differences):.1e}",
        "greatest difference of scores": f"{max(one.probability for one in differences):.1e}",
        "ns a row": f"{speed:,.0f}",
    }


def _csv(api: Api, golden: RowSet) -> bytes:
    """The golden rows with every column of the plan, and the expected score; an empty cell is NULL."""
    plan = api.bundle.plan
    columns = {column.name: _cells(golden.columns[column.name], column.dtype) for column in plan.columns}
    columns[SCORE] = [repr(float(score)) for score in _wanted(api, golden.columns)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue().encode()


def _cells(values: Array, dtype: DType) -> list[str]:
    """As text that is read back bit for bit."""
    if dtype is DType.STRING:
        return list(values)
    if dtype is DType.INT64:
        return [str(int(value)) for value in values]
    whole = dtype is DType.TIMESTAMP
    return ["" if np.isnan(value) else str(int(value)) if whole else str(value) for value in values]
