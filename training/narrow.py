"""What no tree looks at need not be computed: the ids of a TopN step that no split of boosted trees asks for.

The estimator stays as it was fitted; the graph that serves makes fewer features, and its trees find theirs at other
places. No score changes, and `training.checks` compares them all.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from lockstep.transformers import TopN
from training.export import FittedStep

__all__ = ["narrowed"]


def narrowed(steps: Sequence[FittedStep], estimator: Any) -> tuple[tuple[FittedStep, ...], NDArray[np.intp]]:
    """The steps that serve the estimator, and which of its features they make, in order."""
    features = np.arange(estimator.n_features_in_)
    if not isinstance(estimator, HistGradientBoostingClassifier):
        return tuple(steps), features
    widths = [_width(fitted) for fitted in steps]
    if sum(widths) != len(features):
        return tuple(steps), features  # a step does not say how many it makes
    is_used = np.zeros(len(features), bool)
    for (tree,) in estimator._predictors:
        is_used[tree.nodes["feature_idx"][~tree.nodes["is_leaf"].astype(bool)]] = True
    serving, kept = [], []
    for fitted, own in zip(steps, np.split(features, np.cumsum(widths)[:-1]), strict=True):
        chosen = np.ones(len(own), bool)
        if isinstance(fitted.transformer, TopN):
            chosen = is_used[own]
            chosen[:1] |= not chosen.any()  # a step that makes something goes on making something
            fitted = replace(fitted, transformer=_of(fitted.transformer, chosen))
        serving.append(fitted)
        kept.append(own[chosen])
    return tuple(serving), np.concatenate(kept)


def _width(fitted: FittedStep) -> int:
    """How many features a step makes; 0 where its graph does not say."""
    if isinstance(fitted.transformer, TopN):
        return sum(len(values) for values in fitted.transformer.values_)
    shape = fitted.graph.output[0].type.tensor_type.shape.dim
    return int(shape[1].dim_value) if len(shape) == 2 else 0


def _of(fitted: TopN, chosen: NDArray[np.bool_]) -> TopN:
    """The same with the chosen ones of its values."""
    narrow = copy(fitted)
    ends = np.cumsum([len(values) for values in fitted.values_])[:-1]
    narrow.values_ = [values[own] for values, own in zip(fitted.values_, np.split(chosen, ends), strict=True)]
    return narrow
