"""Trees that are added up in C give the bits of ONNX Runtime, and what is no such sum stays with it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier

from lockstep import trees
from lockstep.compiled import core
from lockstep.errors import BundleRefused
from lockstep.graph import ONNX_ERRORS, Graph
from lockstep.trees import END, LEAF, MOST_LEAVES, cut
from training.trees import ensemble

pytestmark = pytest.mark.skipif(core is None, reason="lockstep._core is not compiled here: pip install -e . with gcc")

PATIENT = settings(deadline=None)
WIDTH = 5
LARGEST = float(np.finfo(np.float32).max)
GRID = np.array([-np.inf, -LARGEST, -1.5, -1e-45, 0.0, 1e-45, 0.1, 0.5, 1.0, 16777216.0, LARGEST, np.inf], np.float32)
"""What features are; thresholds lie on them, and a little beside."""

Edit = Callable[[onnx.ModelProto], None]


class Nodes:
    """The attributes of an ensemble, filled tree by tree."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.lists: dict[str, list[Any]] = {
            name: [] for name in ("modes", "features", "values", "true", "false", "nan")
        }
        self.tree_of: list[int] = []
        self.id_of: list[int] = []

    def grow(self, leaves: int, split: Callable[[int], int]) -> None:
        """A tree of so many leaves; `split` says how many of them go to the left."""
        self.number = self.tree_of[-1] + 1 if self.tree_of else 0
        self.nodes = 0
        self._node(leaves, split)

    def _node(self, leaves: int, split: Callable[[int], int]) -> int:
        place, own, rng = len(self.tree_of), self.nodes, self.rng
        self.nodes += 1
        self.tree_of.append(self.number)
        self.id_of.append(own)
        is_leaf = leaves == 1
        self._add(modes="LEAF" if is_leaf else "BRANCH_LEQ", features=0 if is_leaf else int(rng.integers(WIDTH)))
        self._add(values=_near(rng) if not is_leaf else rng.normal(), nan=int(rng.integers(2)), true=0, false=0)
        if not is_leaf:
            left = split(leaves)
            self.lists["true"][place] = self._node(left, split)
            self.lists["false"][place] = self._node(leaves - left, split)
        return own

    def _add(self, **values: Any) -> None:
        for name, value in values.items():
            self.lists[name].append(value)

    def attributes(self, base: float) -> dict[str, Any]:
        """As TreeEnsembleRegressor has them."""
        lists, leaf = self.lists, [place for place, mode in enumerate(self.lists["modes"]) if mode == "LEAF"]
        return {
            "n_targets": 1,
            "aggregate_function": "SUM",
            "nodes_treeids": self.tree_of,
            "nodes_nodeids": self.id_of,
            "nodes_modes": lists["modes"],
            "nodes_featureids": lists["features"],
            "nodes_values_as_tensor": tensor(
                [0.0 if place in leaf else lists["values"][place] for place in range(len(lists["modes"]))]
            ),
            "nodes_truenodeids": lists["true"],
            "nodes_falsenodeids": lists["false"],
            "nodes_missing_value_tracks_true": lists["nan"],
            "target_treeids": [self.tree_of[place] for place in leaf],
            "target_nodeids": [self.id_of[place] for place in leaf],
            "target_ids": [0] * len(leaf),
            "target_weights_as_tensor": tensor([lists["values"][place] for place in leaf]),
            "base_values_as_tensor": tensor([base]),
        }


def _near(rng: np.random.Generator) -> float:
    """A threshold on a feature's value, next to it among the float64, beyond all float32, or anywhere."""
    value = float(rng.choice(GRID))
    kinds = (
        value,
        np.nextafter(value, -np.inf),
        np.nextafter(value, np.inf),
        rng.choice([-1e300, 1e300]),
        rng.normal(),
    )
    return float(kinds[rng.integers(len(kinds))])


def tensor(values: Sequence[float] | float, dtype: Any = np.float64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype), "values")


def drawn(rng: np.random.Generator, count: int = 7, leaves: int = 9, base: float = 0.25) -> dict[str, Any]:
    """The attributes of some trees of one to so many leaves."""
    nodes = Nodes(rng)
    for _ in range(count):
        nodes.grow(int(rng.integers(1, leaves + 1)), lambda among: int(rng.integers(1, among)))
    return nodes.attributes(base)


def model(attributes: dict[str, Any], width: int = WIDTH) -> onnx.ModelProto:
    """Columns, laid side by side, cast, through the trees."""
    names = [f"c{place}" for place in range(width)]
    nodes = [
        helper.make_node("Concat", names, ["features"], axis=1),
        helper.make_node("Cast", ["features"], ["double"], to=TensorProto.DOUBLE),
        helper.make_node("TreeEnsembleRegressor", ["double"], ["raw"], domain="ai.onnx.ml", **attributes),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    outputs = [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [None, 1])]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph(nodes, "trees", inputs, outputs), opset_imports=opsets, ir_version=9)


def columns(rng: np.random.Generator, rows: int, width: int = WIDTH) -> dict[str, NDArray[np.float32]]:
    """Values of the grid, NaN among them, and others."""
    kinds = [rng.choice(GRID, rows), rng.choice([np.nan, 0.5], rows), rng.normal(size=rows)]
    return {f"c{place}": np.choose(rng.integers(3, size=rows), kinds).astype(np.float32) for place in range(width)}


def by_onnx_runtime(
    content: bytes, given: Mapping[str, NDArray[Any]], *, as_it_is: bool = False
) -> NDArray[np.float32]:
    """The output of the graph as it was published; `as_it_is`: every node by itself, none taken out or fused."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if as_it_is:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feeds = {one.name: given[one.name].reshape(-1, 1) for one in session.get_inputs()}
    out: NDArray[np.float32] = session.run(None, feeds)[0]
    return out


def assert_runs_as_by_onnx_runtime(graph: Graph, content: bytes, given: Mapping[str, NDArray[Any]]) -> None:
    """The same scores, or none."""
    try:
        expected = by_onnx_runtime(content, given)
    except ONNX_ERRORS:
        with pytest.raises((*ONNX_ERRORS, ValueError)):
            graph.run(given)
    else:
        np.testing.assert_array_equal(graph.run(given), expected)


@given(
    st.integers(0, 2**32),
    st.integers(1, 20),
    st.integers(1, 12),
    st.sampled_from([1, 2, 8, 9, 63, 64, 65, 72, 73, 200]),
)
@PATIENT
def test_every_bit_is_that_of_onnx_runtime(seed: int, count: int, leaves: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    content = model(drawn(rng, count, leaves, base=rng.normal())).SerializeToString()
    graph, given = Graph(content), columns(rng, rows)
    assert graph._trees is not None
    expected = by_onnx_runtime(content, given)
    np.testing.assert_array_equal(graph.run(given), expected)
    np.testing.assert_array_equal(graph.raw(given), expected.reshape(-1).astype(np.float64))
    assert graph.raw(given).dtype == np.float64
    assert graph.model == content


def test_trees_of_a_fitted_classifier_with_missing_values() -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(3000, WIDTH)).astype(np.float32)
    X[rng.random(X.shape) < 0.2] = np.nan
    y = (np.nan_to_num(X[:, 0]) + rng.normal(size=len(X)) > 0) | np.isnan(X[:, 1])
    fitted = HistGradientBoostingClassifier(max_iter=40).fit(X, y)
    (attributes,) = (node.attribute for node in ensemble(fitted, "features", "raw").node if node.domain)
    content = model({one.name: helper.get_attribute_value(one) for one in attributes}).SerializeToString()
    graph, given = Graph(content), {f"c{place}": np.ascontiguousarray(X[:, place]) for place in range(WIDTH)}
    assert graph._trees is not None
    np.testing.assert_array_equal(graph.run(given), by_onnx_runtime(content, given))


def test_no_rows_have_no_scores() -> None:
    rng = np.random.default_rng(1)
    assert Graph(model(drawn(rng)).SerializeToString()).raw(columns(rng, 0)).shape == (0,)


@pytest.mark.parametrize("split", [lambda leaves: 1, lambda leaves: leaves - 1, lambda leaves: leaves // 2])
@pytest.mark.parametrize(("leaves", "is_cut"), [(MOST_LEAVES, True), (MOST_LEAVES + 1, False)])
def test_a_tree_of_many_leaves_in_every_shape(split: Callable[[int], int], leaves: int, is_cut: bool) -> None:
    rng = np.random.default_rng(3)
    nodes = Nodes(rng)
    nodes.grow(leaves, split)
    content = model(nodes.attributes(0.0)).SerializeToString()
    graph, given = Graph(content), columns(rng, 100)
    assert (graph._trees is not None) == is_cut
    np.testing.assert_array_equal(graph.run(given), by_onnx_runtime(content, given))


def attribute(found: onnx.ModelProto, name: str) -> onnx.AttributeProto:
    one: onnx.AttributeProto
    (one,) = (one for one in found.graph.node[-1].attribute if one.name == name)
    return one


def without(name: str) -> Edit:
    """Takes an attribute away."""
    return lambda found: found.graph.node[-1].attribute.remove(attribute(found, name))


def having(name: str, value: Any) -> Edit:
    """Adds an attribute, or gives it another value."""

    def edit(found: onnx.ModelProto) -> None:
        if any(one.name == name for one in found.graph.node[-1].attribute):
            without(name)(found)
        found.graph.node[-1].attribute.append(helper.make_attribute(name, value))

    return edit


def comparing(mode: str) -> Edit:
    """Lets every comparison be of another kind."""

    def edit(found: onnx.ModelProto) -> None:
        modes = attribute(found, "nodes_modes").strings
        modes[:] = [one if one == b"LEAF" else mode.encode() for one in modes]

    return edit


def in_float32(found: onnx.ModelProto) -> None:
    """Trees of float32, without the cast."""
    for name in ("nodes_values", "target_weights", "base_values"):
        values = np.clip(numpy_helper.to_array(attribute(found, f"{name}_as_tensor").t), -1e30, 1e30).tolist()
        without(f"{name}_as_tensor")(found)
        having(name, values)(found)
    found.graph.node[-1].input[0] = "features"
    del found.graph.node[-2]


def followed(found: onnx.ModelProto) -> None:
    """By a node after the trees."""
    found.graph.node[-1].output[0] = "sum"
    found.graph.node.append(helper.make_node("Neg", ["sum"], ["raw"]))


def numbered_backwards(found: onnx.ModelProto) -> None:
    """The trees' numbers from the highest down."""
    for name in ("nodes_treeids", "target_treeids"):
        numbers = attribute(found, name).ints
        numbers[:] = [max(numbers) - number for number in numbers]


def of_doubles(found: onnx.ModelProto) -> None:
    """Features of float64."""
    for one in found.graph.input:
        one.type.tensor_type.elem_type = TensorProto.DOUBLE


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(having("aggregate_function", "MAX"), id="the highest leaf"),
        pytest.param(having("post_transform", "LOGISTIC"), id="a probability"),
        pytest.param(comparing("BRANCH_LT"), id="less than"),
        pytest.param(comparing("BRANCH_GT"), id="greater than"),
        pytest.param(in_float32, id="float32"),
        pytest.param(followed, id="a node after them"),
        pytest.param(numbered_backwards, id="numbered backwards"),
        pytest.param(of_doubles, id="features of float64"),
    ],
)
def test_what_is_another_sum_stays_with_onnx_runtime(edit: Edit) -> None:
    rng = np.random.default_rng(5)
    found = model(drawn(rng))
    edit(found)
    graph, given = Graph(found.SerializeToString()), columns(rng, 100)
    if edit is of_doubles:
        given = {name: values.astype(np.float64) for name, values in given.items()}
    assert graph._trees is None
    np.testing.assert_array_equal(graph.run(given), by_onnx_runtime(found.SerializeToString(), given))


@pytest.mark.parametrize("name", ["nodes_missing_value_tracks_true", "base_values_as_tensor"])
def test_what_may_be_left_out_may_be_left_out(name: str) -> None:
    rng = np.random.default_rng(6)
    found = model(drawn(rng))
    without(name)(found)
    graph, given = Graph(found.SerializeToString()), columns(rng, 100)
    assert graph._trees is not None
    np.testing.assert_array_equal(graph.run(given), by_onnx_runtime(found.SerializeToString(), given))


def places(name: str, *changes: tuple[int, int]) -> Edit:
    """Gives some entries of a list of integers another value."""

    def edit(found: onnx.ModelProto) -> None:
        for place, value in changes:
            attribute(found, name).ints[place] = value

    return edit


def sized(name: str, *dims: int) -> Edit:
    """Lets a tensor say that it has another shape."""

    def edit(found: onnx.ModelProto) -> None:
        attribute(found, name).t.dims[:] = dims

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(places("nodes_truenodeids", (0, 0)), id="a node below itself"),
        pytest.param(places("nodes_truenodeids", (0, 99)), id="a node that is none"),
        pytest.param(places("nodes_truenodeids", (0, -1)), id="a node before the first"),
        pytest.param(places("nodes_falsenodeids", (0, 1)), id="a node below another one twice"),
        pytest.param(places("nodes_featureids", (0, -1)), id="a feature before the first"),
        pytest.param(places("nodes_treeids", (0, -1)), id="a tree before the first"),
        pytest.param(places("nodes_treeids", (0, 2**62)), id="a tree that is none"),
        pytest.param(places("nodes_nodeids", (0, 1)), id="two nodes of one number"),
        pytest.param(places("target_ids", (0, 1)), id="another target"),
        pytest.param(places("target_nodeids", (0, 0)), id="a leaf that is none"),
        pytest.param(places("target_treeids", (0, 9)), id="a leaf of a tree that is none"),
        pytest.param(having("target_ids", [0]), id="too few leaves"),
        pytest.param(having("nodes_modes", ["BRANCH_LEQ"]), id="too few modes"),
        pytest.param(having("nodes_modes", [1, 2]), id="modes that are numbers"),
        pytest.param(having("nodes_treeids", ["a"]), id="numbers that are texts"),
        pytest.param(having("n_targets", 2), id="two targets"),
        pytest.param(having("nodes_hitrates", [1.0]), id="what is not known"),
        pytest.param(having("base_values_as_tensor", tensor([1.0, 2.0])), id="two bases"),
        pytest.param(having("base_values_as_tensor", tensor([1.0], np.float32)), id="a base of float32"),
        pytest.param(having("base_values_as_tensor", tensor(1.0)), id="a base of no dimensions"),
        pytest.param(sized("base_values_as_tensor", 2), id="a base that is shorter than it says"),
        pytest.param(sized("target_weights_as_tensor", 3), id="leaves that are more than they say"),
        pytest.param(sized("nodes_values_as_tensor"), id="thresholds that do not say how many they are"),
        pytest.param(having("target_weights_as_tensor", tensor([np.nan] * 4)), id="leaves that are no numbers"),
        pytest.param(without("nodes_featureids"), id="no features"),
    ],
)
def test_trees_that_are_none_are_not_cut(edit: Edit) -> None:
    nodes = Nodes(np.random.default_rng(2))
    nodes.grow(4, lambda leaves: leaves // 2)
    found = model(nodes.attributes(0.0))
    assert cut(found.SerializeToString()) is not None
    edit(found)
    assert cut(found.SerializeToString()) is None


def test_without_c_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    content = model(drawn(np.random.default_rng(1))).SerializeToString()
    monkeypatch.setattr(trees, "core", None)
    assert cut(content) is None
    assert Graph(content)._trees is None


@pytest.mark.parametrize("way", [2, -1, 1, 0])
def test_nan_goes_the_way_that_onnx_runtime_takes_whatever_number_says_so(way: int) -> None:
    rng = np.random.default_rng(8)
    found = model(drawn(rng))
    numbers = attribute(found, "nodes_missing_value_tracks_true").ints
    numbers[:] = [way] * len(numbers)
    graph, given = Graph(found.SerializeToString()), columns(rng, 100)
    assert graph._trees is not None
    np.testing.assert_array_equal(graph.run(given), by_onnx_runtime(found.SerializeToString(), given))


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda found: found.opset_import.pop(), id="an operator of no version"),
        pytest.param(having("n_targets", [1]), id="a number in a list"),
        pytest.param(
            lambda found: found.graph.initializer.append(helper.make_tensor("raw", TensorProto.FLOAT, [1], [0.0])),
            id="an output that is a constant too",
        ),
        pytest.param(
            lambda found: found.graph.output[0].type.tensor_type.__setattr__("elem_type", TensorProto.DOUBLE),
            id="an output of another type",
        ),
    ],
)
def test_what_onnx_runtime_refuses_is_refused(edit: Edit) -> None:
    found = model(drawn(np.random.default_rng(4)))
    edit(found)
    assert cut(found.SerializeToString()) is not None, "for the trees alone it would be in order"
    with pytest.raises(BundleRefused, match="ONNX Runtime cannot load the model"):
        Graph(found.SerializeToString())


def test_names_that_are_no_utf8_are_left_to_onnx_runtime() -> None:
    rng = np.random.default_rng(9)
    content = model(drawn(rng)).SerializeToString().replace(b"\x08features", b"\x08\xffeatures")
    given = columns(rng, 20)
    assert cut(content) is None
    np.testing.assert_array_equal(Graph(content).run(given), by_onnx_runtime(content, given))


@given(st.integers(0, 2**32), st.integers(0, 100_000), st.integers(0, 255))
@PATIENT
def test_no_byte_makes_a_score_another_one(seed: int, place: int, byte: int) -> None:
    rng = np.random.default_rng(seed)
    whole = model(drawn(rng, count=3, leaves=4)).SerializeToString()
    place %= len(whole)
    changed, given = whole[:place] + bytes([byte]) + whole[place + 1 :], columns(rng, 20)
    cut(changed)
    with suppress(BundleRefused):  # anything else is a defect
        graph = Graph(changed)
        if graph._trees is None:
            return  # it is ONNX Runtime's, which never comes to the end of a tree that is a circle
        if set(graph.inputs) <= set(given):
            assert_runs_as_by_onnx_runtime(graph, changed, given)


ROOT = ([LEAF, LEAF, 0, END], [1.0, 2.0, 0.5, 0.0], [False] * 4)


@pytest.mark.parametrize(
    ("steps", "columns_", "problem"),
    [
        pytest.param([LEAF, END, LEAF], [0], ValueError, id="a tree without an end"),
        pytest.param([LEAF, LEAF, END], [0], ValueError, id="two parts at an end"),
        pytest.param([END], [0], ValueError, id="an end of nothing"),
        pytest.param([LEAF, 0, END], [0], ValueError, id="a comparison of one part"),
        pytest.param([LEAF, LEAF, 1, END], [0], ValueError, id="a column that is none"),
        pytest.param([LEAF, LEAF, -3, END], [0], ValueError, id="a step that is none"),
        pytest.param([*[LEAF] * 65, *[0] * 64, END], [0], ValueError, id="too deep"),
        pytest.param([LEAF, LEAF, 0, END], [-1], ValueError, id="a feature before the first"),
        pytest.param([LEAF, LEAF, 0, END], [2**31], ValueError, id="a feature beyond all"),
        pytest.param([[LEAF]], [0], TypeError, id="another shape"),
    ],
)
def test_c_refuses_what_is_no_program(steps: list[Any], columns_: list[int], problem: type[Exception]) -> None:
    values, missing = np.zeros(len(steps)), np.zeros(len(steps), np.bool_)
    with pytest.raises(problem):
        core.link_trees(np.array(columns_), np.array(steps), values, missing, 0.0)


def test_c_refuses_features_that_are_too_few_or_no_float32() -> None:
    linked = core.link_trees(np.array([3]), np.array(ROOT[0]), np.array(ROOT[1]), np.array(ROOT[2]), 0.5)
    assert core.sum_trees(linked, np.zeros((2, 4), np.float32)).tolist() == [[1.5], [1.5]]
    with pytest.raises(ValueError, match="do not fit"):
        core.sum_trees(linked, np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match="features"):
        core.sum_trees(linked, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="PyCapsule"):
        core.sum_trees(object(), np.zeros((2, 4), np.float32))
    with pytest.raises(TypeError, match="takes 2 arguments"):
        core.sum_trees(linked)
    with pytest.raises(ValueError, match="do not fit"):
        core.link_trees(np.array([3]), np.array(ROOT[0]), np.array(ROOT[1])[:-1], np.array(ROOT[2]), 0.5)
