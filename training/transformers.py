"""The transformers that scikit-learn lacks (lockstep.transformers), each with its converter to ONNX."""

from collections.abc import Mapping
from typing import Any

from onnx import helper, numpy_helper
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType

from lockstep.transformers import LogOdds, TopN
from training.estimators import constant, own_graph

__all__ = ["LogOdds", "TopN"]

FLOAT, INT64 = 1, 7
"""ONNX's numbers for the types of elements."""


def _top_shape(operator: Any) -> None:
    width = sum(len(values) for values in operator.raw_operator.values_)
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), width])


def _convert_top(scope: Any, operator: Any, container: Any) -> None:
    """Each column as often as it has values, Equal against all of them: core operators on int64, exact at any batch
    size, and as many nodes for ten columns as for one.
    """
    lists = [values.tolist() for values in operator.raw_operator.values_]
    places = [place for place, values in enumerate(lists) for _ in values]
    index, values, columns, equal = (
        scope.get_unique_variable_name(f"top_{what}") for what in ("index", "values", "columns", "equal")
    )
    container.add_initializer(index, INT64, [len(places)], places)
    container.add_initializer(values, INT64, [1, len(places)], [value for each in lists for value in each])
    container.add_node("Gather", [operator.inputs[0].full_name, index], columns, axis=1, op_version=13)
    container.add_node("Equal", [columns, values], equal, op_version=13)
    container.add_node("Cast", equal, operator.outputs[0].full_name, to=FLOAT, op_version=13)  # 0 and 1 are exact


def _odds_shape(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), 1])


def _convert_odds(scope: Any, operator: Any, container: Any) -> None:
    """The classifier's own graph, its constant in it, its tensors renamed."""
    estimator = operator.raw_operator.estimator_
    graph = own_graph(estimator, "features", "raw", plus=constant(estimator))
    names = {name: scope.get_unique_variable_name(f"odds_{name}") for name in _tensors(graph)}
    names |= {"features": operator.inputs[0].full_name, "raw": operator.outputs[0].full_name}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        container.add_initializer(names[tensor.name], tensor.data_type, values.shape, values.ravel().tolist())
    for node in graph.node:
        _copy(container, node, names)


def _tensors(graph: Any) -> list[str]:
    """Every name of a tensor in the graph, each once."""
    of_nodes = [name for node in graph.node for name in (*node.input, *node.output)]
    return list(dict.fromkeys([*of_nodes, *(tensor.name for tensor in graph.initializer)]))


def _copy(container: Any, node: Any, names: Mapping[str, str]) -> None:
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    inputs, outputs = ([names[name] for name in side] for side in (node.input, node.output))
    version = 3 if node.domain else 14
    container.add_node(node.op_type, inputs, outputs, op_domain=node.domain, op_version=version, **attributes)


update_registered_converter(TopN, "LockstepTopN", _top_shape, _convert_top)
update_registered_converter(LogOdds, "LockstepLogOdds", _odds_shape, _convert_odds)
