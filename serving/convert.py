"""The one place where the protobuf of lockstep.v1 meets domain values."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import grpc
import numpy as np

from lockstep.bundle import Bundle
from lockstep.compiled import core
from lockstep.errors import BadColumn, BadRequest, TooManyRows
from lockstep.keys import varint
from lockstep.plan import Given
from lockstep.request import Floats, Ints, Texts, Values
from protos.lockstep.v1 import scorer_pb2 as pb
from serving.answers import Cached, Features, Scores, ViewSummary
from serving.explain import FeatureColumn
from serving.models import Catalogue
from serving.scorer import Query

__all__ = ["description", "failure", "features", "in_stream", "listing", "query", "reader", "reply", "sent"]

Request = pb.PredictRequest | pb.GetFeaturesRequest

_SCORES = bytes([1 << 3 | 2])
"""Tag of PredictResponse.scores: field 1, length-delimited."""
_RESPONSE = bytes([1 << 3 | 2])
"""Tag of PredictStreamResponse.response: the same."""
_CACHED = bytes([8 << 3 | 2])
"""Tag of PredictResponse.cached."""
_ORIGINS, _AGES = bytes([3 << 3 | 2]), bytes([4 << 3 | 2])
"""Tags of Cached.origins and Cached.age_us, packed."""


def reader(max_rows: int) -> Callable[[bytes], Query | pb.PredictRequest]:
    """What reads a PredictRequest: as the query that it is where it is like nearly all others, and there is `core`.

    The message itself comes of any other, of one that carries features too; `query` says what is wrong with it. What it
    returns raises DecodeError for bytes that are no message.
    """
    whole: Callable[[bytes], pb.PredictRequest] = pb.PredictRequest.FromString
    if core is None:
        return whole
    parse = core.parse

    def read(message: bytes) -> Query | pb.PredictRequest:
        parsed = parse(message, max_rows, Texts)
        return whole(message) if parsed is None else Query(*parsed)

    return read


def query(request: Request, *, max_rows: int, explain: bool = False, strict: bool = False) -> Query:
    """The query of a request. Raises BadRequest or BadColumn for what no plan could take, and TooManyRows for more than
    `max_rows` values in a column.
    """
    if not request.model:
        raise BadRequest("the request names no model; set `model`.")
    columns = _columns(request.columns, max_rows)
    times = request.event_timestamp_us
    t = _values("event_timestamp_us", Ints, times, max_rows) if times else None
    return Query(request.model, request.version, columns, t, explain, strict)


def sent(request: pb.PredictRequest, *, max_rows: int) -> dict[str, Values]:
    """The stored features that a request carries itself. Raises as `query`."""
    return _columns(request.features, max_rows) if request.features else {}


def _columns(columns: Iterable[pb.Column], max_rows: int) -> dict[str, Values]:
    found: dict[str, Values] = {}
    for column in columns:
        name = column.name
        if name in found:
            raise BadColumn(name, "sent twice; every column is named at most once.")
        held = _HELD.get(column.WhichOneof("values"))
        if held is None:
            raise BadColumn(name, "carries no values; set one of int64s, doubles or strings.")
        kind, values = held
        found[name] = _values(name, kind, values(column), max_rows)
    return found


_HELD: dict[str | None, tuple[type[Values], Callable[[pb.Column], Sequence[Any]]]] = {
    "int64s": (Ints, attrgetter("int64s.values")),
    "doubles": (Floats, attrgetter("doubles.values")),
    "strings": (Texts, attrgetter("strings.values")),
}
"""What each of the fields that carry values holds, and where."""


def _values(name: str, kind: type[Values], values: Sequence[Any], max_rows: int) -> Values:
    """As they lie in the message: an array is made once, when their type and number are known to be right."""
    if len(values) > max_rows:  # before a Python object is made for each
        raise TooManyRows(len(values), max_rows, name)
    return kind(values[:])  # a slice is taken faster than the values one by one


def reply(scores: Scores) -> bytes:
    """The PredictResponse that says these scores, as it goes over the wire.

    Messages laid end to end are one message (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so the
    scores are followed by the rest, which is the same for most requests and made once.
    """
    packed = scores.scores.astype("<f8", copy=False).tobytes()
    head = _SCORES + varint(len(packed)) + packed + _rest(scores.model, scores.version, scores.views, int(scores.rung))
    if scores.cached is not None:
        head += _cached(scores.cached)
    return head if scores.features is None else head + _explanation(scores.features)


def _cached(found: Cached) -> bytes:
    """PredictResponse.cached. An origin is less than 128, so its number is its varint."""
    origins, ages = found.origins.tobytes(), found.age_us.astype("<i8", copy=False).tobytes()
    whole = b"".join(
        [_made_by(found.model, found.version), _ORIGINS, varint(len(origins)), origins, _AGES, varint(len(ages)), ages]
    )
    return _CACHED + varint(len(whole)) + whole


@lru_cache(maxsize=4096)
def _made_by(model: str, version: str) -> bytes:
    whole: bytes = pb.Cached(model=model, version=version).SerializeToString()
    return whole


@lru_cache(maxsize=4096)
def _rest(model: str, version: str, views: tuple[ViewSummary, ...], rung: int) -> bytes:
    whole: bytes = pb.PredictResponse(
        model=model,
        version=version,
        views=[_view(view) for view in views],
        rung=rung,  # type: ignore[arg-type]
    ).SerializeToString()
    return whole


def _view(view: ViewSummary) -> pb.ViewStatus:
    counts = [
        pb.StatusCount(status=int(status), count=count)  # type: ignore[arg-type]
        for status, count in view.counts.items()
    ]
    return pb.ViewStatus(view=view.view, counts=counts, defaulted=view.defaulted)


def _explanation(found: Features) -> bytes:
    whole: bytes = pb.PredictResponse(
        row_rungs=found.rungs.tolist(), features=[_feature(one) for one in found.columns]
    ).SerializeToString()
    return whole


def in_stream(response: bytes) -> bytes:
    """The PredictStreamResponse that holds a PredictResponse."""
    return _RESPONSE + varint(len(response)) + response


def failure(status: grpc.StatusCode, text: str) -> pb.PredictStreamResponse:
    """The PredictStreamResponse that holds an error."""
    return pb.PredictStreamResponse(failure=pb.Failure(code=status.value[0], message=text))


def features(found: Features) -> pb.GetFeaturesResponse:
    """The reply that says what a model is given."""
    return pb.GetFeaturesResponse(
        model=found.model,
        version=found.version,
        features=[_feature(one) for one in found.columns],
        row_rungs=found.rungs.tolist(),
    )


def _feature(one: FeatureColumn) -> pb.Feature:
    made = pb.Feature(name=one.column.name, view=one.view)
    match one.values.dtype.kind:
        case "O":
            made.strings.values.extend(one.values.tolist())
        case "i":
            made.int64s.values.extend(one.values.tolist())
        case _:
            made.doubles.values.extend(one.values.astype(np.float64).tolist())
    if one.status is not None and one.defaulted is not None:
        made.status.extend(one.status.tolist())
        made.defaulted.extend(one.defaulted.tolist())
    if one.event_us is not None:
        made.event_timestamp_us.extend(one.event_us.tolist())
    return made


def listing(catalogue: Catalogue) -> pb.ListModelsResponse:
    """The models that can be asked."""
    return pb.ListModelsResponse(
        models=[
            pb.ModelVersions(name=name, versions=catalogue.versions(name), aliases=catalogue.aliases_of(name))
            for name in catalogue.names()
        ]
    )


def description(bundle: Bundle) -> pb.GetModelResponse:
    """One version of a model."""
    manifest = bundle.manifest
    return pb.GetModelResponse(
        name=manifest.name,
        version=manifest.version,
        needs=_needs(bundle),
        inputs=bundle.plan.inputs,
        plan_json=json.dumps(bundle.plan.to_json()),
        metrics_json=json.dumps(manifest.metrics),
        created_us=manifest.created_us,
        kind=manifest.kind,
        prior=manifest.prior,
    )


def _needs(bundle: Bundle) -> Iterator[pb.Need]:
    for name, column in bundle.plan.given.items():
        assert isinstance(column.source, Given)
        role = column.source.role
        yield pb.Need(name=name, dtype=column.dtype.value, role=role, optional=column.default is not None)
