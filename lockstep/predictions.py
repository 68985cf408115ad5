"""Predictions as an online store keeps them: one packed row for each version of a model and request.

They are a feature view like any other, so that Feast's SDK reads them too: its join keys are the version and the hash
of the request, its features the request itself, the score and the rung that it stands on, its event timestamp the time
t as of which the score was made. Beside the rows stands one pointer: the version whose predictions are complete.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockstep import arrays
from lockstep.compiled import core
from lockstep.compiled_rows import CompiledNumbers
from lockstep.keys import KeySpace, key_part
from lockstep.one_row import read_one
from lockstep.plan import DType as Served
from lockstep.prediction_key import hashed
from lockstep.ragged import Ints
from lockstep.rows import pack, unpack
from lockstep.schema import DType, Field, Schema
from lockstep.status import Rung, Status

__all__ = [
    "FIELDS",
    "JOIN_KEYS",
    "Pointer",
    "PredictionView",
    "PredictionsRead",
    "pointer_key",
    "view_name",
]

JOIN_KEYS: Final = (Field("model_version", DType.STRING), Field("prediction_key", DType.BYTES))
FIELDS: Final = (Field("request", DType.BYTES), Field("score", DType.FLOAT64), Field("rung", DType.INT32))
_ANSWER: Final = Schema(FIELDS[1:])
_EVENT: Final = "event"
_RUNGS: Final = frozenset(Rung)
_COUNT: Final = len(_RUNGS)
"""They are numbered from 0."""
_FEW: Final = 8
"""Rows up to which they are read one by one, which is faster than numpy."""


def view_name(model: str) -> str:
    """The feature view that keeps a model's predictions."""
    return f"{model}_predictions"


def pointer_key(project: str, view: str) -> bytes:
    """The Redis key of the pointer."""
    return f"lockstep:predictions:{quote(project, safe='')}:{quote(view, safe='')}".encode()


class Pointer(NamedTuple):
    """Which predictions answer."""

    version: str
    """Of the model that made them."""
    keys: str
    """`PredictionKeys.sha256` of that version."""

    def to_bytes(self) -> bytes:
        """As it lies in Redis."""
        return json.dumps(self._asdict()).encode()

    @staticmethod
    @lru_cache(maxsize=64)
    def read(content: bytes) -> "Pointer | None":
        """The pointer; None where the bytes are none."""
        try:
            found = Pointer(**json.loads(content))
        except (ValueError, TypeError):
            return None
        return found if isinstance(found.version, str) and isinstance(found.keys, str) else None


class PredictionsRead(NamedTuple):
    """What was found for some requests, whether or not it may be used at their t."""

    found: NDArray[np.int8]
    """PRESENT, NOT_FOUND, or UNREADABLE for a damaged row and for one of another request. Shape (rows,)."""
    event_us: Ints
    """The t as of which each score was made. Shape (rows,)."""
    scores: NDArray[np.float64]
    """Probabilities. Shape (rows,)."""
    rungs: NDArray[np.int8]
    """The rung that each score stood on when it was made. Shape (rows,)."""


@dataclass(frozen=True)
class PredictionView:
    """The rows of one model's predictions."""

    project: str
    name: str

    @cached_property
    def space(self) -> KeySpace:
        """The keys of the rows."""
        return KeySpace(self.project, self.name, JOIN_KEYS)

    @cached_property
    def schema(self) -> Schema:
        """The schema of the rows; the request is the one payload, so it is what a row ends with."""
        return Schema(FIELDS, owner=self.space.owner)

    @cached_property
    def pointer(self) -> bytes:
        """The Redis key of the pointer."""
        return pointer_key(self.project, self.name)

    def keys(self, version: str, requests: Sequence[bytes]) -> list[bytes]:
        """The Redis key of each request, given its canonical bytes."""
        head = self.space.prefix + key_part(version)
        return [head + hashed(request) for request in requests]

    def pack(
        self, requests: Sequence[bytes], scores: NDArray[np.float64], rungs: NDArray[np.int8], t: Ints
    ) -> pa.BinaryArray:
        """A packed row for each request; `t` in µs. Each of shape (rows,)."""
        columns = [
            arrays.of_texts(requests),
            arrays.of_fixed(scores, None, pa.float64()),
            arrays.of_fixed(rungs.astype(np.int32), None, pa.int32()),
            arrays.of_fixed(t, None, pa.int64()),
        ]
        table = pa.table(columns, names=[*self.schema.names, _EVENT])
        return pack(table, self.schema, event=_EVENT)

    def read(self, requests: Sequence[bytes], rows: Sequence[bytes | None]) -> PredictionsRead:
        """What the rows found under the keys of these requests hold."""
        start = self.schema.layout.fixed.itemsize
        # The request is compared before anything is read: after that a row that is not sound is a damaged one.
        same = [
            row if row is not None and row[start:] == request else None
            for row, request in zip(rows, requests, strict=True)
        ]
        read = self._at_once(same) if core is not None else self._one_by_one(same) if len(same) <= _FEW else None
        read = read or self._together(same)
        foreign = [row is not None and kept is None for row, kept in zip(rows, same, strict=True)]
        if any(foreign):
            read.found[foreign] = Status.UNREADABLE
        return read

    @cached_property
    def _answers(self) -> CompiledNumbers:
        served = {"score": Served.FLOAT64, "rung": Served.INT64}
        return CompiledNumbers(core, self.schema, served)

    def _at_once(self, rows: Sequence[bytes | None]) -> PredictionsRead | None:
        """In C. None where a row is not the usual one."""
        read = self._answers.read(rows)
        if read is None:
            return None
        found, event_us, (scores, rungs) = read
        usual = np.count_nonzero(np.isfinite(scores) & _are_rungs(rungs)) == len(rows)
        return PredictionsRead(found, event_us, scores, rungs.astype(np.int8)) if usual else None

    def _one_by_one(self, rows: Sequence[bytes | None]) -> PredictionsRead | None:
        """None where a row is not the usual one."""
        found: list[tuple[int, int, float, int]] = []
        for row in rows:
            one = None if row is None else read_one(row, self.schema)
            if row is None:
                found.append((Status.NOT_FOUND, 0, 0.0, 0))
            elif one is None or None in one.values or not math.isfinite(one.values[1]) or one.values[2] not in _RUNGS:
                return None
            else:
                found.append((Status.PRESENT, one.event_us, one.values[1], one.values[2]))
        status, event_us, scores, rungs = zip(*found, strict=True)
        return _read(status, event_us, scores, rungs)

    def _together(self, rows: Sequence[bytes | None]) -> PredictionsRead:
        it = unpack(rows, {self.schema.fingerprint: self.schema}, _ANSWER)
        whole = (it.field_status == Status.PRESENT).all(axis=0) & np.isfinite(it.values("score"))
        whole &= _are_rungs(it.values("rung"))
        damaged = (it.status == Status.PRESENT) & ~whole  # nobody here writes NULL, NaN, or what is no rung
        status = np.where(damaged, Status.UNREADABLE, it.status)
        return _read(status, it.event_us, it.values("score"), it.values("rung"))


def _are_rungs(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (numbers >= 0) & (numbers < _COUNT)
    return found


def _read(status: Any, event_us: Any, scores: Any, rungs: Any) -> PredictionsRead:
    return PredictionsRead(
        np.array(status, np.int8), np.array(event_us, np.int64), np.array(scores, np.float64), np.array(rungs, np.int8)
    )
