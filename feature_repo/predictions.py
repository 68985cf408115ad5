"""Where the predictions of a model are kept that answers from a cache: docs/cached-predictions.md."""

from datetime import timedelta

from lockstep.stores.predictions import model_version, prediction_key, prediction_view

__all__ = ["install_predictions", "model_version", "prediction_key"]

install_predictions = prediction_view("install", ttl=timedelta(hours=6))
