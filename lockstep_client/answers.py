"""What comes back, as plain values. Pure functions: both clients hand out what they return."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep_client.errors import ScorerError, error_of
from lockstep_client.wire import only_field, read_packed_doubles
from protos.lockstep.v1 import scorer_pb2 as pb

__all__ = [
    "Cached",
    "Feature",
    "Features",
    "Model",
    "ModelVersions",
    "Need",
    "Origin",
    "Prediction",
    "Rung",
    "Status",
    "ViewSummary",
    "features",
    "model",
    "models",
    "outcome",
    "prediction",
]


class Status(IntEnum):
    """What was found for a feature value."""

    PRESENT = 0
    """A usable row holds a value."""
    NULL = 1
    """A usable row holds NULL for this feature."""
    NOT_FOUND = 2
    """The store has no row for the key."""
    STALE = 3
    """The newest row is older than the view's TTL at t."""
    FUTURE = 4
    """The stored row is dated after t."""
    UNREADABLE = 5
    """Bytes were found that no known schema explains."""
    UNREACHABLE = 6
    """The store did not answer in its share of the deadline."""
    REQUEST = 7
    """The caller sent the value."""


class Rung(IntEnum):
    """The rung of the fallback ladder that an answer stands on; higher is worse."""

    FRESH = 0
    """Every stored feature came from a usable row."""
    DEFAULTS = 1
    """Some features were missing or stale and took the plan's default, or NULL where it names none."""
    ALL_DEFAULTS = 2
    """The store did not answer: no stored feature was read."""
    PRIOR = 3
    """The model could not run: the scores are its prior."""


@dataclass(frozen=True)
class ViewSummary:
    """What was found for one feature view over all rows of a request."""

    view: str
    counts: Mapping[Status, int]
    """Feature values by status, only those that occurred."""
    defaulted: int
    """Feature values in place of which the plan's default was used."""


@dataclass(frozen=True, eq=False)
class Feature:
    """One column of a model's plan, for every row of a request."""

    name: str
    view: str
    """The feature view it was read from; '' where it came with the request or was computed."""
    values: NDArray[Any]
    """What the model gets, defaults included: int64, float64 or objects that are str, shape (rows,).
    NULL is NaN or ''."""
    status: tuple[Status, ...]
    """What was found, by row; empty for a computed column."""
    defaulted: NDArray[np.bool_]
    """Whether the plan's default took the place of a value, by row; empty for a computed column."""
    event_us: NDArray[np.int64]
    """Event timestamp of the stored row in µs UTC, 0 where none was found; empty for a column that was not read."""


class Origin(IntEnum):
    """Where a score of a cached model comes from."""

    HIT = 0
    """A stored prediction that is usable at t."""
    DEFAULT = 1
    """There was none: the default."""
    LIVE = 2
    """There was none: the model scored the row now, for this caller or for another who asked the same."""


@dataclass(frozen=True, eq=False)
class Cached:
    """Where the scores of a cached model come from. All of them are of one version."""

    model: str
    """Name of the model that made the predictions."""
    version: str
    """Its version; '' where none is known, and all scores are the default."""
    origins: tuple[Origin, ...]
    """By row."""
    age_us: NDArray[np.int64]
    """t minus the time as of which the score was made, by row; 0 for a default."""


class Prediction:
    """The answer to a `predict`. All but the scores is read from the message when it is asked for."""

    __slots__ = ("_reply", "scores")

    scores: NDArray[np.float64]
    """Probabilities, shape (rows,): scores[i] answers row i."""

    def __init__(self, scores: NDArray[np.float64], reply: pb.PredictResponse) -> None:
        self.scores, self._reply = scores, reply

    @property
    def model(self) -> str:
        """Name of the model that answered."""
        return self._reply.model

    @property
    def version(self) -> str:
        """Version of the model that answered, never an alias."""
        return self._reply.version

    @property
    def rung(self) -> Rung:
        """The worst rung that any row stands on."""
        return Rung(self._reply.rung)

    @property
    def views(self) -> tuple[ViewSummary, ...]:
        """What was found, by feature view."""
        return tuple(_view(view) for view in self._reply.views)

    @property
    def row_rungs(self) -> tuple[Rung, ...]:
        """The rung of each row; empty unless `explain` was asked for."""
        return tuple(map(Rung, self._reply.row_rungs))

    @property
    def features(self) -> Mapping[str, Feature]:
        """Every column of the plan by name, in its order; empty unless `explain` was asked for."""
        return {feature.name: _feature(feature) for feature in self._reply.features}

    @property
    def cached(self) -> Cached | None:
        """Where the scores come from; None but for a cached model."""
        if not self._reply.HasField("cached"):
            return None
        found = self._reply.cached
        origins = tuple(map(Origin, found.origins))
        return Cached(found.model, found.version, origins, np.array(found.age_us, np.int64))

    def __repr__(self) -> str:
        return f"Prediction({self.model} {self.version}, {self.rung.name}, scores={self.scores})"


@dataclass(frozen=True, eq=False)
class Features:
    """The answer to a `features`."""

    model: str
    version: str
    features: Mapping[str, Feature]
    """By name, in the order asked for."""
    row_rungs: tuple[Rung, ...]
    """The rung of each row."""


@dataclass(frozen=True)
class ModelVersions:
    """A model that can be asked now."""

    name: str
    versions: tuple[str, ...]
    """Oldest first."""
    aliases: Mapping[str, str]
    """Version by alias."""


@dataclass(frozen=True)
class Need:
    """A column of a request."""

    name: str
    dtype: str
    """int64, float32, float64 or string."""
    role: str
    """join_key or request."""
    optional: bool
    """Whether it may be left out."""


@dataclass(frozen=True)
class Model:
    """One version of a model."""

    name: str
    version: str
    needs: tuple[Need, ...]
    """What a request carries."""
    inputs: tuple[str, ...]
    """The model's inputs, in its order."""
    plan: Mapping[str, Any]
    """The feature plan: columns with their sources, types and defaults; views with their TTLs in µs."""
    metrics: Mapping[str, Any]
    """Metrics of the test set at training time."""
    created_us: int
    """When it was published, µs UTC."""
    kind: str
    prior: float
    """The score where the model cannot run."""


def prediction(message: bytes) -> Prediction:
    """The prediction of a reply's bytes."""
    return _prediction(pb.PredictResponse.FromString(message), message)


def outcome(message: bytes) -> Prediction | ScorerError:
    """The prediction, or the failure in its place, of one reply of a stream."""
    reply = pb.PredictStreamResponse.FromString(message)
    if reply.HasField("failure"):
        return error_of(reply.failure.code, reply.failure.message)
    return _prediction(reply.response, only_field(message))


def _prediction(reply: pb.PredictResponse, message: bytes) -> Prediction:
    """The prediction of a reply; `message` its bytes, or none where they are not at hand."""
    scores = read_packed_doubles(message, len(reply.scores))
    return Prediction(_doubles(reply.scores) if scores is None else scores, reply)


def _doubles(values: Any) -> NDArray[np.float64]:
    return np.fromiter(values, np.float64, len(values))


def features(message: bytes) -> Features:
    """The features of a reply's bytes."""
    reply = pb.GetFeaturesResponse.FromString(message)
    by_name = {feature.name: _feature(feature) for feature in reply.features}
    return Features(reply.model, reply.version, by_name, tuple(map(Rung, reply.row_rungs)))


def models(message: bytes) -> tuple[ModelVersions, ...]:
    """The models of a reply's bytes."""
    reply = pb.ListModelsResponse.FromString(message)
    return tuple(ModelVersions(one.name, tuple(one.versions), dict(one.aliases)) for one in reply.models)


def model(message: bytes) -> Model:
    """The model of a reply's bytes."""
    reply = pb.GetModelResponse.FromString(message)
    return Model(
        name=reply.name,
        version=reply.version,
        needs=tuple(Need(need.name, need.dtype, need.role, need.optional) for need in reply.needs),
        inputs=tuple(reply.inputs),
        plan=json.loads(reply.plan_json or "{}"),
        metrics=json.loads(reply.metrics_json or "{}"),
        created_us=reply.created_us,
        kind=reply.kind,
        prior=reply.prior,
    )


def _view(view: pb.ViewStatus) -> ViewSummary:
    return ViewSummary(view.view, {Status(one.status): one.count for one in view.counts}, view.defaulted)


def _feature(feature: pb.Feature) -> Feature:
    return Feature(
        name=feature.name,
        view=feature.view,
        values=_values(feature),
        status=tuple(map(Status, feature.status)),
        defaulted=np.array(feature.defaulted, bool),
        event_us=np.array(feature.event_timestamp_us, np.int64),
    )


def _values(feature: pb.Feature) -> NDArray[Any]:
    match feature.WhichOneof("values"):
        case "int64s":
            return np.array(feature.int64s.values, np.int64)
        case "doubles":
            return _doubles(feature.doubles.values)
        case _:
            return np.array(feature.strings.values, object)
