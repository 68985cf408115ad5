"""A linear model as data: coefficients.json, which a person can check by hand and any language can load.

The log-odds of a row are the intercept and, over all steps, the sum of feature times weight. A step takes some columns
side by side and puts them through its formulas, one after the other. Everything is computed in float64.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BundleRefused, did_you_mean
from lockstep.formulas import FORMULAS, Formula, weighed
from lockstep.model import check_inputs, side_by_side
from lockstep.plan import Array, DType, Plan

__all__ = ["Coefficients", "Features", "Step", "formula"]


@dataclass(frozen=True)
class Step:
    """Some columns and what becomes of them."""

    name: str
    columns: tuple[str, ...]
    dtype: DType
    """In which the formulas get the columns."""
    formulas: tuple[Formula, ...]

    def __call__(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """The step's features, shape (rows, width)."""
        table = side_by_side(columns, self.columns, self.dtype)
        for one in self.formulas:
            table = one(table)
        return table.astype(np.float64, copy=False)


class Features:
    """The features of some steps, side by side in their order."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = tuple(steps)

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the columns that the steps take, each once."""
        return list(dict.fromkeys(name for step in self._steps for name in step.columns))

    def run(self, columns: Mapping[str, Array]) -> Array:
        """Columns of shape (rows,) to features of shape (rows, width), float64."""
        return np.hstack([step(columns) for step in self._steps])


class Coefficients:
    """The whole model of a coefficients.json."""

    def __init__(self, model: bytes) -> None:
        """Raises BundleRefused where the content is not a linear model as data, naming what cannot be read."""
        self.model = model
        try:
            plain = json.loads(model)
            self._columns = {name: DType(dtype).value for name, dtype in plain["columns"].items()}
            self._intercept = float(plain["intercept"])
            self._features = Features([_step(step) for step in plain["steps"]])
            weights = [feature["weight"] for step in plain["steps"] for feature in step["features"]]
            self._weights = np.array(weights, np.float64)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleRefused(f"the coefficients cannot be read: {error!r}. Publish the model again.") from error

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the columns that it takes."""
        return self._features.inputs

    def run(self, columns: Mapping[str, Array]) -> Array:
        """Columns of shape (rows,) to log-odds of shape (rows, 1)."""
        return self.raw(columns).reshape(-1, 1)

    def raw(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Log-odds, intercept included, shape (rows,). Raises BundleRefused where features and weights do not match."""
        features = self._features.run(columns)
        if features.shape[1] != len(self._weights):
            raise BundleRefused(
                f"the steps make {features.shape[1]} features, the weights are {len(self._weights)}. "
                "Publish the model again."
            )
        return weighed(features, self._weights) + self._intercept

    def check(self, plan: Plan) -> None:
        """Raises BundleRefused unless the model takes what the plan provides."""
        wanted = {name: self._columns.get(name, "nothing that its columns list") for name in self.inputs}
        check_inputs(wanted, {name: plan.by_name[name].dtype.value for name in plan.inputs})


def _step(plain: Mapping[str, Any]) -> Step:
    formulas = tuple(formula(one) for one in plain["formulas"])
    return Step(plain["name"], tuple(plain["columns"]), DType(plain["as"]), formulas)


def formula(plain: Mapping[str, Any]) -> Formula:
    """One formula of a step. Raises BundleRefused for a name that is none, TypeError for fields that do not fit."""
    fields = dict(plain)
    name = fields.pop("do")
    if name not in FORMULAS:
        raise BundleRefused(f"this Lockstep knows no formula {name!r}.{did_you_mean(name, FORMULAS)}")
    made: Formula = FORMULAS[name](**fields)
    return made
