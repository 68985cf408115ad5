"""Rewrite operators of an exported graph that compute in float32 or depend on the batch into core operators in float64.

A tree splits between two values that differ in the last bit, so a transformation must give the same bits for a row
whether it is alone in its batch or one of many. Seen with ONNX Runtime 1.31: ai.onnx.ml.Normalizer does not, and
ai.onnx.ml.Imputer has no float64 kernel. Computed in float64 and rounded to float32 once, at the end, both agree with
scikit-learn and with themselves.
"""

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lockstep.errors import PlanRefused
from training.linear import sum_of_rows

__all__ = ["rewrite"]

Nodes = Iterator[onnx.NodeProto]


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with every operator of the table below in core operators. Changes its argument and returns it."""
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        replace = _REWRITES.get((node.domain, node.op_type))
        nodes.extend(replace(model, node) if replace else [node])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _constant(model: onnx.ModelProto, name: str, values: object, dtype: str = "float64") -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
    return name


def _imputer(model: onnx.ModelProto, node: onnx.NodeProto) -> Nodes:
    attributes = _attributes(node)
    if "imputed_value_floats" not in attributes or not np.isnan(float(attributes["replaced_value_float"])):  # type: ignore[arg-type]
        raise PlanRefused(
            "an imputer that replaces something else than NaN cannot be exported; impute NaN in float columns."
        )
    (value,), (out,) = node.input, node.output
    fill = _constant(model, f"{out}_fill", [attributes["imputed_value_floats"]])
    yield helper.make_node("Cast", [value], [f"{out}_double"], to=TensorProto.DOUBLE)
    yield helper.make_node("IsNaN", [f"{out}_double"], [f"{out}_missing"])
    yield helper.make_node("Where", [f"{out}_missing", fill, f"{out}_double"], [out])


def _normalizer(model: onnx.ModelProto, node: onnx.NodeProto) -> Nodes:
    if _attributes(node)["norm"] != b"L2":
        raise PlanRefused(f"norm {_attributes(node)['norm']!r} cannot be exported; use norm='l2' or norm=None.")
    (value,), (out,) = node.input, node.output
    zero, one = _constant(model, f"{out}_zero", 0.0), _constant(model, f"{out}_one", 1.0)
    yield helper.make_node("Cast", [value], [f"{out}_double"], to=TensorProto.DOUBLE)
    yield helper.make_node("Mul", [f"{out}_double", f"{out}_double"], [f"{out}_squares"])
    add, constants = sum_of_rows(f"{out}_squares", f"{out}_sum")
    model.graph.initializer.extend(constants)
    yield from add
    yield helper.make_node("Sqrt", [f"{out}_sum"], [f"{out}_root"])
    yield helper.make_node("Equal", [f"{out}_root", zero], [f"{out}_empty"])
    yield helper.make_node("Where", [f"{out}_empty", one, f"{out}_root"], [f"{out}_norm"])
    yield helper.make_node("Div", [f"{out}_double", f"{out}_norm"], [f"{out}_scaled"])
    yield helper.make_node("Cast", [f"{out}_scaled"], [out], to=TensorProto.FLOAT)


_REWRITES: dict[tuple[str, str], Callable[[onnx.ModelProto, onnx.NodeProto], Nodes]] = {
    ("ai.onnx.ml", "Imputer"): _imputer,
    ("ai.onnx.ml", "Normalizer"): _normalizer,
}
