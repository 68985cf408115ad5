"""The one place where protobuf meets domain values."""

import numpy as np

from lockstep.errors import BadColumn, BadRequest
from lockstep.plan import Array
from protos.lockstep.v1 import scorer_pb2
from serving.scorer import Query, Scores, ViewSummary

__all__ = ["query", "reply"]


def query(request: scorer_pb2.PredictRequest) -> Query:
    """The query of a request, its columns as arrays. Raises BadRequest or BadColumn for what no plan could take."""
    if not request.model:
        raise BadRequest("the request names no model; set `model`.")
    columns: dict[str, Array] = {}
    for column in request.columns:
        if column.name in columns:
            raise BadColumn(column.name, "sent twice; every column is named at most once.")
        columns[column.name] = _values(column)
    times = request.event_timestamp_us
    return Query(request.model, request.version, columns, np.array(times, np.int64) if times else None)


def _values(column: scorer_pb2.Column) -> Array:
    """Shape (rows,): int64, float64, or an object array of str."""
    match column.WhichOneof("values"):
        case "int64s":
            return np.array(column.int64s.values, np.int64)
        case "doubles":
            return np.array(column.doubles.values, np.float64)
        case "strings":
            return np.array(column.strings.values, object)
        case _:
            raise BadColumn(column.name, "carries no values; set one of int64s, doubles or strings.")


def reply(scores: Scores) -> scorer_pb2.PredictResponse:
    """The reply that says these scores."""
    return scorer_pb2.PredictResponse(
        scores=scores.scores.tolist(),
        model=scores.model,
        version=scores.version,
        views=[_view(view) for view in scores.views],
        rung=int(scores.rung),  # type: ignore[arg-type]
    )


def _view(view: ViewSummary) -> scorer_pb2.ViewStatus:
    counts = [
        scorer_pb2.StatusCount(status=int(status), count=count)  # type: ignore[arg-type]
        for status, count in sorted(view.counts.items())
    ]
    return scorer_pb2.ViewStatus(view=view.view, counts=counts, defaulted=view.defaulted)
