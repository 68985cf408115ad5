"""A bundle is a folder that explains itself: models/<name>/<version>/ with manifest, model, functions and proofs.

Loading is read, check, build, in that order: the files are read once, their hashes compared with the manifest before
anything is parsed, and the golden rows scored before the bundle is handed out. Never a pickle.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lockstep.bundle_format import FORMAT
from lockstep.errors import BundleRefused, LockstepError
from lockstep.functions import Function, load, model_inputs
from lockstep.link import Link
from lockstep.model import KINDS, Model, kind_of
from lockstep.plan import Array, Computed, Plan, digest

__all__ = ["Bundle", "Manifest", "build", "golden_rows", "pack", "parts_at"]

MANIFEST = "manifest.json"
MODEL = KINDS["onnx"].path
GOLDEN = "golden.parquet"
SCORE = "__score"
MAX_ODDS_DIFFERENCE = 1e-5
MAX_PROBABILITY_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself. Times in µs UTC."""

    name: str
    version: str
    created_us: int
    kind: str
    """The interface between building and scoring: 'onnx', 'coefficients', 'skops' or 'c'."""
    plan: Plan
    link: Link
    prior: float
    """Share of positives among the training rows: the score of last resort."""
    metrics: dict[str, Any]
    window: dict[str, Any]
    """Training and test windows, maturity and the cut, in µs."""
    data: dict[str, Any]
    """Fingerprint of the training frame: rows, positives, SHA-256 of its columns."""
    libraries: dict[str, str]
    revision: str
    """Revision of the code that trained it, with '+' after it where the working tree had changes; '' where unknown."""
    files: dict[str, str]
    """SHA-256 by path, of every file of the bundle but the manifest."""
    trusted: list[str] = field(default_factory=list)
    """Types that its skops file may hold, if they are among those that the scorer trusts; absent for other kinds."""

    def to_json(self) -> bytes:
        """The manifest file."""
        plain = {"format": FORMAT, **asdict(self), "plan": self.plan.to_json()}
        if not self.trusted:
            del plain["trusted"]  # a scorer that is older than the field reads all other kinds
        return json.dumps(plain, indent=2, allow_nan=False).encode() + b"\n"

    @staticmethod
    def from_json(content: bytes) -> "Manifest":
        """Raises BundleRefused where the content is not a manifest of this format."""
        try:
            plain = json.loads(content)
            found = plain.pop("format")
            if found != FORMAT:
                raise BundleRefused(
                    f"the bundle has format {found}; this Lockstep reads format {FORMAT}. Train the model again."
                )
            return Manifest(**{**plain, "plan": Plan.from_json(plain["plan"]), "link": Link(**plain["link"])})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleRefused(f"{MANIFEST} cannot be read: {error!r}. Publish the model again.") from error


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read, checked and built: ready to score."""

    manifest: Manifest
    functions: Mapping[str, Function]
    graph: Model
    """What scores, of whatever kind."""
    files: Mapping[str, bytes]

    @property
    def plan(self) -> Plan:
        """The feature plan."""
        return self.manifest.plan

    def raw(self, resolved: Mapping[str, Array], rows: int) -> NDArray[np.float64]:
        """Raw scores of resolved columns, shape (rows,)."""
        return self.graph.raw(self.inputs(resolved, rows))

    def score(self, resolved: Mapping[str, Array], rows: int) -> NDArray[np.float64]:
        """Probabilities of resolved columns, shape (rows,)."""
        return self.score_inputs(self.inputs(resolved, rows))

    def inputs(self, resolved: Mapping[str, Array], rows: int) -> dict[str, Array]:
        """What the model takes, made of resolved columns: by name, each of shape (rows,)."""
        return model_inputs(self.plan, self.functions, resolved, rows)

    def score_inputs(self, inputs: Mapping[str, Array]) -> NDArray[np.float64]:
        """Probabilities of the model's inputs, shape (rows,)."""
        return self.manifest.link(self.graph.raw(inputs))


def build(files: Mapping[str, bytes]) -> Bundle:
    """Check the files of a bundle and build it.

    Raises BundleRefused naming the first thing that differs, MissingTool where its kind needs what is not installed.
    """
    if MANIFEST not in files:
        raise BundleRefused(f"no {MANIFEST}: this is not a bundle, or it was not written to its end.")
    manifest = Manifest.from_json(files[MANIFEST])
    try:
        return _built(manifest, files)
    except LockstepError:
        raise
    except Exception as error:  # a stranger's manifest: a value of another type than is expected can fail anywhere
        raise BundleRefused(f"{MANIFEST} says what cannot be: {error!r}. Publish the model again.") from error


def _built(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    _check_hashes(manifest, files)
    functions = {
        column.source.function: load(
            column.source.function, files[f"functions/{column.source.function}.py"], column.source.sha256
        )
        for column in manifest.plan.columns
        if isinstance(column.source, Computed)
    }
    kind = kind_of(manifest.kind)
    graph = kind.open(files[kind.path], manifest.trusted)
    graph.check(manifest.plan)
    bundle = Bundle(manifest, functions, graph, files)
    _check_golden(bundle)
    return bundle


def _check_hashes(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    for path, sha256 in manifest.files.items():
        if path not in files:
            raise BundleRefused(f"file {path!r} is missing. Publish the model again.")
        if digest(files[path]) != sha256:
            raise BundleRefused(
                f"file {path!r} is not the one that was published (its SHA-256 differs). Publish the model again."
            )
    for path in sorted({kind_of(manifest.kind).path, GOLDEN} - manifest.files.keys()):
        raise BundleRefused(f"the manifest lists no {path!r}. Publish the model again.")
    for column in manifest.plan.columns:
        if isinstance(column.source, Computed) and f"functions/{column.source.function}.py" not in manifest.files:
            raise BundleRefused(
                f"the manifest lists no file for function {column.source.function!r}. Publish the model again."
            )


def golden_rows(plan: Plan, resolved: Mapping[str, Array], scores: NDArray[np.float64]) -> bytes:
    """golden.parquet: the resolved columns of some rows and the scores expected for them."""
    columns = {column.name: pa.array(resolved[column.name], from_pandas=False) for column in plan.resolved}
    sink = io.BytesIO()
    pq.write_table(pa.table({**columns, SCORE: pa.array(scores)}), sink)
    return sink.getvalue()


def _check_golden(bundle: Bundle) -> None:
    resolved, expected = _golden(bundle)
    try:
        scores = bundle.score(resolved, len(expected))
    except Exception as error:  # functions and graphs are the user's: anything can come out of them
        raise BundleRefused(f"the golden rows cannot be scored: {error!r}. Publish the model again.") from error
    rows = parts_at(scores, expected)
    if rows.size:
        raise BundleRefused(
            f"{rows.size} of {len(expected)} golden rows score differently, first row {rows[0]}: "
            "the model does not score here as it was trained."
        )


def _golden(bundle: Bundle) -> tuple[dict[str, Array], NDArray[np.float64]]:
    """The resolved columns and the expected scores of golden.parquet. Raises BundleRefused where it lacks any."""
    try:
        # Not read_table, nor to_numpy below: they import pandas, which a scorer needs for nothing else.
        table = pq.ParquetFile(_arrow_copy(bundle.files[GOLDEN])).read()
    except pa.ArrowException as error:
        raise BundleRefused(f"{GOLDEN} cannot be read: {error}. Publish the model again.") from error
    wanted = [column.name for column in bundle.plan.resolved]
    missing = [name for name in (*wanted, SCORE) if name not in table.column_names]
    if missing or not table.num_rows:
        raise BundleRefused(
            f"{GOLDEN} lacks {', '.join(missing) or 'rows'}; without them nothing proves that the model scores as "
            "trained. Publish the model again."
        )
    resolved = {
        column.name: np.array(table[column.name].to_pylist(), column.dtype.numpy) for column in bundle.plan.resolved
    }
    return resolved, np.array(table[SCORE].to_pylist(), np.float64)


def _arrow_copy(content: bytes) -> pa.BufferReader:
    """The bytes in Arrow's own memory, to be read.

    Arrow's threads let go of what they read a moment after the reading is done. Where that is a Python object they need
    the interpreter for it, and a process that ends in that moment aborts (apache/arrow#34314, #33975).
    """
    sink = pa.BufferOutputStream()
    sink.write(content)
    return pa.BufferReader(sink.getvalue())


def parts_at(scores: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the rows whose probabilities part: |Δ log-odds| > 1e-5 or |Δp| > 1e-6. NaN parts from everything."""
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.abs(np.log(scores / (1 - scores)) - np.log(expected / (1 - expected)))
    same = (odds <= MAX_ODDS_DIFFERENCE) & (np.abs(scores - expected) <= MAX_PROBABILITY_DIFFERENCE)
    same |= scores == expected  # 0 and 1 have no log-odds, and an isotonic calibration answers them
    return np.flatnonzero(~same)


def pack(manifest: Manifest, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """All files of a bundle, the manifest with their hashes last. What it returns, `build` accepts."""
    hashes = {path: digest(content) for path, content in sorted(files.items())}
    whole = Manifest(**{**{name: getattr(manifest, name) for name in manifest.__dataclass_fields__}, "files": hashes})
    return {**files, MANIFEST: whole.to_json()}
