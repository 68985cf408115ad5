"""The feature view that keeps a model's predictions, for a Feast repository:

    from lockstep.stores.predictions import model_version, prediction_key, prediction_view

    install_predictions = prediction_view("install", ttl=timedelta(hours=6))

`feast apply` needs the two entities in the repository as well, so a file that makes a view imports them.
"""

from datetime import timedelta
from typing import Final

from feast import Entity, FeatureStore, FeatureView, Field, ValueType
from feast.errors import FeatureViewNotFoundException
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.types import Bytes, Float64, Int32, String

from lockstep.errors import BadRequest
from lockstep.predictions import FIELDS, JOIN_KEYS, PredictionView, view_name
from lockstep.stores.online import LockstepOnlineStore
from lockstep.stores.views import StoredView

__all__ = ["model_version", "open_predictions", "prediction_key", "prediction_view"]

_VERSION, _KEY = (field.name for field in JOIN_KEYS)
_REQUEST, _SCORE, _RUNG = (field.name for field in FIELDS)

model_version: Final = Entity(
    name=_VERSION, join_keys=[_VERSION], value_type=ValueType.STRING, description="Version of the model that predicted"
)
prediction_key: Final = Entity(
    name=_KEY, join_keys=[_KEY], value_type=ValueType.BYTES, description="Hash of keys and request features"
)


def prediction_view(model: str, *, ttl: timedelta) -> FeatureView:
    """The view of a model's predictions, which may be used until they are as old as `ttl`; 0: for ever.

    It has no source, and `feast materialize` passes it over: `lockstep cache fill` and the scorer write its rows.
    """
    return FeatureView(
        name=view_name(model),
        entities=[model_version, prediction_key],
        ttl=ttl,
        online=False,
        schema=[
            Field(name=_VERSION, dtype=String),
            Field(name=_KEY, dtype=Bytes),
            Field(name=_REQUEST, dtype=Bytes, description="Canonical bytes of keys and request features"),
            Field(name=_SCORE, dtype=Float64, description="Probability, as of the event timestamp"),
            Field(name=_RUNG, dtype=Int32, description="The rung that the score stood on; see lockstep.status.Rung"),
        ],
    )


def open_predictions(store: FeatureStore, model: str) -> tuple[LockstepOnlineStore, StoredView]:
    """The online store and the view of a model's predictions as it lies there.

    Raises BadRequest where the repository has no such view, where it is another one, and for another online store.
    """
    online = get_online_store_from_config(store.config.online_store)
    if not isinstance(online, LockstepOnlineStore):
        raise BadRequest(f"the online store is {type(online).__name__}; predictions are kept in LockstepOnlineStore.")
    view = online.stored_view(store.config, _view(store, model))
    expected = PredictionView(view.record.project, view.record.view).schema
    if view.schema != expected:
        raise BadRequest(f"view {view.record.view!r} is no view of predictions. {_how(model)}")
    return online, view


def _view(store: FeatureStore, model: str) -> FeatureView:
    try:
        return store.get_feature_view(view_name(model))
    except FeatureViewNotFoundException as error:
        raise BadRequest(
            f"there is no feature view {view_name(model)!r} to keep predictions in. {_how(model)}"
        ) from error


def _how(model: str) -> str:
    return (
        f"Put {view_name(model)} = prediction_view({model!r}, ttl=...) into a file of the Feast repository, as "
        "docs/cached-predictions.md says, and run `feast apply`."
    )
