"""A graph with joined inputs is the graph that it was made of: every value of every row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lockstep.errors import BundleRefused
from lockstep.graph import Graph
from lockstep.onnx_inputs import joined

FLOAT, INT64, DOUBLE, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE, TensorProto.STRING
NUMPY: dict[int, Any] = {FLOAT: np.float32, INT64: np.int64, DOUBLE: np.float64, STRING: object}
PATIENT = settings(deadline=None)  # every example loads a model or two
MIXED = [("a", FLOAT), ("site", STRING), ("i", INT64), ("b", FLOAT), ("x", DOUBLE), ("j", INT64), ("c", FLOAT)]


def graph(
    inputs: Sequence[tuple[str, int]], *, opset: int = 17, rows: Any = None, initializers: Sequence[Any] = ()
) -> onnx.ModelProto:
    """Concatenates what it is given as float32; of strings whether they are "é"."""
    nodes = []
    for name, kind in inputs:
        if kind == STRING:
            keys: dict[str, Any] = {"keys_strings": ["é"], "values_floats": [7.0], "default_float": -1.0}
            nodes.append(helper.make_node("LabelEncoder", [name], [f"{name}/f"], domain="ai.onnx.ml", **keys))
        else:
            nodes.append(helper.make_node("Cast", [name], [f"{name}/f"], to=FLOAT))
    nodes.append(helper.make_node("Concat", [f"{name}/f" for name, _ in inputs], ["all"], axis=1))
    taken = [helper.make_tensor_value_info(name, kind, [rows, 1]) for name, kind in inputs]
    given_out = [helper.make_tensor_value_info("all", FLOAT, [rows, len(inputs)])]
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_graph(nodes, "all", taken, given_out, initializers)
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


@st.composite
def asked(draw: st.DrawFn) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Inputs of any types, and columns for them."""
    kinds = draw(st.lists(st.sampled_from([FLOAT, INT64, DOUBLE, STRING]), min_size=1, max_size=9))
    inputs: list[tuple[str, int]] = [(f"in {place}", kind) for place, kind in enumerate(kinds)]
    rows = draw(st.integers(1, 5))
    values: dict[int, st.SearchStrategy[Any]] = {
        FLOAT: st.floats(width=32),
        INT64: st.integers(-(2**63), 2**63 - 1),
        DOUBLE: st.floats(width=32),
        STRING: st.sampled_from(["é", "", "e"]),
    }
    columns = {
        name: np.array(draw(st.lists(values[kind], min_size=rows, max_size=rows)), NUMPY[kind]) for name, kind in inputs
    }
    return inputs, columns


@given(asked())
@PATIENT
def test_every_value_is_what_it_was(case: tuple[list[tuple[str, int]], dict[str, Any]]) -> None:
    inputs, columns = case
    model = graph(inputs).SerializeToString()
    feeds = {name: values.reshape(-1, 1) for name, values in columns.items()}
    expected = onnxruntime.InferenceSession(model).run(None, feeds)[0]
    np.testing.assert_array_equal(Graph(model).run(columns), expected)


def beside(
    groups: Sequence[Sequence[str]], kinds: dict[str, int], *, axis: int = 1, told: Sequence[int] = (), lone: str = ""
) -> onnx.ModelProto:
    """Lays groups of columns side by side, and those side by side as float32. `told`: the groups that are outputs
    too; `lone`: a column that is also taken by itself.
    """
    nodes = [helper.make_node("Concat", group, [f"group {n}"], axis=axis) for n, group in enumerate(groups)]
    nodes += [helper.make_node("Cast", [f"group {n}"], [f"float {n}"], to=FLOAT) for n in range(len(groups))]
    parts = [f"float {n}" for n in range(len(groups))]
    if lone:
        nodes.append(helper.make_node("Cast", [lone], ["lone"], to=FLOAT))
        parts.append("lone")
    nodes.append(helper.make_node("Concat", parts, ["all"], axis=1))
    width = sum(map(len, groups)) + bool(lone)
    out = [helper.make_tensor_value_info("all", FLOAT, [None, width])]
    out += [helper.make_tensor_value_info(f"group {n}", kinds[groups[n][0]], [None, len(groups[n])]) for n in told]
    taken = [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in kinds.items()]
    made = helper.make_graph(nodes, "all", taken, out)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


KINDS: dict[str, int] = {"a": FLOAT, "i": INT64, "b": FLOAT, "j": INT64, "c": FLOAT, "x": DOUBLE, "never taken": FLOAT}
BY_KIND = {kind: [name for name, other in KINDS.items() if other == kind][:3] for kind in (FLOAT, INT64, DOUBLE)}
GROUPS = st.sampled_from([*BY_KIND.values()]).flatmap(lambda names: st.lists(st.sampled_from(names), min_size=1))


@given(st.data())
@PATIENT
def test_columns_that_a_graph_lays_side_by_side_come_so_and_every_value_is_what_it_was(data: st.DataObject) -> None:
    groups = data.draw(st.lists(GROUPS, min_size=1, max_size=5))
    told = data.draw(st.sets(st.integers(0, len(groups) - 1)))
    lone = data.draw(st.sampled_from(["", *KINDS]))
    model = beside(groups, KINDS, axis=data.draw(st.sampled_from([1, -1])), told=sorted(told), lone=lone)
    rows = data.draw(st.integers(0, 4))
    values = {
        name: np.arange(7 * place, 7 * place + rows).astype(NUMPY[kind])
        for place, (name, kind) in enumerate(KINDS.items())
    }
    feeds = {name: one.reshape(-1, 1) for name, one in values.items()}
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(["all"], feeds)[0]
    found = joined(model.SerializeToString())
    assert found is not None
    onnx.checker.check_model(onnx.load_from_string(found.model))
    laid = [list(group) for n, group in enumerate(groups) if n not in told]
    assert [list(names) for name, names in found.columns.items() if name.startswith("group")] == laid
    it = Graph(model.SerializeToString())
    assert set(it.inputs) == set(KINDS)
    np.testing.assert_array_equal(it.run(values), expected)


def test_columns_that_lie_side_by_side_need_no_node() -> None:
    found = joined(beside([["c", "a"], ["i", "j"]], KINDS, lone="b").SerializeToString())
    assert found is not None
    assert found.columns == {
        "group 0": ("c", "a"),
        "group 1": ("i", "j"),
        "lockstep/tensor(float)": ("b", "never taken"),
    }
    after = onnx.load_from_string(found.model)
    assert [node.op_type for node in after.graph.node] == ["Split", "Cast", "Cast", "Cast", "Concat"]
    assert [one.name for one in after.graph.input] == ["x", *found.columns]


def test_graphs_within_a_graph_keep_the_names_that_they_may_use() -> None:
    model = beside([["a", "b"]], {"a": FLOAT, "b": FLOAT})
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    branch = helper.make_graph(
        [helper.make_node("Concat", ["group 0", "a"], ["branch"], axis=1)],
        "branch",
        [],
        [helper.make_tensor_value_info("branch", FLOAT, None)],
    )
    either = helper.make_node("If", ["yes"], ["either"], then_branch=branch, else_branch=branch)
    model.graph.node.extend([yes, either])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("either", FLOAT, None))
    found = joined(model.SerializeToString())
    assert found is not None
    assert list(found.columns.values()) == [("a", "b")]
    columns = {"a": np.array([1], np.float32), "b": np.array([2], np.float32)}
    assert Graph(model.SerializeToString()).run(columns).tolist() == [[1.0, 2.0, 1.0]]


@pytest.mark.parametrize("change", ["axis", "domain", "kinds", "name", "twice"])
def test_a_node_that_does_anything_else_stays(change: str) -> None:
    model = beside([["a", "b"]], {"a": FLOAT, "b": DOUBLE if change == "kinds" else FLOAT, "c": FLOAT})
    node = model.graph.node[0]
    if change == "axis":
        node.attribute[0].i = 0
    elif change == "domain":
        node.domain = "someone.elses"
    elif change == "name":
        node.output[0] = "lockstep/tensor(float)"
    elif change == "twice":
        model.graph.node.append(node)
    found = joined(model.SerializeToString())
    assert found is not None
    assert [one.op_type for one in onnx.load_from_string(found.model).graph.node[:2]] == ["Split", "Concat"]


def test_columns_of_a_type_become_one_input_and_all_else_stays() -> None:
    before = graph(MIXED)
    found = joined(before.SerializeToString())
    assert found is not None
    assert found.columns == {"lockstep/tensor(float)": ("a", "b", "c"), "lockstep/tensor(int64)": ("i", "j")}
    after = onnx.load_from_string(found.model)
    onnx.checker.check_model(after)
    assert [one.name for one in after.graph.input] == ["site", "x", *found.columns]
    assert [node.op_type for node in after.graph.node[:2]] == ["Split", "Split"]
    assert list(after.graph.node[2:]) == list(before.graph.node)
    assert (after.graph.output, after.opset_import) == (before.graph.output, before.opset_import)
    it = Graph(before.SerializeToString())
    assert sorted(it.inputs) == sorted(name for name, _ in MIXED)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(graph([("a", FLOAT), ("i", INT64), ("site", STRING)]), id="none of a type"),
        pytest.param(graph([("a", FLOAT), ("b", FLOAT)], opset=11), id="older operators"),
        pytest.param(graph([("a", FLOAT), ("b", FLOAT)], rows=3), id="a fixed number of rows"),
        pytest.param(graph([("lockstep/a", FLOAT), ("b", FLOAT)]), id="names that could be ours"),
    ],
)
def test_what_cannot_be_joined_is_left_as_it_is(model: onnx.ModelProto) -> None:
    assert joined(model.SerializeToString()) is None


def test_an_input_that_may_be_left_out_is_none_of_the_columns() -> None:
    default = helper.make_tensor("b", FLOAT, [1, 1], [4.0])
    model = graph([("a", FLOAT), ("b", FLOAT), ("c", FLOAT)], initializers=[default]).SerializeToString()
    found = joined(model)
    assert found is not None
    assert list(found.columns.values()) == [("a", "c")]
    it = Graph(model)
    assert sorted(it.inputs) == ["a", "c"]
    assert it.run({"a": np.array([1], np.float32), "c": np.array([3], np.float32)}).tolist() == [[1.0, 4.0, 3.0]]


def test_what_is_wrong_is_said_of_the_model_as_it_was_published() -> None:
    model = graph([("a", FLOAT), ("b", FLOAT)])
    model.graph.node[0].op_type = "Caste"
    with pytest.raises(BundleRefused, match="Caste"):
        Graph(model.SerializeToString())


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"a": np.zeros(2, np.float32), "b": np.zeros(1, np.float32)}, id="lengths"),
        pytest.param({"a": np.zeros(2, np.float32), "b": np.zeros(2)}, id="types"),
    ],
)
def test_columns_that_do_not_go_together_are_an_error(columns: dict[str, Any]) -> None:
    model = Graph(graph([("a", FLOAT), ("b", FLOAT)]).SerializeToString())
    with pytest.raises(Exception, match=r"inhomogeneous|tensor\(double\)"):
        model.run(columns)


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
@PATIENT
def test_no_bytes_raise_anything_but_a_refusal(content: bytes, place: int, byte: int) -> None:
    whole = graph(MIXED).SerializeToString()
    place %= len(whole)
    for model in (content, whole[:place] + bytes([byte]) + whole[place + 1 :]):
        joined(model)
        try:
            Graph(model)
        except BundleRefused:
            continue
