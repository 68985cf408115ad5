"""The C file of an exported model: its parts, one after the other, and the function that calls them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnxruntime
from onnx import TensorProto

from lockstep.bundle import MODEL
from lockstep.plan import Array, DType
from training.exports.c.core import to_core
from training.exports.c.cut import CoreGraph, cut
from training.exports.c.generator import Generated
from training.exports.c.header import Api
from training.exports.c.layout import Layout
from training.exports.c.literals import comment, identifiers, number
from training.exports.c.lookups import FIND_NUMBER, FIND_TEXT
from training.exports.c.parts import Part, Tensor, Tensors

__all__ = ["PRELUDE", "Body", "body", "source"]


@dataclass(frozen=True)
class Body:
    """A graph as C: functions, and the statements that call them for a `row` of the layout's struct."""

    layout: Layout
    model: onnx.ModelProto
    parts: Mapping[str, Part]
    """By the name of its function, each after those it needs."""
    tensors: Tensors

    @property
    def functions(self) -> list[str]:
        """The code of the parts, and before it what they search tables with."""
        code = [part.code(name, self.tensors) for name, part in self.parts.items()]
        searches = ((FIND_TEXT, "find_text("), (FIND_NUMBER, "find_number("))
        return [*(find for find, name in searches if name in "".join(code)), *code]

    @property
    def statements(self) -> list[str]:
        """The body of a function that is given `row`; `result` is filled at its end."""
        calls = [line for name, part in self.parts.items() for line in _call(self.layout, name, part, self.tensors)]
        read = {name for part in self.parts.values() for name in part.inputs}
        return [*_columns(self.layout, read, self.tensors), *calls]

    @property
    def result(self) -> Tensor:
        """What the graph ends in."""
        return self.tensors[self.model.graph.output[0].name]


def body(layout: Layout, graph: bytes, row: Mapping[str, Array]) -> Body:
    """The C of a graph. `row` is any row of its inputs, columns of shape (1,): it shows the shapes.

    Raises ExportRefused for what cannot be expressed, when the functions are asked for at the latest.
    """
    model = to_core(onnx.load_from_string(graph))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    parts: list[Part] = [Generated(one, constants) if isinstance(one, CoreGraph) else one for one in cut(model)]
    return Body(layout, model, dict(zip(_names(parts), parts, strict=True)), _tensors(model, parts, row))


def source(api: Api, row: Mapping[str, Array]) -> str:
    """The whole file. `row` as for `body`.

    Raises ExportRefused for what cannot be expressed.
    """
    made = body(api.layout, api.bundle.files[MODEL], row)
    return "\n\n".join([_head(api) + PRELUDE, *made.functions, _missing(api), _link(api), _score(api, made)]) + "\n"


def _names(parts: Sequence[Part]) -> list[str]:
    """A C name for each part, after the tensor that it makes; core graphs are numbered."""
    first = [f"core {i}" if isinstance(part, Generated) else part.outputs[0] for i, part in enumerate(parts)]
    return [f"part_{made}" for made in identifiers(first).values()]


def _tensors(model: onnx.ModelProto, parts: Sequence[Part], row: Mapping[str, Array]) -> Tensors:
    """Every column and every value between parts, with the type and the shape that it has for one row."""
    made = [name for part in parts for name in part.outputs]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {node.name: row[node.name].reshape(1, 1) for node in session.get_inputs()}
    arrays = dict(zip(made, session.run(made, feeds), strict=True))
    numbers = {
        one.name: feeds[one.name] for one in model.graph.input if one.type.tensor_type.elem_type != TensorProto.STRING
    }
    names = identifiers([*numbers, *arrays])
    return {name: Tensor(f"v_{names[name]}", array.dtype, array.shape) for name, array in {**numbers, **arrays}.items()}


def _head(api: Api) -> str:
    return f"""/* {comment(api.title)}: what {api.name}.h describes. Written by Lockstep; do not edit.

   The scores are those of Lockstep's own graph, compared on every row that it was given. They are the same on
   any machine with IEEE 754 arithmetic as long as the compiler keeps to it: no -ffast-math, no contraction of a * b + c
   (which C99 and C11 modes of GCC do not do; elsewhere say -ffp-contract=off). */

#include "{api.name}.h"

"""


PRELUDE = """#include <math.h>
#include <stdbool.h>
#include <string.h>

#ifdef __FAST_MATH__
#error "-ffast-math forgets what NAN is, which stands for NULL here"
#endif
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif"""
"""What the code of a body needs before it."""


def _missing(api: Api) -> str:
    lines = [f"        .{api.fields[column.name]} = {api.missing(column)}," for column in api.columns]
    return "\n".join(
        [
            f"struct {api.name}_row {api.name}_missing(void)",
            "{",
            f"    const struct {api.name}_row row = {{",
            *lines,
            "    };",
            "    return row;",
            "}",
        ]
    )


def _link(api: Api) -> str:
    """As lockstep.link has it: exp never overflows."""
    link = api.bundle.manifest.link
    return f"""/* From the raw score to the probability, in float64. */
static double probability(double raw)
{{
    const double odds = {number(link.slope, "float64")} * raw + {number(link.offset, "float64")};
    const double small = exp(-fabs(odds));
    return (odds >= 0 ? 1.0 : small) / (1.0 + small);
}}"""


def _score(api: Api, made: Body) -> str:
    last = made.result
    return "\n".join(
        [
            f"double {api.name}_score(const struct {api.name}_row *row)",
            "{",
            *made.statements,
            f"    return probability((double)*{'*' * (len(last.shape) - 1)}{last.name});",
            "}",
        ]
    )


def _columns(layout: Layout, read: set[str], tensors: Tensors) -> Iterator[str]:
    """The fields that a part takes as a tensor, each an array of one."""
    for name, dtype in layout.dtypes.items():
        if name in read and dtype is not DType.STRING:
            tensor = tensors[name]
            yield f"    {tensor.parameter(tensor.name, constant=True)} = {{{{row->{layout.fields[name]}}}}};"


def _call(layout: Layout, name: str, part: Part, tensors: Tensors) -> Iterator[str]:
    for output in part.outputs:
        tensor = tensors[output]
        yield f"    {tensor.parameter(tensor.name, constant=False)};"
    arguments = [_argument(layout, one, tensors) for one in part.inputs]
    yield f"    {name}({', '.join([*arguments, *(tensors[one].name for one in part.outputs)])});"


def _argument(layout: Layout, name: str, tensors: Tensors) -> str:
    if layout.dtypes.get(name) is not DType.STRING:
        return tensors[name].name
    text = f"row->{layout.fields[name]}"
    return f"{text}.data, {text}.size"
