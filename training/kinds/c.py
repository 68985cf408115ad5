"""Kind c: C computes the features that the estimator is fitted on, and the bundle carries the code.

Our own scorer never runs C: it scores the same bundle by its ONNX graph. On every row of the training and test sets
three things were compared: each transformer's output by C with scikit-learn's, the graph's scores with the estimator's
on what C computes, and the shipped code's scores with both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.bundle import Manifest, build, pack
from lockstep.errors import BundleRefused, ExportDiffers, ExportRefused, PlanRefused
from lockstep.link import Link
from lockstep.model import Model, Transformations
from lockstep.plan import Array
from training.export import FittedStep
from training.exports.c.compiler import find_compiler
from training.exports.c.export import SHIPPED, code, compare, difference, scratch_model
from training.exports.c.features import NAME, CompiledFeatures
from training.exports.c.header import Api
from training.exports.c.layout import Layout
from training.exports.c.source import body
from training.exports.rows import RowSet, golden_rows
from training.instead import named
from training.kinds.onnx import OnnxKind

__all__ = ["CKind"]

_ONNX = OnnxKind()


class CKind:
    """As `training.kinds.Kind` says. Raises MissingTool where there is no C compiler or no emx-onnx-cgen."""

    def transformations(self, steps: Sequence[FittedStep]) -> Transformations:
        """The steps' graph as C, compiled; its output is float32."""
        find_compiler()
        graph = _ONNX.transformations(steps)
        with _refusing(steps, None):
            return CompiledFeatures(_layout(steps), graph.model)

    def model(self, steps: Sequence[FittedStep], estimator: Any) -> tuple[Model, Link]:
        """The graph that our own scorer runs, once it is known that C can say the same."""
        graph, link = _ONNX.model(steps, estimator)
        layout = _layout(steps)
        with _refusing(steps, estimator):
            assert body(layout, graph.model, layout.empty_row()).functions
        return graph, link

    def trusted(self, model: Model) -> list[str]:
        """None: a graph holds no types."""
        return []

    def ships(
        self,
        manifest: Manifest,
        files: Mapping[str, bytes],
        rows: Iterable[RowSet],
        reference: Callable[[Mapping[str, Array]], NDArray[np.float64]],
    ) -> dict[str, bytes]:
        """The header and the source, compiled and compared with the graph and with scikit-learn."""
        bundle = build(pack(manifest, files))
        api, golden = Api(bundle), golden_rows(bundle)
        made = code(api, golden)
        with scratch_model(api, made) as model, _parting():
            for one in (golden, *rows):
                compare(api, model, one)
                difference(one, model.score(one.columns), reference(one.columns))
        return {f"{SHIPPED}{name}": content for name, content in made.items()}


def _layout(steps: Sequence[FittedStep]) -> Layout:
    return Layout(
        NAME, {name: dtype for one in steps for name, dtype in zip(one.step.columns, one.dtypes, strict=True)}
    )


@contextmanager
def _refusing(steps: Sequence[FittedStep], estimator: Any) -> Iterator[None]:
    """Turn an export's refusal into one of training, which names the transformer or the estimator."""
    try:
        yield
    except ExportRefused as error:
        step = next((one for one in steps if error.tensor.startswith(f"{one.step.name}/")), None)
        where = "the model" if estimator is None else f"the estimator {type(estimator).__name__}"
        if step is not None:
            where = f"step {step.step.name!r} ({named(step.transformer)})"
        raise PlanRefused(
            f"{where} cannot be written in C: {error.what}. Use {error.instead}, or another kind: docs/kinds.md says "
            "which kind expresses what."
        ) from error


@contextmanager
def _parting() -> Iterator[None]:
    try:
        yield
    except ExportDiffers as error:
        raise BundleRefused(f"the C code does not score as the model does. {error} Train with kind='onnx'.") from error
