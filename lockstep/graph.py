"""The serving graph: an ONNX graph from the plan's inputs to the raw score.

Training runs the same class on the same bytes, so what a model was trained on is what it scores on.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from lockstep.compiled import core
from lockstep.errors import BundleRefused
from lockstep.front import Front, front
from lockstep.link import Link, log_odds
from lockstep.model import check_inputs
from lockstep.onnx_file import check_stands_alone
from lockstep.onnx_inputs import Joined, joined
from lockstep.plan import Array, DType, Plan
from lockstep.trees import Trees, cut

__all__ = ["Graph", "Link", "log_odds"]


ONNX_ERRORS: tuple[type[Exception], ...] = (
    *(
        error
        for error in vars(onnxruntime_pybind11_state).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
    UnicodeDecodeError,
)
"""Everything that ONNX Runtime raises; its errors have no base of their own. The last one where it cannot even say what
is wrong, because a name in the model is no UTF-8."""

_ONNX_TYPES = {
    DType.FLOAT32: "tensor(float)",
    DType.FLOAT64: "tensor(double)",
    DType.INT64: "tensor(int64)",
    DType.STRING: "tensor(string)",
}


class Graph:
    """An ONNX graph with one input of shape (rows, 1) per column, on one thread: many small calls share the cores.

    ONNX Runtime is given the columns of one type as one input (lockstep.onnx_inputs). Where C was compiled, boosted
    trees at the end are added up in it (lockstep.trees), and what comes before them is done there, if it knows all of
    it (lockstep.front).
    """

    def __init__(self, model: bytes) -> None:
        """Raises BundleRefused where the model is not all in these bytes, or ONNX Runtime cannot load it."""
        check_stands_alone(model)
        self.model = model
        self._session, inputs, self._trees, self._front = _loaded(model)
        self._joined = {name: tuple(columns) for name, columns in inputs.columns.items()}
        """By input of the session the columns that it takes side by side."""
        apart = {node.name: node.type for node in self._session.get_inputs() if node.name not in self._joined}
        self._apart = tuple(apart)
        self._inputs = {**apart, **{one: inputs.types[name] for name in self._joined for one in self._joined[name]}}
        if not self._session.get_outputs():
            raise BundleRefused("the model has no output. Publish it again.")
        self._outputs = [self._session.get_outputs()[0].name]
        # What `run` of the session itself calls when it has looked at what is asked of it, which takes as long as ten
        # nodes of a graph: whether values lie on a GPU, whether an input is missing. Tests compare the two.
        self._run = getattr(self._session, "_sess", self._session).run

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the columns that it takes."""
        return list(self._inputs)

    def run(self, columns: Mapping[str, Array]) -> Array:
        """The graph's output for columns of shape (rows,): (rows, width) for transformations, (rows, 1) for a score."""
        if self._front is not None and self._trees is not None:
            features = self._front(columns)
            if features is not None:
                return self._trees(features)
        feeds = {name: columns[name].reshape(-1, 1) for name in self._apart}
        for name, beside in self._joined.items():
            feeds[name] = _side_by_side(columns, beside)
        output: Array = self._run(self._outputs, feeds, None)[0]
        return output if self._trees is None else self._trees(output)

    def raw(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Raw scores, float64 of shape (rows,)."""
        return self.run(columns).reshape(-1).astype(np.float64)

    def check(self, plan: Plan) -> None:
        """Raises BundleRefused unless the graph takes what the plan provides."""
        check_inputs(self._inputs, {name: _ONNX_TYPES[plan.by_name[name].dtype] for name in plan.inputs})


def _side_by_side(columns: Mapping[str, Array], names: tuple[str, ...]) -> Array:
    """Some columns of one type of numbers as one table of shape (rows, len(names))."""
    by_name = columns if type(columns) is dict else dict(columns)
    table: Array | None = core and core.beside(by_name, names)
    return np.array([columns[name] for name in names]).T if table is None else table


def _loaded(model: bytes) -> tuple[onnxruntime.InferenceSession, Joined, Trees | None, Front | None]:
    """The model without the trees that are added up in C. Raises BundleRefused."""
    found = cut(model)
    if found is not None:
        _session(model, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)  # refused as a whole, if at all
        with suppress(BundleRefused):  # as below
            session, inputs = _joined_session(found[0])
            if session.get_outputs()[0].type == _ONNX_TYPES[DType.FLOAT32]:
                return session, inputs, found[1], front(found[0])
    return (*_joined_session(model), None, None)


def _joined_session(model: bytes) -> tuple[onnxruntime.InferenceSession, Joined]:
    """The model with joined inputs; as it is where they cannot be joined. Raises BundleRefused."""
    inputs = joined(model)
    if inputs is not None:
        with suppress(BundleRefused):  # whatever is wrong is said of the model as it was published
            return _session(inputs.model), inputs
    return _session(model), Joined(model, {}, {})


def _session(
    model: bytes, level: onnxruntime.GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what goes wrong is raised; it need not be printed too
    options.add_session_config_entry("session.load_model_format", "ONNX")  # no other is looked into above
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except ONNX_ERRORS as error:
        raise BundleRefused(f"ONNX Runtime cannot load the model: {error}") from error
