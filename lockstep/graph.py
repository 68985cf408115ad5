"""The serving graph: an ONNX graph from the plan's inputs to the raw score, and the link from there to a probability.

Training runs the same class on the same bytes, so what a model was trained on is what it scores on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from lockstep.errors import BundleRefused
from lockstep.plan import Array, DType, Plan

__all__ = ["Graph", "Link", "log_odds"]


@dataclass(frozen=True)
class Link:
    """From the raw score to a probability, in float64: p = 1 / (1 + exp(−(slope · raw + offset))).

    The graph computes in float32 and ends before the large constant of a rare class is added; that constant, the
    correction of a sampled prior, and a Platt calibration all live here.
    """

    slope: float = 1.0
    offset: float = 0.0

    def odds(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds, shape (rows,)."""
        return self.slope * raw + self.offset

    def __call__(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities, shape (rows,)."""
        odds = self.odds(raw)
        small = np.exp(-np.abs(odds))  # never overflows
        probability: NDArray[np.float64] = np.where(odds >= 0, 1.0, small) / (1.0 + small)
        return probability


def log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of probabilities strictly between 0 and 1, shape (rows,)."""
    odds: NDArray[np.float64] = np.log(probability) - np.log1p(-probability)
    return odds


ONNX_ERRORS = tuple(
    error
    for error in vars(onnxruntime_pybind11_state).values()
    if isinstance(error, type) and issubclass(error, Exception)
)
"""Everything that ONNX Runtime raises; its errors have no base of their own."""

_ONNX_TYPES = {
    DType.FLOAT32: "tensor(float)",
    DType.FLOAT64: "tensor(double)",
    DType.INT64: "tensor(int64)",
    DType.STRING: "tensor(string)",
}


class Graph:
    """An ONNX graph with one input of shape (rows, 1) per column, on one thread: many small calls share the cores."""

    def __init__(self, model: bytes) -> None:
        """Raises BundleRefused where ONNX Runtime cannot load the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # what goes wrong is raised; it need not be printed too
        self.model = model
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except ONNX_ERRORS as error:
            raise BundleRefused(f"ONNX Runtime cannot load the model: {error}") from error
        self._inputs = {node.name: node.type for node in self._session.get_inputs()}
        self._output = self._session.get_outputs()[0].name

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the inputs, in the graph's order."""
        return list(self._inputs)

    def run(self, columns: Mapping[str, Array]) -> Array:
        """The graph's output for columns of shape (rows,): (rows, width) for transformations, (rows, 1) for a score."""
        feeds = {name: columns[name].reshape(-1, 1) for name in self._inputs}
        output: Array = self._session.run([self._output], feeds)[0]
        return output

    def raw(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Raw scores, float64 of shape (rows,)."""
        return self.run(columns).reshape(-1).astype(np.float64)

    def check(self, plan: Plan) -> None:
        """Raises BundleRefused unless the graph takes what the plan provides."""
        provided = {name: _ONNX_TYPES[plan.by_name[name].dtype] for name in plan.inputs}
        for name, wanted in self._inputs.items():
            if provided.get(name) != wanted:
                raise BundleRefused(
                    f"the model takes {name!r} as {wanted}; "
                    f"the plan provides {provided.get(name, 'nothing of that name')}."
                )
