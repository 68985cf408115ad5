"""The checks that stand between a fitted model and a bundle, on every row that is given.

Two say that the graph computes what scikit-learn computes: each transformer's output, and the scores. The third says
that a row's values do not depend on the rows it is scored with, which training and serving need to mean the same.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import parts_at
from lockstep.errors import BundleRefused
from lockstep.plan import Array
from lockstep.skops_model import dense
from training.export import FittedStep, step_input
from training.fit import Fitted
from training.instead import advice, named

__all__ = ["check_scores", "check_transformers", "check_works_row_by_row"]

RELATIVE = 1e-5
ABSOLUTE = 1e-8
"""For values that are zero on paper."""


def check_transformers(fitted: Fitted, columns: Mapping[str, Array]) -> None:
    """Each transformer's output, graph against scikit-learn, within 1e-5 relative on every row.

    Raises BundleRefused naming the first transformer that parts, the row and both values.
    """
    features, start = fitted.features(columns), 0
    for step in fitted.steps:
        served = features[:, start : start + fitted.widths[step.step.name]]
        start += served.shape[1]
        _check_step(step, served, _by_scikit_learn(step, columns))


def _by_scikit_learn(fitted: FittedStep, columns: Mapping[str, Array]) -> NDArray[np.float64]:
    table = step_input(fitted.step, fitted.dtypes, columns, fitted.transformer)
    return dense(fitted.transformer.transform(table))


def _check_step(fitted: FittedStep, served: Array, wanted: NDArray[np.float64]) -> None:
    name = fitted.step.name
    if served.shape != wanted.shape:
        raise BundleRefused(
            f"step {name!r}: the graph makes {served.shape[1]} features, scikit-learn {wanted.shape[1]}. "
            f"{advice(fitted.transformer)}"
        )
    parts = ~np.isclose(served, wanted, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    if parts.any():
        at = tuple(np.argwhere(parts)[0].tolist())
        raise BundleRefused(
            f"step {name!r} ({named(fitted.transformer)}): {parts.any(axis=1).sum()} of {len(parts)} rows "
            f"part, first row {at[0]}, output {at[1]}: {served[at]!r} by the graph, {wanted[at]!r} by scikit-learn. "
            f"{advice(fitted.transformer)}"
        )


def check_scores(fitted: Fitted, columns: Mapping[str, Array]) -> None:
    """The scores, graph against scikit-learn's estimator: |Δ log-odds| <= 1e-5 and |Δp| <= 1e-6 on every row.

    Raises BundleRefused naming the first row that parts and both scores.
    """
    served, wanted = fitted.score(columns), fitted.reference(columns)
    rows = parts_at(served, wanted)
    if rows.size:
        first = rows[0]
        raise BundleRefused(
            f"estimator {type(fitted.estimator).__name__}: {rows.size} of {len(wanted)} scores part, "
            f"first row {first}: {served[first]!r} by the graph, {wanted[first]!r} by scikit-learn."
        )


def check_works_row_by_row(fitted: Fitted, columns: Mapping[str, Array], rows: int = 500) -> None:
    """A row alone, in a small batch and in a large one: bit for bit the same features, and scores that do not part.

    Tried on the first `rows` rows in batches of 1, 7 and 100. Raises BundleRefused naming the batch size that differs.
    """
    few = {name: values[:rows] for name, values in columns.items()}
    count = len(next(iter(few.values())))
    features, scores = fitted.features(few), fitted.score(few)
    for size in (1, 7, 100):
        batches = [{name: values[at : at + size] for name, values in few.items()} for at in range(0, count, size)]
        alike = np.array_equal(np.concatenate([fitted.features(batch) for batch in batches]), features, equal_nan=True)
        if not alike or parts_at(np.concatenate([fitted.score(batch) for batch in batches]), scores).size:
            raise BundleRefused(
                f"the graph computes other {'scores' if alike else 'features'} for rows in batches of {size} than for "
                f"{count} rows at once: an operator depends on the batch, and what was trained could not be served. "
                "Replace the transformer or estimator added last."
            )
