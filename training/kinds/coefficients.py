"""Kind coefficients: a linear model and its transformations as a readable JSON."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lockstep.coefficients import Coefficients, Features, Step, formula
from lockstep.errors import PlanRefused
from lockstep.link import Link
from lockstep.model import Model, Transformations
from training.estimators import constant, is_linear
from training.export import FittedStep, common_dtype, takes_texts
from training.kinds.formulas import Plain, formulas_of
from training.kinds.kind import ShipsNothing

__all__ = ["CoefficientsKind", "readable"]

MEANS = (
    "log-odds = intercept + the sum of weight * feature over all features of all steps; "
    "probability = 1 / (1 + exp(-log-odds)). A step puts its columns, side by side, through its formulas in order."
)


class CoefficientsKind(ShipsNothing):
    """As `training.kinds.Kind` says."""

    def transformations(self, steps: Sequence[FittedStep]) -> Transformations:
        """The steps' formulas, in float64."""
        return Features([_step(fitted) for fitted in steps])

    def model(self, steps: Sequence[FittedStep], estimator: Any) -> tuple[Model, Link]:
        """The formulas and the weights; the intercept stands among them, so the link changes nothing."""
        if not is_linear(estimator) or estimator.coef_.size != estimator.n_features_in_:
            raise PlanRefused(
                f"the estimator {type(estimator).__name__} is no weighted sum, and kind 'coefficients' is "
                "nothing else. Use LogisticRegression, or kind='onnx'."
            )
        return Coefficients(readable(_plain(steps, estimator)).encode()), Link()

    def trusted(self, model: Model) -> list[str]:
        """None: numbers hold no types."""
        return []


def _step(fitted: FittedStep) -> Step:
    step = fitted.step
    formulas = tuple(formula(plain) for plain in formulas_of(fitted))
    return Step(step.name, step.columns, common_dtype(step, fitted.dtypes), formulas)


def _plain(steps: Sequence[FittedStep], estimator: Any) -> Plain:
    columns = {name: dtype.value for one in steps for name, dtype in zip(one.step.columns, one.dtypes, strict=True)}
    weights = iter(estimator.coef_.ravel().tolist())
    return {
        "means": MEANS,
        "columns": columns,
        "intercept": constant(estimator),
        "steps": [_plain_step(fitted, weights) for fitted in steps],
    }


def _plain_step(fitted: FittedStep, weights: Iterator[float]) -> Plain:
    """`weights`: those of this step and the ones after it; the step's own are taken."""
    return {
        "name": fitted.step.name,
        "columns": list(fitted.step.columns),
        "as": common_dtype(fitted.step, fitted.dtypes).value,
        "formulas": formulas_of(fitted),
        "features": [{"name": name, "weight": next(weights)} for name in _names(fitted)],
    }


def _names(fitted: FittedStep) -> list[str]:
    """The features as scikit-learn names them, e.g. app=3; by their number where it has no names for them."""
    columns, transformer = fitted.step.columns, fitted.transformer
    try:
        texts = takes_texts(fitted.step, fitted.dtypes, transformer)
        return [str(name) for name in transformer.get_feature_names_out(None if texts else columns)]
    except AttributeError:  # e.g. a FunctionTransformer, also within a pipeline
        row = {name: np.zeros(1, dtype.numpy) for name, dtype in zip(columns, fitted.dtypes, strict=True)}
        return [f"{fitted.step.name}_{place}" for place in range(_step(fitted)(row).shape[1])]


def readable(plain: Any, indent: str = "") -> str:
    """JSON with a line for each entry, and plain lists and small records on one line. Raises ValueError for NaN."""
    line = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    if not isinstance(plain, dict | list) or len(indent) + len(line) <= 120 or _flat(plain):
        return line
    deeper = indent + "  "
    if isinstance(plain, dict):
        entries = [
            f"{json.dumps(name, ensure_ascii=False)}: {readable(value, deeper)}" for name, value in plain.items()
        ]
    else:
        entries = [readable(value, deeper) for value in plain]
    opens, closes = "{}" if isinstance(plain, dict) else "[]"
    return f"{opens}\n{deeper}" + f",\n{deeper}".join(entries) + f"\n{indent}{closes}"


def _flat(plain: Any) -> bool:
    return isinstance(plain, list) and not any(isinstance(one, dict | list) for one in plain)
