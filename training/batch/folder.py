"""The folder that scores are written to: parts that are complete or absent, and a note on what they were made from.

DIR/part-00000.parquet …   the parts, in the order of the spine; each says in its metadata what it was made from
DIR/_lockstep.json         the note; readers of Parquet folders skip names that begin with _ or .
DIR/_spine.parquet         the rows of a query, until all parts are there
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lockstep.errors import PartsRefused
from lockstep.files import whole_file, write_bytes
from training.batch.fingerprint import Fingerprint, whole

__all__ = ["Folder"]

NOTE = "_lockstep.json"
QUERY = "_spine.parquet"
MARK = b"lockstep.fingerprint"


@dataclass(frozen=True)
class Folder:
    """One folder of scores."""

    path: Path

    @property
    def query_rows(self) -> Path:
        """Where the rows of a query are kept while they are scored."""
        return self.path / QUERY

    def part(self, number: int) -> Path:
        """Where a part lies once it is complete."""
        return self.path / f"part-{number:05d}.parquet"

    def note(self) -> dict[str, Any] | None:
        """What the note says; None where the folder is new. Raises PartsRefused for a folder of something else."""
        try:
            found: dict[str, Any] = json.loads((self.path / NOTE).read_bytes())
        except FileNotFoundError:
            self._check_new()
            return None
        except ValueError as error:
            raise PartsRefused(f"{self.path / NOTE} cannot be read; remove the folder, or name another.") from error
        return found

    def _check_new(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise PartsRefused(f"{self.path} is a file; name a folder.")
        others = [path.name for path in self.path.glob("[!.]*") if path.name != QUERY]
        if others:
            raise PartsRefused(f"{self.path} holds {min(others)} and no scores; name a folder of their own.")

    def check(self, fingerprint: Fingerprint) -> None:
        """Raise PartsRefused where the folder was begun from something else, naming what differs."""
        note = self.note()
        old = fingerprint if note is None else note["fingerprint"]
        differing = [name for name in {**old, **fingerprint} if old.get(name) != fingerprint.get(name)]
        if differing:
            raise PartsRefused(
                f"{self.path} holds scores that were made with another {' and another '.join(differing)}. "
                "Score into another folder, or begin anew with --redo."
            )

    def write_note(self, fingerprint: Fingerprint, **facts: Any) -> None:
        """Say what the parts are made from."""
        write_bytes(
            self.path / NOTE, json.dumps({"fingerprint": dict(fingerprint), **facts}, indent=2).encode() + b"\n"
        )

    def empty(self) -> None:
        """Remove all scores and the note. Raises PartsRefused where the folder holds something else."""
        if self.note() is None:
            return
        for path in [*self.path.glob("part-*.parquet"), self.query_rows, self.path / NOTE]:
            path.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what a killed run left behind."""
        for path in self.path.glob(".*.partial"):
            path.unlink()
        for path in self.path.glob(".spill.*"):
            shutil.rmtree(path)

    def done(self, number: int, fingerprint: Fingerprint) -> bool:
        """Whether a part is there, and made from this."""
        path = self.part(number)
        return path.exists() and pq.read_schema(path).metadata.get(MARK) == whole(fingerprint).encode()

    def write(self, number: int, rows: pa.Table, fingerprint: Fingerprint) -> None:
        """Write a part, which is there whole or not at all."""
        marked = rows.replace_schema_metadata({MARK: whole(fingerprint).encode()})
        with whole_file(self.part(number)) as beside:
            pq.write_table(marked, beside, compression="zstd")

    @contextmanager
    def spilling(self) -> Iterator[Path]:
        """A folder for what does not fit into memory, while the block runs."""
        folder = Path(mkdtemp(prefix=".spill.", dir=self.path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
