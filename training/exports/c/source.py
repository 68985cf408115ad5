"""The C file of an exported model: its parts, one after the other, and the function that calls them."""

from collections.abc import Iterator, Mapping, Sequence

import onnx
import onnxruntime
from onnx import TensorProto

from lockstep.plan import Array, DType
from training.exports.c.core import to_core
from training.exports.c.cut import CoreGraph, cut
from training.exports.c.generator import Generated
from training.exports.c.header import Api
from training.exports.c.literals import comment, identifiers, number
from training.exports.c.lookups import FIND_NUMBER, FIND_TEXT
from training.exports.c.parts import Part, Tensor, Tensors

__all__ = ["source"]


def source(api: Api, row: Mapping[str, Array]) -> str:
    """The whole file. `row` is any row of the model's inputs, columns of shape (1,): it shows the shapes.

    Raises ExportRefused for what cannot be expressed.
    """
    model = to_core(onnx.load_from_string(api.bundle.files["model.onnx"]))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    parts: list[Part] = [Generated(one, constants) if isinstance(one, CoreGraph) else one for one in cut(model)]
    tensors = _tensors(model, parts, row)
    names = _names(parts)
    code = [part.code(name, tensors) for name, part in zip(names, parts, strict=True)]
    helpers = [
        find for find, name in ((FIND_TEXT, "find_text("), (FIND_NUMBER, "find_number(")) if name in "".join(code)
    ]
    score = _score(api, list(zip(names, parts, strict=True)), tensors, model.graph.output[0].name)
    return "\n\n".join([_head(api), *helpers, *code, _missing(api), _link(api), score]) + "\n"


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
    return f"""/* {comment(api.title)}: what {api.name}.h describes. Written by lockstep export; do not edit.

   The scores are those of Lockstep's own graph, compared on every row that the export was given. They are the same on
   any machine with IEEE 754 arithmetic as long as the compiler keeps to it: no -ffast-math, no contraction of a * b + c
   (which C99 and C11 modes of GCC do not do; elsewhere say -ffp-contract=off). */

#include "{api.name}.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#ifdef __FAST_MATH__
#error "-ffast-math forgets what NAN is, which stands for NULL here"
#endif
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif"""


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


def _score(api: Api, parts: Sequence[tuple[str, Part]], tensors: Tensors, raw: str) -> str:
    calls = [line for name, part in parts for line in _call(api, name, part, tensors)]
    last = tensors[raw]
    return "\n".join(
        [
            f"double {api.name}_score(const struct {api.name}_row *row)",
            "{",
            *_columns(api, {name for _, part in parts for name in part.inputs}, tensors),
            *calls,
            f"    return probability((double)*{'*' * (len(last.shape) - 1)}{last.name});",
            "}",
        ]
    )


def _columns(api: Api, read: set[str], tensors: Tensors) -> Iterator[str]:
    """The fields that a part takes as a tensor, each an array of one."""
    for column in api.columns:
        if column.name in read and column.dtype is not DType.STRING:
            tensor = tensors[column.name]
            yield f"    {tensor.parameter(tensor.name, constant=True)} = {{{{row->{api.fields[column.name]}}}}};"


def _call(api: Api, name: str, part: Part, tensors: Tensors) -> Iterator[str]:
    for output in part.outputs:
        tensor = tensors[output]
        yield f"    {tensor.parameter(tensor.name, constant=False)};"
    texts = {column.name for column in api.columns if column.dtype is DType.STRING}
    arguments = [_argument(f"row->{api.fields[one]}") if one in texts else tensors[one].name for one in part.inputs]
    yield f"    {name}({', '.join([*arguments, *(tensors[one].name for one in part.outputs)])});"


def _argument(text: str) -> str:
    return f"{text}.data, {text}.size"
