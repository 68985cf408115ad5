"""A prediction that somebody tries on the page: the score, and what it was made of."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from lockstep.bundle import Bundle
from lockstep.errors import BadColumn, BadRequest, LockstepError, UnknownColumn
from lockstep.plan import Array, Column, DType, Moment
from lockstep.status import Status
from lockstep.times import now_us, parse_time
from serving.deadline import Deadline
from serving.explain import FeatureColumn
from serving.outlook.influence import scores_without
from serving.scorer import Query, Scorer, Served

__all__ = ["attempt"]

PATIENCE_S = 2.0


async def attempt(scorer: Scorer, models: Served, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Score one row, given as texts: {"model", "version", "columns": {name: text}, "at"}.

    What is wrong with it is said as {"error": sentence}.
    """
    try:
        bundle = models.find(_text(asked, "model"), _text(asked, "version"))
        at = _text(asked, "at").strip()
        t_us = parse_time(at) if at else now_us()
        columns = _columns(bundle, asked.get("columns"))
        query = Query(bundle.manifest.name, bundle.manifest.version, columns, np.array([t_us]), explain=True)
        began_s = time.perf_counter()
        scores = await scorer.score(query, Deadline.after(PATIENCE_S))
    except LockstepError as error:
        return {"error": str(error)}
    features = () if scores.features is None else scores.features.columns
    return {
        "model": scores.model,
        "version": scores.version,
        "score": float(scores.scores[0]),
        "rung": scores.rung.name,
        "t_us": t_us,
        "ms": (time.perf_counter() - began_s) * 1e3,
        "features": _features(bundle, features, t_us, float(scores.scores[0])),
    }


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise BadRequest(f"{name!r} is to be a text.")
    return value


def _columns(bundle: Bundle, texts: Any) -> dict[str, Array]:
    """The columns of one row. Raises BadColumn, UnknownColumn."""
    if not isinstance(texts, Mapping):
        raise BadRequest("'columns' is to hold a text for each column.")
    given = bundle.plan.given
    for name in texts:
        if name not in given:
            raise UnknownColumn(str(name), given)
    return {
        name: _value(column, _text(texts, name).strip())
        for name, column in given.items()
        if texts.get(name, "") != "" or (column.dtype is DType.STRING and column.default is None)
    }


def _value(column: Column, written: str) -> Array:
    if column.dtype is DType.STRING:
        return np.array([written], object)
    kind = np.int64 if column.dtype is DType.INT64 else np.float64
    try:
        return np.array([int(written) if kind is np.int64 else float(written)], kind)
    except (ValueError, OverflowError) as error:
        raise BadColumn(column.name, f"{written!r} is not of type {column.dtype.value}.") from error


def _features(bundle: Bundle, columns: tuple[FeatureColumn, ...], t_us: int, score: float) -> list[dict[str, Any]]:
    known = {one.column.name: one.values for one in columns}
    without = _without(bundle, known) if len(known) == len(bundle.plan.columns) else {}
    return [_feature(one, t_us, score, without.get(one.column.name), bundle) for one in columns]


def _without(bundle: Bundle, columns: Mapping[str, Array]) -> dict[str, float]:
    try:
        return scores_without(bundle, columns)
    except Exception:  # noqa: BLE001 # functions and models are the user's; the score itself is there, and says enough
        return {}


def _feature(one: FeatureColumn, t_us: int, score: float, without: float | None, bundle: Bundle) -> dict[str, Any]:
    event_us = 0 if one.event_us is None else int(one.event_us[0])
    return {
        "name": one.column.name,
        "view": one.view,
        "dtype": one.column.dtype.value,
        "value": _plain(one.values),
        "status": _status(one),
        "defaulted": one.defaulted is not None and bool(one.defaulted[0]),
        "age_s": (t_us - event_us) / 1e6 if event_us else None,
        "input": one.column.name in bundle.plan.inputs,
        "moved": None if without is None or not np.isfinite(score) else score - without,
    }


def _status(one: FeatureColumn) -> str:
    if one.status is not None:
        return Status(int(one.status[0])).name
    return "T" if isinstance(one.column.source, Moment) else "COMPUTED"


def _plain(values: Array) -> str | float | None:
    """As JSON can hold it and JavaScript can read it: an int64 is a text, for beyond 2**53 it would be another one."""
    value = values[0]
    if isinstance(value, str | np.int64):
        return str(value)
    return float(value) if np.isfinite(value) else None
