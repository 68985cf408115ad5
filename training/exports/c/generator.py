"""Graphs of core operators as C, through emx-onnx-cgen."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
from onnx import helper, numpy_helper

from lockstep.errors import ExportRefused, MissingTool
from training.exports.c.core import OPSETS
from training.exports.c.cut import CoreGraph
from training.exports.c.parts import Tensor, Tensors

__all__ = ["Generated"]

_ENTRY = "core_graph"
"""What the generator is told to call a graph's own function."""


@dataclass(frozen=True)
class Generated:
    """A graph of core operators as a part of a C file."""

    graph: CoreGraph
    constants: Mapping[str, onnx.TensorProto]
    """By name: the initializers of the whole graph."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The graph's inputs, in the order in which its function takes them."""
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs."""
        return self.graph.outputs

    def code(self, name: str, tensors: Tensors) -> str:
        """The generated file, everything in it static and named after the part."""
        return _embedded(_generate(self._model(tensors)), name)

    def _model(self, tensors: Tensors) -> onnx.ModelProto:
        def describe(names: Iterable[str]) -> list[onnx.ValueInfoProto]:
            return [_description(name, tensors[name]) for name in names]

        read = {name for node in self.graph.nodes for name in node.input}
        kept = [tensor for name, tensor in self.constants.items() if name in read]
        graph = helper.make_graph(
            self.graph.nodes, "core", describe(self.inputs), describe(self.outputs), [_plain(tensor) for tensor in kept]
        )
        return helper.make_model(graph, opset_imports=OPSETS, ir_version=9)


def _description(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(tensor.dtype), tensor.shape)


def _plain(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The same constant with its values as raw bytes."""
    return numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)


def _generate(model: onnx.ModelProto) -> str:
    """The C file of a model. Raises ExportRefused naming the node that the generator lacks."""
    compiler, refused = _compiler()
    try:
        made: str = compiler.compile(model)
    except refused as error:
        raise _refusal(model, str(error).splitlines()[0]) from error
    return made


@cache
def _compiler() -> tuple[Any, type[Exception]]:
    """emx-onnx-cgen, which takes seconds to get ready, and what it raises. Raises MissingTool."""
    try:
        from emx_onnx_cgen.compiler import Compiler, CompilerOptions
        from emx_onnx_cgen.errors import CompilerError
    except ImportError as error:
        raise MissingTool("exports to C need emx-onnx-cgen: pip install 'lockstep[c]'.") from error
    # Every temporary on the stack, every constant in the file: no state, nothing to load.
    options = CompilerOptions(model_name=_ENTRY, large_temp_threshold_bytes=2**31, large_weight_threshold=0)
    return Compiler(options), CompilerError


def _refusal(model: onnx.ModelProto, problem: str) -> ExportRefused:
    """Names the node whose operator the generator's message names."""
    node = next((one for one in model.graph.node if one.op_type in problem), model.graph.node[-1])
    where, what = node.output[0], problem.split(" (while")[0].rstrip(".")
    instead = "a transformer that docs/export-c.md lists"
    if where.startswith("estimator/"):
        instead = "HistGradientBoostingClassifier or a linear model"
    return ExportRefused(where, f"{node.op_type} ({what})", instead)


def _embedded(generated: str, name: str) -> str:
    """A generated file as a part of another: nothing in it is seen by other files or named as in another part."""
    for pattern, instead in (
        (r"^extern const .*\n", ""),
        (r"^_Bool \w+_load\([^}]*^}\n", ""),
        (r"^const EMX_UNUSED ", "static const EMX_UNUSED "),
        (r"^static inline ", "static inline EMX_UNUSED "),
        (rf"^void {_ENTRY}\(", f"static void {name}("),
        (r"\b(node\d+_|weight\d+_|ref_scalar_)", rf"{name}_\1"),
    ):
        generated = re.sub(pattern, instead, generated, flags=re.MULTILINE)
    return generated
