"""What comes before the trees gives in C the bits of ONNX Runtime, and what is not known there is left to it."""

from collections.abc import Callable
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lockstep import front as fronts
from lockstep.compiled import core
from lockstep.errors import BundleRefused
from lockstep.front import F32, F64, FLAG, I64, TEXT, Front, front
from lockstep.graph import Graph
from lockstep.trees import cut
from tests.lockstep.test_trees import assert_runs_as_by_onnx_runtime, by_onnx_runtime, drawn

pytestmark = pytest.mark.skipif(core is None, reason="lockstep._core is not compiled here: pip install -e . with gcc")

PATIENT = settings(deadline=None)
ELEMENT = {
    F32: TensorProto.FLOAT,
    F64: TensorProto.DOUBLE,
    I64: TensorProto.INT64,
    FLAG: TensorProto.BOOL,
    TEXT: TensorProto.STRING,
}
NUMPY: dict[int, Any] = {F32: np.float32, F64: np.float64, I64: np.int64, TEXT: object}
LARGEST = float(np.finfo(np.float32).max)
GRID = [0.0, -0.0, 1.0, -1.5, 0.1, 1e-45, -1e-40, 3.0, 16777217.0, LARGEST, -LARGEST, np.inf, -np.inf, np.nan, np.nan]
WHOLE = [0, 1, -1, 2, 3, 2**53 + 1, -(2**63), 2**63 - 1]
WORDS = ["a", "b", "ab", "ä", "a10", "#", "漢字", "x" * 70]
ROWS = st.sampled_from([1, 2, 3, 31, 32, 33, 64, 65, 200])

Table = tuple[str, int, int]
"""A value of a graph: name, type and width."""


class Drawing:
    """A graph that grows by nodes which C knows."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: dict[str, int] = {}
        for name, type_ in (("f", F32), ("g", F32), ("d", F64), ("i", I64), ("j", I64), ("t", TEXT)):
            self.inputs[name] = type_
        self.tables: list[Table] = [(name, type_, 1) for name, type_ in self.inputs.items() if type_ != TEXT]
        self.tables.append(self.node("Concat", ["f", "g"], F32, 2, axis=1))
        self.tables.append(self.node("Concat", ["j", "i", "j"], I64, 3, axis=-1))

    def node(
        self, operator: str, inputs: list[str], type_: int, width: int, domain: str = "", **attributes: Any
    ) -> Table:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name, type_, width

    def constant(self, values: Any, dtype: Any) -> str:
        name = f"k{len(self.constants)}"
        array = np.array(values, dtype)
        if self.rng.integers(2):
            made = numpy_helper.from_array(array, name)
        else:
            made = helper.make_tensor(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.reshape(-1)
            )
        self.constants.append(made)
        return name

    def some(self, *types: int) -> Table:
        found = [one for one in self.tables if one[1] in types]
        return found[self.rng.integers(len(found))]

    def beside(self, table: Table) -> tuple[str, int]:
        """What meets a table: a constant, or one of its type and width, or of one column."""
        _, type_, width = table
        others = [one for one in self.tables if one[1] == type_ and (one[2] in (1, width) or width == 1)]
        if self.rng.integers(2):
            name, _, other = others[self.rng.integers(len(others))]
            return name, max(width, other)
        shape: Any = [(), (1,), (width,), (1, width), (1, 1)][self.rng.integers(5)]
        return self.constant(self.rng.choice(WHOLE if type_ == I64 else GRID, shape), NUMPY[type_]), width

    def both(self, table: Table) -> tuple[list[str], int]:
        other, width = self.beside(table)
        pair = [table[0], other]
        return (pair if self.rng.integers(2) else pair[::-1]), width

    def grow(self) -> None:
        rng = self.rng
        match rng.integers(12):
            case 0:
                one = self.some(F32, F64)
                self.tables.append(self.node("IsNaN", [one[0]], FLAG, one[2]))
            case 1 | 2:
                one = self.some(F32, F64)
                flags = [each for each in self.tables if each[1] == FLAG and (each[2] in (1, one[2]) or one[2] == 1)]
                if flags:
                    flag = flags[rng.integers(len(flags))]
                    names, width = self.both(one)
                    if flag[2] in (1, width) or width == 1:
                        self.tables.append(self.node("Where", [flag[0], *names], one[1], max(width, flag[2])))
            case 3 | 4:
                one = self.some(F32, F64)
                names, width = self.both(one)
                operator = ["Add", "Sub", "Mul", "Div"][rng.integers(4)]
                self.tables.append(self.node(operator, names, one[1], width))
            case 5:
                one = self.some(F32, F64, I64)
                names, width = self.both(one)
                self.tables.append(self.node("Equal", names, FLAG, width))
            case 6:
                one, to = self.some(F32, F64, I64, FLAG), int(rng.choice([F32, F64]))
                self.tables.append(self.node("Cast", [one[0]], to, one[2], to=ELEMENT[to]))
            case 7:
                one = self.some(F32, F64, I64)
                places = rng.integers(-one[2], one[2], rng.integers(1, 6))
                made = [one[0], self.constant(places, np.int64)]
                self.tables.append(self.node("Gather", made, one[1], len(places), axis=int(rng.choice([1, -1]))))
            case 8:
                one = self.some(F32, F64)
                self.tables.append(self.node("Sqrt", [one[0]], one[1], one[2]))
            case 9:
                one, wide = self.some(F64), int(rng.integers(1, 6))
                matrix = self.constant(rng.normal(size=(one[2], wide)), np.float64)
                self.tables.append(self.node("MatMul", [one[0], matrix], F64, wide))
            case 10:
                one = self.some(F64)
                made = [one[0], self.constant(rng.choice([1, -1], [(), (1,)][rng.integers(2)]), np.int64)]
                self.tables.append(self.node("CumSum", made, F64, one[2]))
            case _:
                self.count_words()

    def count_words(self) -> None:
        """The words of the text, with something done to their counts before every row gets its own."""
        rng, name = self.rng, f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node("Unique", ["t"], [f"{name}/x", "", f"{name}/which"], sorted=int(rng.integers(2)))
        )
        pool = [word for word in rng.permutation(WORDS).tolist() if word != "#"][: rng.integers(1, 7)]
        tokens = self.node(
            "Tokenizer",
            [f"{name}/x"],
            TEXT,
            1,
            domain="com.microsoft",
            mark=0,
            mincharnum=1,
            pad_value="#",
            tokenexp="[^ ]+",
        )
        counted = self.node(
            "TfIdfVectorizer",
            [tokens[0]],
            F32,
            len(pool),
            mode="TF",
            min_gram_length=1,
            max_gram_length=1,
            max_skip_count=0,
            ngram_counts=[0],
            ngram_indexes=rng.permutation(len(pool)).tolist(),
            pool_strings=pool,
            weights=[1.0] * len(pool),
        )
        weights = self.constant(rng.choice(GRID, len(pool)), np.float32)
        weighed = self.node("Mul", [counted[0], weights], F32, len(pool))
        each = self.node("Identity", [weighed[0]], F32, len(pool))
        self.tables.append(self.node("Gather", [each[0], f"{name}/which"], F32, len(pool), axis=0))

    def model(self) -> onnx.ModelProto:
        """All tables as float32 side by side, and trees on them."""
        parts = [one if one[1] == F32 else self.node("Cast", [one[0]], F32, one[2], to=1) for one in self.tables]
        features, _, _ = self.node("Concat", [name for name, *_ in parts], F32, sum(one[2] for one in parts), axis=1)
        nodes = [
            *self.nodes,
            helper.make_node("Cast", [features], ["double"], to=TensorProto.DOUBLE),
            helper.make_node("TreeEnsembleRegressor", ["double"], ["raw"], domain="ai.onnx.ml", **drawn(self.rng)),
        ]
        inputs = [helper.make_tensor_value_info(name, ELEMENT[type_], [None, 1]) for name, type_ in self.inputs.items()]
        outputs = [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [None, 1])]
        domains = {"": 18, "ai.onnx.ml": 3, "com.microsoft": 1}
        opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
        graph = helper.make_graph(nodes, "front", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def drawing(seed: int, nodes: int = 12) -> onnx.ModelProto:
    made = Drawing(np.random.default_rng(seed))
    for _ in range(nodes):
        made.grow()
    return made.model()


def columns(seed: int, rows: int) -> dict[str, NDArray[Any]]:
    """Values of the grids and others, and texts of no word, one, several, with spaces anywhere."""
    rng = np.random.default_rng(seed)
    texts = [
        rng.choice(["", " ", "  "]) + rng.choice([" ", "  "]).join(rng.choice(WORDS, rng.integers(6)))
        for _ in range(rows)
    ]
    floats = [np.where(rng.random(rows) < 0.5, rng.choice(GRID, rows), rng.normal(size=rows)) for _ in range(3)]
    wholes = [rng.choice(WHOLE, rows) for _ in range(2)]
    with np.errstate(over="ignore"):
        narrow = [one.astype(np.float32) for one in floats[:2]]
    return {
        "f": narrow[0],
        "g": narrow[1],
        "d": floats[2],
        "i": wholes[0],
        "j": wholes[1],
        "t": np.array([str(text) for text in texts], object),
    }


def before_trees(content: bytes) -> bytes:
    found = cut(content)
    assert found is not None
    return found[0]


def assert_same_bits(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """NaN is NaN, whatever its bits."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    number = ~(np.isnan(found) & np.isnan(expected))
    np.testing.assert_array_equal(found.view(np.uint32)[number], expected.view(np.uint32)[number])


@given(st.integers(0, 2**32), ROWS)
@settings(deadline=None, max_examples=300)
def test_every_bit_is_that_of_onnx_runtime(seed: int, rows: int) -> None:
    content = before_trees(drawing(seed).SerializeToString())
    made, columns_ = front(content), columns(seed + 1, rows)
    assume(made is not None)  # seven in eight
    assert made is not None
    found = made(columns_)
    assert found is not None
    assert_same_bits(found, by_onnx_runtime(content, columns_))
    assert_same_bits(found, by_onnx_runtime(content, columns_, as_it_is=True))


@given(st.integers(0, 2**32), ROWS)
@PATIENT
def test_scores_are_those_of_the_whole_graph(seed: int, rows: int) -> None:
    content, columns_ = drawing(seed).SerializeToString(), columns(seed + 1, rows)
    assume(front(before_trees(content)) is not None)
    graph = Graph(content)
    assert graph._front is not None
    np.testing.assert_array_equal(graph.run(columns_), by_onnx_runtime(content, columns_))


def test_rows_score_the_same_alone_and_in_any_company() -> None:
    made, given_ = front(before_trees(drawing(2, nodes=20).SerializeToString())), columns(6, 100)
    assert made is not None
    whole = made(given_)
    assert whole is not None
    for row in (0, 31, 32, 99):
        alone = made({name: values[row : row + 1] for name, values in given_.items()})
        assert alone is not None
        assert_same_bits(alone, whole[row : row + 1])


def test_columns_with_gaps_between_their_values_are_read_as_they_are() -> None:
    made, given_ = front(before_trees(drawing(7).SerializeToString())), columns(8, 40)
    assert made is not None
    spread = {name: np.repeat(values, 3)[::3] for name, values in given_.items()}
    one, other = made(given_), made(spread)
    assert one is not None
    assert other is not None
    assert_same_bits(one, other)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("f", np.zeros(2), id="of another type"),
        pytest.param("f", np.zeros(3, np.float32), id="of another length"),
        pytest.param("f", np.zeros((2, 1), np.float32), id="a matrix"),
        pytest.param("f", [0.0, 0.0], id="a list"),
        pytest.param("d", np.zeros(2, ">f8"), id="of the other byte order"),
        pytest.param("t", np.array(["a", None], object), id="no text"),
        pytest.param("t", np.array(["a", "b\0c"], object), id="a text with a NUL"),
        pytest.param("t", np.array(["a", "\ud800"], object), id="a text without UTF-8"),
        pytest.param("t", np.array(["a", "b"]), id="texts that are no objects"),
    ],
)
def test_other_columns_are_left_to_onnx_runtime(name: str, values: Any) -> None:
    made = front(before_trees(drawing(3).SerializeToString()))
    assert made is not None
    assert made(columns(4, 2)) is not None
    assert made({**columns(4, 2), name: values}) is None


def test_a_text_with_a_nul_is_scored_by_onnx_runtime() -> None:
    content = drawing(11, nodes=25).SerializeToString()
    given_ = {**columns(12, 3), "t": np.array(["a b", "a\0b", "ab"], object)}
    graph = Graph(content)
    assert graph._front is not None
    np.testing.assert_array_equal(graph.run(given_), by_onnx_runtime(content, given_))


def test_any_mapping_of_columns_is_taken() -> None:
    content, given_ = drawing(2, nodes=20).SerializeToString(), columns(6, 10)
    graph = Graph(content)
    assert graph._front is not None
    np.testing.assert_array_equal(graph.run(MappingProxyType(given_)), graph.run(given_))
    graph._front = None  # as where it knows no node
    np.testing.assert_array_equal(graph.run(MappingProxyType(given_)), graph.run(given_))


def test_a_missing_column_is_named() -> None:
    made, given_ = front(before_trees(drawing(3).SerializeToString())), columns(4, 2)
    assert made is not None
    del given_["d"]
    with pytest.raises(KeyError, match="d"):
        made(given_)


Edit = Callable[[onnx.GraphProto], None]


def node(graph: onnx.GraphProto, operator: str) -> Any:
    return next(one for one in graph.node if one.op_type == operator)


def attribute(graph: onnx.GraphProto, operator: str, name: str, value: Any) -> None:
    found = node(graph, operator)
    kept = [one for one in found.attribute if one.name != name]
    del found.attribute[:]
    found.attribute.extend([*kept, *([] if value is None else [helper.make_attribute(name, value)])])


def other_operator(graph: onnx.GraphProto) -> None:
    node(graph, "Sqrt").op_type = "Exp"


def narrow_product(graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.ones((2, 2), np.float32), "narrow"))
    wide = next(one for one in graph.node if one.op_type == "Concat" and list(one.input) == ["f", "g"])
    graph.node.insert(1, helper.make_node("MatMul", [wide.output[0], "narrow"], ["rotated"]))
    node(graph, "Concat")
    last = [one for one in graph.node if one.op_type == "Concat"][-1]
    last.input.append("rotated")


def counted_pad(graph: onnx.GraphProto) -> None:
    pool = next(one for one in node(graph, "TfIdfVectorizer").attribute if one.name == "pool_strings")
    attribute(graph, "Tokenizer", "pad_value", pool.strings[0])


EDITS = {
    "an operator that it does not know": other_operator,
    "a product in float32": narrow_product,
    "words by another pattern": lambda graph: attribute(graph, "Tokenizer", "tokenexp", "[a-z]+"),
    "words of two characters at least": lambda graph: attribute(graph, "Tokenizer", "mincharnum", 2),
    "marked texts": lambda graph: attribute(graph, "Tokenizer", "mark", 1),
    "a pad that is counted": counted_pad,
    "weighted counts": lambda graph: attribute(graph, "TfIdfVectorizer", "mode", "IDF"),
    "pairs of words": lambda graph: attribute(graph, "TfIdfVectorizer", "max_gram_length", 2),
    "sums from the end": lambda graph: attribute(graph, "CumSum", "reverse", 1),
    "sums without themselves": lambda graph: attribute(graph, "CumSum", "exclusive", 1),
    "rows picked": lambda graph: attribute(graph, "Gather", "axis", 0),
    "an input of two columns": lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2),
    "an input of so many rows": lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 2),
    "an input of another type": lambda graph: setattr(graph.input[0].type.tensor_type, "elem_type", TensorProto.INT32),
    "an input with a default": lambda graph: graph.initializer.append(
        numpy_helper.from_array(np.zeros((1, 1), np.float32), "f")
    ),
    "a constant that is short": lambda graph: setattr(graph.initializer[0], "raw_data", b"\0" * 3),
    "two outputs": lambda graph: graph.output.append(graph.output[0]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_other_graphs_are_left_to_onnx_runtime(edit: Edit) -> None:
    made = Drawing(np.random.default_rng(1))
    made.tables.append(made.node("Sqrt", ["d"], F64, 1))
    made.tables.append(made.node("CumSum", ["d", made.constant(1, np.int64)], F64, 1))
    made.tables.append(made.node("Gather", ["f", made.constant([0], np.int64)], F32, 1, axis=1))
    made.count_words()
    model = onnx.load_from_string(before_trees(made.model().SerializeToString()))
    assert front(model.SerializeToString()) is not None
    edit(model.graph)
    assert front(model.SerializeToString()) is None


def test_what_is_made_of_distinct_texts_is_not_mixed_with_rows() -> None:
    made = Drawing(np.random.default_rng(1))
    made.count_words()
    counts = next(one for one in made.nodes if one.op_type == "Mul").output[0]
    made.tables.append(made.node("Add", [counts, "f"], F32, made.tables[-1][2]))
    assert front(before_trees(made.model().SerializeToString())) is None


def test_what_onnx_runtime_takes_out_or_fuses_is_left_to_it() -> None:
    def known(grow: Callable[[Drawing], Table]) -> bool:
        made = Drawing(np.random.default_rng(1))
        made.tables.append(grow(made))
        return front(before_trees(made.model().SerializeToString())) is not None

    def scaled(by: float, operator: str = "Mul", shape: Any = ()) -> Callable[[Drawing], Table]:
        return lambda made: made.node(operator, ["d", made.constant(np.full(shape, by), np.float64)], F64, 1)

    def product(of: Callable[[Drawing], Table]) -> Callable[[Drawing], Table]:
        return lambda made: made.node("MatMul", [of(made)[0], made.constant([[1.5, 2.0]], np.float64)], F64, 2)

    def product_scaled(made: Drawing) -> Table:
        wide = product(scaled(2.0, "Add"))(made)
        return made.node("Div", [wide[0], made.constant([3.0], np.float64)], F64, 2)

    assert known(scaled(2.0))
    assert known(product(scaled(2.0, "Add")))
    for operator, nothing in (("Add", 0.0), ("Sub", -0.0), ("Mul", 1.0), ("Div", 1.0)):
        assert not known(scaled(nothing, operator, (1, 1)))
    assert not known(product(scaled(2.0)))
    assert not known(product(scaled(2.0, "Div", (1,))))
    assert not known(product_scaled)


def test_products_that_onnx_runtime_adds_up_in_parts_are_left_to_it() -> None:
    for inner, known in ((128, True), (129, False)):
        made = Drawing(np.random.default_rng(1))
        wide = made.node("Concat", ["d"] * inner, F64, inner, axis=1)
        matrix = made.constant(np.random.default_rng(2).normal(size=(inner, 3)), np.float64)
        made.tables.append(made.node("MatMul", [wide[0], matrix], F64, 3))
        content = before_trees(made.model().SerializeToString())
        found = front(content)
        assert (found is not None) == known
        if found is not None:
            features = found(columns(3, 50))
            assert features is not None
            assert_same_bits(features, by_onnx_runtime(content, columns(3, 50)))


def test_bytes_that_are_no_graph_are_left_to_onnx_runtime() -> None:
    assert front(b"") is None
    assert front(b"\xff\xff") is None


@given(st.integers(0, 40), st.integers(0, 100_000), st.integers(0, 255))
@settings(deadline=None, max_examples=400)
def test_no_byte_makes_a_score_another_one(seed: int, place: int, byte: int) -> None:
    whole = drawing(seed, nodes=8).SerializeToString()
    place %= len(whole)
    changed, given_ = whole[:place] + bytes([byte]) + whole[place + 1 :], columns(seed, 20)
    with suppress(BundleRefused):  # anything else is a defect
        graph = Graph(changed)
        # One that is left to ONNX Runtime is not run: where 2**56 words may be skipped between two, it never ends.
        if graph._front is None or not set(graph.inputs) <= set(given_):
            return
        assert_runs_as_by_onnx_runtime(graph, changed, given_)


def linked(**changed: Any) -> Front:
    """Two columns side by side, times 2."""
    good = {
        "names": ("a", "b"),
        "registers": [(F32, 1, -1), (F32, 1, -1), (F32, 2, -1), (F32, 1, 0), (F32, 2, -1)],
        "constants": (np.array([2.0], np.float32),),
        "steps": [(fronts.COPY, 2, 0, 0, 0, 0), (fronts.COPY, 2, 1, 1, 1, 1), (fronts.MUL, 4, 2, 3, 2, 0)],
        "words": (),
        "output": 4,
    }
    given_ = {**good, **changed}
    for name, width in (("registers", 3), ("steps", 6)):
        given_[name] = np.array(given_[name], np.int64).reshape(-1, width)
    return Front(core.link_front(*given_.values()))


def test_steps_do_what_they_say() -> None:
    found = linked()({"a": np.array([1.0, 2.0], np.float32), "b": np.array([3.0, np.nan], np.float32)})
    assert found is not None
    np.testing.assert_array_equal(found, [[2.0, 6.0], [4.0, np.nan]])
    nothing = linked()({"a": np.zeros(0, np.float32), "b": np.zeros(0, np.float32)})
    assert nothing is not None
    assert nothing.shape == (0, 2)


REGISTERS = [(F32, 1, -1), (F32, 1, -1), (F32, 2, -1), (F32, 1, 0), (F32, 2, -1)]
COPIES = [(fronts.COPY, 2, 0, 0, 0, 0), (fronts.COPY, 2, 1, 1, 1, 1)]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"output": 3}, id="an output that is a constant"),
        pytest.param({"output": 5}, id="an output that is none"),
        pytest.param({"output": 0}, id="an output that is an input"),
        pytest.param({"steps": COPIES}, id="an output that nothing writes"),
        pytest.param({"steps": [(fronts.MUL, 4, 2, 3, 2, 0)]}, id="a table that nothing has written"),
        pytest.param({"steps": [*COPIES, (14, 4, 2, 3, 2, 0)]}, id="a step that is none"),
        pytest.param({"steps": [*COPIES, (fronts.MUL, 4, 2, 9, 2, 0)]}, id="a register that is none"),
        pytest.param({"steps": [*COPIES, (fronts.MUL, 4, 4, 3, 2, 0)]}, id="a step that reads what it writes"),
        pytest.param({"steps": [*COPIES, (fronts.MUL, 3, 2, 2, 2, 0)]}, id="a constant that is written"),
        pytest.param({"steps": [*COPIES, (fronts.MUL, 0, 1, 3, 1, 0)]}, id="an input that is written"),
        pytest.param({"steps": [(fronts.COPY, 2, 0, 0, 0, 2)]}, id="a column behind the last"),
        pytest.param({"steps": [(fronts.COPY, 2, 0, 0, 0, -1)]}, id="a column before the first"),
        pytest.param({"steps": [*COPIES, (fronts.CAST, 4, 0, 0, 0, 0)]}, id="another width"),
        pytest.param({"steps": [*COPIES, (fronts.IS_NAN, 4, 2, 2, 2, 0)]}, id="another type"),
        pytest.param({"steps": [*COPIES, (fronts.WORDS, 4, 2, 2, 2, 0)]}, id="words of numbers"),
        pytest.param({"steps": [*COPIES, (fronts.MATMUL, 4, 2, 3, 2, 0)]}, id="a product of other types"),
        pytest.param({"steps": [*COPIES, (fronts.PICK, 4, 2, 3, 2, 0)]}, id="places that are no whole numbers"),
        pytest.param({"registers": [(F32, 2, -1), *REGISTERS[1:]]}, id="an input of two columns"),
        pytest.param({"registers": [(FLAG, 1, -1), *REGISTERS[1:]]}, id="an input of flags"),
        pytest.param({"registers": [*REGISTERS[:4], (F32, 5000, -1)]}, id="too wide"),
        pytest.param({"registers": [*REGISTERS[:4], (7, 2, -1)]}, id="a type that is none"),
        pytest.param({"registers": [*REGISTERS[:3], (F32, 1, 1), REGISTERS[4]]}, id="a constant that is none"),
        pytest.param({"registers": [*REGISTERS[:3], (F32, 2, 0), REGISTERS[4]]}, id="a constant of another width"),
        pytest.param({"words": ((b"a", b"a"),)}, id="a word twice"),
        pytest.param({"words": (("a",),)}, id="a word that is no bytes"),
    ],
)
def test_c_refuses_what_are_no_steps(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        linked(**wrong)


def test_c_refuses_places_that_a_table_does_not_have() -> None:
    for place in (2, -1):
        with pytest.raises(ValueError, match="do not fit"):
            linked(
                registers=[*REGISTERS[:3], (I64, 2, 0), (F32, 2, -1)],
                constants=(np.array([0, place]),),
                steps=[*COPIES, (fronts.PICK, 4, 2, 3, 2, 0)],
            )


def test_c_refuses_arguments_of_other_types() -> None:
    others: list[dict[str, Any]] = [{"names": ["a", "b"]}, {"constants": []}, {"words": []}]
    for wrong in (*others, {"constants": (np.array([2.0]),)}):
        with pytest.raises(TypeError):
            linked(**wrong)
    with pytest.raises(TypeError):
        core.run_front(linked()._linked, [])
    with pytest.raises(ValueError, match="PyCapsule"):
        core.run_front(core, {})
