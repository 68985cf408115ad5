"""A reader through Feast's SDK: slower than packed rows, for any online store that Feast knows.

The SDK answers PRESENT with an empty value and a timestamp of 0 for keys that stock Redis never saw, and an empty value
for a NULL; only `to_dict` cuts timestamps to seconds, the reply itself has microseconds. This module undoes the first
and reads the last.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from feast import FeatureStore
from feast.errors import FeastObjectNotFoundException
from feast.type_map import NULL_TIMESTAMP_INT_VALUE
from numpy.typing import NDArray
from redis.exceptions import RedisError

from lockstep.errors import DefinitionDiffers, PlanRefused
from lockstep.home import default_home
from lockstep.plan import Array, Column, DType, Plan, Stored, View
from lockstep.resolve import ViewRows
from lockstep.status import Status
from lockstep.stores.definition import definition_of
from lockstep.stores.repo import open_store
from lockstep.times import SECOND

__all__ = ["FeastReader"]

THREADS = 8
PATIENCE = ",socket_timeout=2,socket_connect_timeout=2,retry=null"
"""Added to Feast's Redis connection string. Without it a silent Redis holds a thread for ever; retries would outlive
every deadline."""
ENTITYLESS_KEY = "__dummy_id"
"""Feast's join key of a view without entities; the values sent for it only say how many rows are wanted."""

_LACKING = (FeastObjectNotFoundException, KeyError)
"""What Feast raises for a view or entity that the registry lacks, and for a feature that a view lacks."""

log = logging.getLogger(__name__)


class FeastReader:
    """Reads through `FeatureStore.get_online_features`, in threads, so that the event loop stays free."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        """The store that is read."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="feast-reader")

    @staticmethod
    def open(_settings: Any = None) -> "FeastReader":
        """On the repository of this project: LOCKSTEP_HOME's registry, REDIS_URL's Redis. Feast's configuration alone
        counts.
        """
        store = open_store(default_home())
        online = store.config.online_store
        if "socket_timeout" not in getattr(online, "connection_string", "socket_timeout"):
            online.connection_string += PATIENCE
        return FeastReader(store)

    async def read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        """By view name, the rows of the keys, as `serving.reader.Reader` says.

        Redis that refuses, drops or times out a connection is UNREACHABLE. Raises PlanRefused where the registry lacks
        a view or a feature of the plan.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, plan, given, rows)

    async def prepare(self, plan: Plan) -> None:
        """Compare what the plan's views meant when it was trained with what the registry says now.

        Raises DefinitionDiffers, and PlanRefused where the registry lacks a view.
        """
        await asyncio.get_running_loop().run_in_executor(self._threads, self._compare, plan)

    def _compare(self, plan: Plan) -> None:
        self.store.refresh_registry()  # type: ignore[no-untyped-call]
        for view in plan.views:
            try:
                now = definition_of(self.store.get_feature_view(view.name))
            except FeastObjectNotFoundException as error:
                raise _lacking(error) from error
            if now != view.definition:
                raise DefinitionDiffers(view.name, [column.name for column, _ in plan.reads[view.name]])

    async def close(self) -> None:
        """Let the threads end; those that wait for the store are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self, plan: Plan, given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        # A view of which the plan takes no feature is not asked for.
        found = {view.name: ViewRows.missing(rows, Status.NOT_FOUND) for view in plan.views}
        for views in _calls(plan):
            try:
                found.update(self._call(plan, views, given, rows))
            except (RedisError, OSError) as error:
                log.error("the online store did not answer: %r", error, extra={"reason": "store unreachable"})
                found.update({view.name: ViewRows.missing(rows, Status.UNREACHABLE) for view in views})
        return found

    def _call(self, plan: Plan, views: Sequence[View], given: Mapping[str, Array], rows: int) -> dict[str, ViewRows]:
        keys = {key.key: given[key.column].tolist() for view in views for key in view.join_keys}
        features = [f"{view.name}:{source.field}" for view in views for _, source in plan.stored(view.name)]
        answer = self._ask(features, keys or {ENTITYLESS_KEY: [""] * rows})
        vectors = dict(zip(answer.metadata.feature_names.val, answer.results, strict=True))
        return {view.name: _view_rows(view.name, list(plan.stored(view.name)), vectors) for view in views}

    def _ask(self, features: list[str], keys: Mapping[str, list[Any]]) -> Any:
        """Feast's reply, as protobuf. Raises PlanRefused where the registry lacks what the plan reads."""
        try:
            return self.store.get_online_features(features, keys, full_feature_names=True).proto
        except _LACKING:
            # Feast reads the registry every 10 minutes; a new model may come with a new view.
            self.store.refresh_registry()  # type: ignore[no-untyped-call]
        try:
            return self.store.get_online_features(features, keys, full_feature_names=True).proto
        except _LACKING as error:
            raise _lacking(error) from error


def _lacking(error: Exception) -> PlanRefused:
    return PlanRefused(
        f"the Feast registry lacks what the model was trained on: {error}. Run `feast apply`, or train again."
    )


def _calls(plan: Plan) -> Iterator[list[View]]:
    """Views by call: those whose join keys go by their own names share one, a view with an alias has its own."""
    asked = [view for view in plan.views if any(plan.stored(view.name))]
    plain = [view for view in asked if all(key.key == key.column for key in view.join_keys)]
    if plain:
        yield plain
    for view in asked:
        if view not in plain:
            yield [view]


def _view_rows(view: str, stored: Sequence[tuple[Column, Stored]], vectors: Mapping[str, Any]) -> ViewRows:
    answers = {source.field: vectors[f"{view}__{source.field}"] for _, source in stored}
    decoded = {source.field: _decode(column.dtype, answers[source.field].values) for column, source in stored}
    event_us = _event_us(answers[stored[0][1].field].event_timestamps)
    absent = (event_us == 0) & np.all([one.null for one in decoded.values()], axis=0)
    unreadable = np.any([one.unreadable for one in decoded.values()], axis=0)
    _log_unreadable(view, decoded)
    found = np.where(absent, Status.NOT_FOUND, np.where(unreadable, Status.UNREADABLE, Status.PRESENT)).astype(np.int8)
    values = {field: one.values for field, one in decoded.items()}
    return ViewRows.of(found, event_us, values, {field: ~(one.null | one.unreadable) for field, one in decoded.items()})


def _event_us(timestamps: Iterable[Any]) -> NDArray[np.int64]:
    return np.array([stamp.seconds * SECOND + stamp.nanos // 1000 for stamp in timestamps], np.int64)


@dataclass(frozen=True)
class _Decoded:
    """One field of all rows."""

    values: Array
    """Shape (rows,), in the dtype of the column; any value where NULL or unreadable."""
    null: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]
    """The value is of a type that the plan's column cannot hold, e.g. a text where a number was trained on."""


def _decode(dtype: DType, protos: Sequence[Any]) -> _Decoded:
    kinds = [proto.WhichOneof("val") for proto in protos]
    taken, nothing = _TAKEN[dtype], NULL_TIMESTAMP_INT_VALUE if dtype is DType.TIMESTAMP else None
    values = np.zeros(len(kinds), dtype.numpy)
    null, unreadable = np.zeros(len(kinds), np.bool_), np.zeros(len(kinds), np.bool_)
    for row, (kind, proto) in enumerate(zip(kinds, protos, strict=True)):
        if kind in (None, "null_val"):
            null[row] = True
        elif kind not in taken:
            unreadable[row] = True
        elif (value := getattr(proto, kind)) == nothing or value != value:  # NaN is NULL in training too
            null[row] = True
        else:
            values[row] = value * SECOND if dtype is DType.TIMESTAMP else value
    return _Decoded(values, null, unreadable)


_WHOLE = frozenset({"int32_val", "int64_val", "bool_val"})
_TAKEN = {
    DType.FLOAT32: _WHOLE | {"float_val", "double_val"},
    DType.FLOAT64: _WHOLE | {"float_val", "double_val"},
    DType.INT64: _WHOLE,
    DType.STRING: frozenset({"string_val"}),
    DType.TIMESTAMP: frozenset({"unix_timestamp_val"}),
}


def _log_unreadable(view: str, decoded: Mapping[str, _Decoded]) -> None:
    for field, one in decoded.items():
        if one.unreadable.any():
            log.error(
                "view %r holds values of field %r of another type than the model was trained on; materialize it again "
                "or train again",
                view,
                field,
                extra={"reason": f"unreadable {view}.{field}"},
            )
