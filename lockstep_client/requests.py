"""Requests from what a caller says. Pure functions: both clients send what they return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lockstep_client.columns import TIMES, fill, times_us
from lockstep_client.errors import InvalidArgument
from lockstep_client.wire import packed_field
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = ["Columns", "Request", "features", "model", "predict"]

Columns = Mapping[str, object]
"""By name: a numpy array, a list, a pandas Series or one value; of whole numbers, floats, strings or times. All have
one value per row, or one for all rows."""
_TIMES_FIELD = pb.PredictRequest.DESCRIPTOR.fields_by_name["event_timestamp_us"].number


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a stream; its fields are those of `Client.predict`."""

    model: str
    columns: Columns
    version: str = ""
    at: object = None
    explain: bool = False
    strict: bool = False
    features: Columns | None = None

    def message(self) -> pb.PredictRequest:
        """What is sent. Raises InvalidArgument."""
        return predict(
            self.model,
            self.columns,
            self.version,
            self.at,
            explain=self.explain,
            strict=self.strict,
            features=self.features,
        )


def predict(
    model: str,
    columns: Columns,
    version: str,
    at: object,
    *,
    explain: bool,
    strict: bool = False,
    features: Columns | None = None,
) -> pb.PredictRequest:
    """The request of a `Predict`. Raises InvalidArgument, naming the column and the row."""
    request = pb.PredictRequest(model=model, version=version, explain=explain, strict=strict)
    longest = _fill(request, columns, at)
    _fill_columns(request.features, features or {}, longest)
    return request


def features(model: str, columns: Columns, version: str, at: object, wanted: Sequence[str]) -> pb.GetFeaturesRequest:
    """The request of a `GetFeatures`. Raises InvalidArgument, naming the column and the row."""
    request = pb.GetFeaturesRequest(model=model, version=version, features=wanted)
    _fill(request, columns, at)
    return request


def model(name: str, version: str) -> pb.GetModelRequest:
    """The request of a `GetModel`."""
    return pb.GetModelRequest(model=name, version=version)


def _fill(request: pb.PredictRequest | pb.GetFeaturesRequest, columns: Columns, at: object) -> tuple[str, int]:
    """Columns and times, the same field numbers in both messages. Returns a column with most values, and how many."""
    longest, rows = _fill_columns(request.columns, columns, ("", 1))
    if at is not None:
        t = times_us(at)
        if t.size != 1:
            _check_length(TIMES, t.size, longest, rows)
            longest, rows = TIMES, t.size
        request.MergeFromString(packed_field(_TIMES_FIELD, t.astype("<i8", copy=False).tobytes()))
    return longest, rows


def _fill_columns(into: Any, columns: Columns, longest: tuple[str, int]) -> tuple[str, int]:
    for name, values in columns.items():
        count = fill(into.add(name=name), values)
        if count != 1:
            _check_length(name, count, *longest)
            longest = name, count
    return longest


def _check_length(name: str, count: int, longest: str, rows: int) -> None:
    if rows not in (1, count):
        raise InvalidArgument.of(
            name, f"has {count} values, but {longest!r} has {rows}; every column has one value, or one per row."
        )
