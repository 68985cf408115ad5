"""Fit a spec through the serving graph: transformations first, exported; then the estimator, on what it computes.

What the model was trained on is then what it scores on, by construction.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from lockstep.errors import PlanRefused
from lockstep.link import Link
from lockstep.model import Model, Transformations
from lockstep.plan import Array, DType
from lockstep.skops_model import raw_scores
from training.export import FittedStep, snap_fills, snap_thresholds, step_input
from training.kinds import KINDS, Kind
from training.spec import Step

__all__ = ["Fitted", "Recipe", "fit"]

FOLDS = 5


@dataclass(frozen=True)
class Recipe:
    """What is fitted: some steps and an estimator, over columns of known types."""

    steps: tuple[Step, ...]
    estimator: Any
    """Unfitted."""
    dtypes: Mapping[str, DType]
    """Type of each column that a step names."""
    seed: int
    kind: str = "onnx"
    """Name of the interface to the scorer, which computes the features that the estimator is fitted on."""


@dataclass(frozen=True)
class Fitted:
    """A fitted recipe: scikit-learn's objects in memory, and the model that serves."""

    recipe: Recipe
    steps: tuple[FittedStep, ...]
    transformations: Transformations
    """From the columns to the features, (rows, width), float32 or float64 as the kind computes."""
    estimator: Any
    """scikit-learn's, fitted on what `transformations` computes."""
    graph: Model
    """From the columns to the raw score."""
    link: Link
    widths: Mapping[str, int]
    """Number of features that each step makes, in the order of the steps."""
    unconverged: tuple[str, ...] = ()
    """What scikit-learn said of each fit that ended before it was done: of the steps, their folds and the estimator."""

    def features(self, columns: Mapping[str, Array]) -> Array:
        """The features of rows as served, shape (rows, width)."""
        return self.transformations.run(columns)

    def score(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Probabilities by the model that serves, shape (rows,)."""
        return self.link(self.graph.raw(columns))

    def reference(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Probabilities by scikit-learn's estimator on the features as served, shape (rows,)."""
        return Link()(raw_scores(self.estimator, self.features(columns)))


def fit(recipe: Recipe, columns: Mapping[str, Array], y: NDArray[np.int8]) -> Fitted:
    """Fit and export. `columns` by name, shape (rows,) in the dtypes of the recipe; `y` of 0 and 1.

    Raises PlanRefused where something cannot be expressed in the recipe's kind, naming it.
    """
    kind = KINDS[recipe.kind]
    with _convergence_warnings() as unconverged:
        steps = tuple(_fit_step(recipe, step, columns, y) for step in recipe.steps)
        widths = dict(_widths(kind, steps, columns))  # before they are joined: a step that cannot run is named
        transformations = kind.transformations(steps)
        features = _training_features(recipe, steps, transformations, columns, y)
        estimator = snap_thresholds(clone(recipe.estimator).fit(features, y))
    model, link = kind.model(steps, estimator)
    return Fitted(recipe, steps, transformations, estimator, model, link, widths, tuple(unconverged))


@contextmanager
def _convergence_warnings() -> Iterator[list[str]]:
    """Collect scikit-learn's ConvergenceWarnings, each text once and in one line; others go where they went."""
    texts: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", ConvergenceWarning)
        elsewhere = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, ConvergenceWarning):
                elsewhere(message, category, filename, lineno, file, line)
            elif (text := " ".join(str(message).split())) not in texts:
                texts.append(text)

        warnings.showwarning = show
        yield texts


def _fit_step(recipe: Recipe, step: Step, columns: Mapping[str, Array], y: NDArray[np.int8]) -> FittedStep:
    transformer = clone(step.make())
    _check_label(step, transformer)
    dtypes = tuple(recipe.dtypes[name] for name in step.columns)
    table = step_input(step, dtypes, columns, transformer)
    return FittedStep(step, snap_fills(transformer.fit(table, y if step.sees_label else None)), dtypes)


def _check_label(step: Step, transformer: Any) -> None:
    """Raise PlanRefused where a transformer needs the label and the step does not say so."""
    parts = [part for _, part in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]
    if not step.sees_label and any(get_tags(part).target_tags.required for part in parts if hasattr(part, "fit")):
        raise PlanRefused(
            f"step {step.name!r} is fitted on the label: give it sees_label=True, and its training rows get "
            "out-of-fold values."
        )


def _widths(kind: Kind, steps: Sequence[FittedStep], columns: Mapping[str, Array]) -> Iterator[tuple[str, int]]:
    """Names and widths of the steps' outputs, from one row."""
    row = {name: values[:1] for name, values in columns.items()}
    for fitted in steps:
        yield fitted.step.name, kind.transformations([fitted]).run(row).shape[1]


def _training_features(
    recipe: Recipe,
    steps: Sequence[FittedStep],
    transformations: Transformations,
    columns: Mapping[str, Array],
    y: NDArray[np.int8],
) -> Array:
    """The features that the estimator is fitted on: as served, but out-of-fold for the steps that see the label.

    Served values of such a step know the row's own label; an estimator fitted on them learns to trust them too much.
    """
    if not any(fitted.step.sees_label for fitted in steps):
        return transformations.run(columns)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=recipe.seed).split(y, y))
    parts = [
        _out_of_fold(recipe, fitted.step, columns, y, folds)
        if fitted.step.sees_label
        else _alone(recipe, fitted, columns)
        for fitted in steps
    ]
    return np.hstack(parts)


def _alone(recipe: Recipe, fitted: FittedStep, columns: Mapping[str, Array]) -> Array:
    return KINDS[recipe.kind].transformations([fitted]).run(columns)


def _out_of_fold(
    recipe: Recipe,
    step: Step,
    columns: Mapping[str, Array],
    y: NDArray[np.int8],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> Array:
    """Each fold's rows through the kind's own transformer, fitted on the other folds."""
    parts: list[Array] = []
    for others, own in folds:
        fitted = _fit_step(recipe, step, {name: columns[name][others] for name in step.columns}, y[others])
        parts.append(_alone(recipe, fitted, {name: columns[name][own] for name in step.columns}))
    order = np.argsort(np.concatenate([own for _, own in folds]))
    return np.vstack(parts)[order]
