"""How both Feast peers come to the model's input: stored features by the SDK, on-demand functions on numpy columns.

Not Feast's on-demand view: run by the SDK, in pandas, it takes 9 ms of a row where the stored features take 1.5, and a
team that counts milliseconds would write what stands here.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from feast.type_map import NULL_TIMESTAMP_INT_VALUE

from benchmarks.predict.data import MODEL
from benchmarks.predict.peers.wire import Asked
from lockstep.functions import model_inputs
from lockstep.home import default_home
from lockstep.model_store import ModelStore
from lockstep.plan import Array, Column, DType, Stored
from lockstep.stores.repo import open_store
from lockstep.times import SECOND

__all__ = ["Features"]


class Features:
    """Feast on the home of the environment, and the champion's plan."""

    def __init__(self) -> None:
        warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
        logging.disable(logging.WARNING)
        home = default_home()
        self.bundle, self.store = ModelStore(home.models).load(MODEL), open_store(home)
        self._plan = plan = self.bundle.plan
        self._stored = [(column, column.source) for column in plan.columns if isinstance(column.source, Stored)]
        self.references = [f"{source.view}:{source.field}" for _, source in self._stored]
        """The stored features that the model needs."""
        self._keys = {key.column for view in plan.views for key in view.join_keys}

    def entities(self, asked: Asked) -> dict[str, list[Any]]:
        """The join keys of a request."""
        return {name: asked[name] for name in self._keys}

    def inputs(self, asked: Asked, found: Any) -> Mapping[str, Array]:
        """The model's inputs, each of shape (rows,), from a request and Feast's answer to it."""
        vectors = dict(zip(found.proto.metadata.feature_names.val, found.proto.results, strict=True))
        columns = {name: _as_column(column, asked[name]) for name, column in self._plan.given.items()}
        for name in self._plan.moments:
            columns[name] = np.array(asked["event_timestamp"], np.float64) * SECOND
        for column, source in self._stored:
            columns[column.name] = _as_column(column, _plain(column, vectors[source.field].values))
        return model_inputs(self._plan, self.bundle.functions, columns, len(asked["event_timestamp"]))


def _plain(column: Column, values: Any) -> list[Any]:
    """A vector of Feast's reply, None for NULL, times in µs."""
    kinds = [value.WhichOneof("val") for value in values]
    plain = [None if kind is None else getattr(value, kind) for kind, value in zip(kinds, values, strict=True)]
    if column.dtype is DType.TIMESTAMP:
        return [None if value in (None, NULL_TIMESTAMP_INT_VALUE) else value * SECOND for value in plain]
    return plain


def _as_column(column: Column, values: Sequence[Any]) -> Array:
    """Values in the plan's dtype, the plan's default or what means NULL where there is none."""
    missing = column.dtype.missing if column.default is None else column.default
    return np.array([missing if value is None else value for value in values], column.dtype.numpy)
