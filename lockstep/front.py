"""What an ONNX graph does before the trees at its end, in C where it was compiled.

ONNX Runtime takes its time over every node of a run: for one row that is nearly all it does, thirty times, and between
the other work of a scorer its code has left the processor's caches by then. The nodes themselves are little: NaN is
filled, numbers are scaled, ids compared, words counted. `lockstep/_front.c` does them one after the other for a block
of rows, each as ONNX Runtime does it, to the bit. A graph with any other node, or a node in any other form, is left to
ONNX Runtime as a whole; and so is, at a run, what it reads otherwise: a text with a NUL.

A matrix product adds up its products in their order, through fma where the processor has it: what ONNX Runtime's
kernels do (https://github.com/microsoft/onnxruntime/tree/main/onnxruntime/core/mlas). On a processor where they should
do it otherwise, the last bit of a float64 differs, which is then rounded to float32.

https://onnx.ai/onnx/operators/
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from lockstep.compiled import core
from lockstep.onnx_inputs import is_column
from lockstep.partial_messages import ONNX, Fields, message_classes
from lockstep.plan import Array

__all__ = ["Front", "front"]

F32, F64, I64, FLAG, TEXT = range(5)
"""Types of a register, as _front.c numbers them."""
COPY, PICK, CAST, IS_NAN, WHERE, ADD, SUB, MUL, DIV, EQUAL, SQRT, MATMUL, CUMSUM, WORDS = range(14)
"""Steps, likewise."""
_TYPES: Final[Mapping[int, int]] = {1: F32, 11: F64, 7: I64, 9: FLAG, 8: TEXT}
"""By number in TensorProto.DataType."""
_NUMPY: Final[Mapping[int, np.dtype[Any]]] = {
    F32: np.dtype(np.float32),
    F64: np.dtype(np.float64),
    I64: np.dtype(np.int64),
}
_DATA: Final[Mapping[int, str]] = {F32: "float_data", F64: "double_data", I64: "int64_data"}
_COLUMNS: Final = (1, -1)
"""The axis along which columns lie."""
_NOTHING: Final = {ADD: 0.0, SUB: 0.0, MUL: 1.0, DIV: 1.0}
"""By step the number with which it does nothing."""
_BETWEEN_SPACES: Final = {
    "mark": 0,
    "mincharnum": 1,
    "tokenexp": b"[^ ]+",
}
_SINGLE_WORDS: Final = {
    "min_gram_length": 1,
    "max_gram_length": 1,
    "max_skip_count": 0,
    "mode": b"TF",
    "ngram_counts": [0],
}
_MESSAGES: Final[Mapping[str, Fields]] = {
    **ONNX,
    "Model": {"graph": (7, "Graph*")},
    "Graph": {
        "node": (1, "Node*"),
        "initializer": (5, "Tensor*"),
        "input": (11, "ValueInfo*"),
        "output": (12, "ValueInfo*"),
        "sparse_initializer": (15, "bytes*"),
    },
    "Attribute": {
        "name": (1, "string"),
        "f": (2, "float"),
        "i": (3, "int64"),
        "s": (4, "bytes"),
        "t": (5, "bytes"),
        "g": (6, "bytes"),
        "floats": (7, "float*"),
        "ints": (8, "int64*"),
        "strings": (9, "bytes*"),
        "type": (20, "int32"),
    },
    "Tensor": {
        "dims": (1, "int64*"),
        "data_type": (2, "int32"),
        "float_data": (4, "float*"),
        "int64_data": (7, "int64*"),
        "name": (8, "string"),
        "raw_data": (9, "bytes"),
        "double_data": (10, "double*"),
    },
}
_ATTRIBUTES: Final = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}
"""By number in AttributeProto.AttributeType the field that holds it."""


class _Strange(Exception):  # it is no error: ONNX Runtime knows more
    """Something that is left to ONNX Runtime."""


class Table(NamedTuple):
    """A value of the graph that has rows."""

    register: int
    type: int
    width: int
    texts: str = ""
    """The name of the Unique whose distinct texts the rows are; '' for the rows of the run."""


@dataclass(frozen=True)
class Words:
    """The words of texts, which a Tokenizer has taken apart."""

    of: Table
    pad: bytes
    """What stands where a text has fewer words than another."""


@dataclass(frozen=True)
class Which:
    """For each row of the run its text among the distinct ones."""

    texts: str


Value = Table | Words | Which | NDArray[Any]
"""An array is a constant."""


class Front:
    """The steps, ready to run."""

    def __init__(self, linked: object) -> None:
        """`linked`: what `core.link_front` made."""
        self._linked = linked

    def __call__(self, columns: Mapping[str, Array]) -> NDArray[np.float32] | None:
        """Features of shape (rows, width), of columns of shape (rows,); None where ONNX Runtime is to make them.

        Raises KeyError where a column is missing.
        """
        by_name = columns if type(columns) is dict else dict(columns)
        features: NDArray[np.float32] | None = core.run_front(self._linked, by_name)
        return features


def front(model: bytes) -> Front | None:
    """The steps of a graph of one output, float32 features; None where it has anything that is not known here."""
    if core is None:
        return None
    try:
        read = _classes()["Model"].FromString(model)
        return _linked(read.graph[0]) if len(read.graph) == 1 else None
    except (DecodeError, UnicodeDecodeError, _Strange):
        return None


def _linked(graph: Any) -> Front:
    made = _Steps(graph)
    for node in graph.node:
        made.add(node)
    _require(len(graph.output) == 1)
    output = made.table(graph.output[0].name)
    _require(output.type == F32 and not output.texts)
    try:
        linked = core.link_front(
            tuple(made.inputs),
            np.array(made.registers, np.int64).reshape(-1, 3),
            tuple(made.constants),
            np.array(made.steps, np.int64).reshape(-1, 6),
            tuple(made.pools),
            output.register,
        )
    except ValueError as error:  # wider than C has room for
        raise _Strange from error
    return Front(linked)


class _Steps:
    """The steps of a graph as they are found, node by node."""

    def __init__(self, graph: Any) -> None:
        _require(not graph.sparse_initializer)
        self.values: dict[str, Value] = {}
        self.registers: list[tuple[int, int, int]] = []
        """Type, width, and the place among the constants or -1."""
        self.constants: list[NDArray[Any]] = []
        self.steps: list[tuple[int, int, int, int, int, int]] = []
        self.pools: list[tuple[bytes, ...]] = []
        self.scaled: set[int] = set()
        """The registers of tables that were multiplied or divided by one number."""
        self.products: set[int] = set()
        """The registers of matrix products."""
        self.inputs = [_name(one.name) for one in graph.input]
        for name, one in zip(self.inputs, graph.input, strict=True):
            tensor = one.type.tensor_type
            type_ = _TYPES.get(tensor.elem_type, FLAG)
            _require(is_column(tensor.shape) and type_ != FLAG)  # a plan has no booleans
            self.put(name, self.new(type_, 1))
        for tensor in graph.initializer:
            self.put(_name(tensor.name), _constant(tensor))

    def add(self, node: Any) -> None:
        """One node more. Raises _Strange."""
        operator = _OPERATORS.get((node.domain if node.domain != "ai.onnx" else "", node.op_type))
        _require(operator is not None and all(isinstance(name, str) for name in (*node.input, *node.output)))
        assert operator is not None
        outputs = [name for name in node.output if name]
        made = operator(self, [self.value(name) for name in node.input], _attributes(node), list(node.output))
        _require(len(made) == len(outputs))
        for name, value in zip(outputs, made, strict=True):
            self.put(name, value)

    def put(self, name: str, value: Value) -> None:
        """A value by name, which no other has."""
        _require(name not in self.values)
        self.values[name] = value

    def value(self, name: str) -> Value:
        """That which was put under the name."""
        _require(name in self.values)
        return self.values[name]

    def table(self, name: str) -> Table:
        """The same, which has rows."""
        return _table(self.value(name))

    def new(self, type_: int, width: int, texts: str = "") -> Table:
        """A register for a table."""
        self.registers.append((type_, width, -1))
        return Table(len(self.registers) - 1, type_, width, texts)

    def constant(self, values: NDArray[Any]) -> Table:
        """A register for what stands in all rows: of shape (), (n,) or (1, n)."""
        _require(values.ndim < 2 or values.shape[:-1] == (1,) * (values.ndim - 1))
        return self.held(values)

    def held(self, values: NDArray[Any]) -> Table:
        """A register for any constant, its values one after the other."""
        types = [type_ for type_, dtype in _NUMPY.items() if dtype == values.dtype]
        _require(len(types) == 1 and values.size > 0)
        self.constants.append(np.ascontiguousarray(values.reshape(-1)))
        self.registers.append((types[0], values.size, len(self.constants) - 1))
        return Table(len(self.registers) - 1, types[0], values.size)

    def step(self, operator: int, out: Table, *operands: Table, extra: int = 0) -> list[Value]:
        """A step; returns what it makes."""
        places = [one.register for one in operands]
        a, b, c = (places * 3)[:3] if len(places) == 1 else (*places, places[0])[:3]
        self.steps.append((operator, out.register, a, b, c, extra))
        return [out]


def _require(condition: bool) -> None:
    if not condition:
        raise _Strange


def _name(name: object) -> str:
    """Bytes are a name that is no UTF-8."""
    _require(isinstance(name, str))
    return str(name)


def _table(value: Value) -> Table:
    _require(isinstance(value, Table))
    assert isinstance(value, Table)
    return value


def _array(value: Value) -> NDArray[Any]:
    _require(isinstance(value, np.ndarray))
    assert isinstance(value, np.ndarray)
    return value


def _constant(tensor: Any) -> NDArray[Any]:
    """A tensor of the file."""
    type_ = _TYPES.get(tensor.data_type, TEXT)
    _require(type_ in _NUMPY)
    dims = list(tensor.dims)
    if tensor.HasField("raw_data"):
        _require(len(tensor.raw_data) % _NUMPY[type_].itemsize == 0)
        values = np.frombuffer(tensor.raw_data, _NUMPY[type_])
    else:
        values = np.array(getattr(tensor, _DATA[type_]), _NUMPY[type_])
    _require(all(0 <= dim <= values.size for dim in dims) and values.size == int(np.prod(dims, dtype=object)))
    shaped: NDArray[Any] = values.reshape(dims)
    return shaped


Attributes = Mapping[str, Any]
Operator = Callable[[_Steps, list[Value], Attributes, list[str]], Sequence[Value]]


def _attributes(node: Any) -> Attributes:
    """By name: a number, bytes, or a list of them."""
    found: dict[str, Any] = {}
    for one in node.attribute:
        _require(one.type in _ATTRIBUTES and one.name not in found)
        value = getattr(one, _ATTRIBUTES[one.type])
        found[one.name] = value if isinstance(value, int | float | bytes) else list(value)
    return found


def _count(values: Sequence[object], count: int, attributes: Attributes, *known: str) -> None:
    """So many operands, and no other attributes than these."""
    _require(len(values) == count and set(attributes) <= set(known))


def _space(*tables: Table) -> str:
    """Whose rows these tables have: the same, all of them."""
    found = {one.texts for one in tables}
    _require(len(found) == 1)
    return found.pop()


def _operands(steps: _Steps, values: Sequence[Value]) -> tuple[list[Table], str, int]:
    """Tables and constants that meet: as registers, whose rows they have, and the width of what is made of them."""
    tables = [value for value in values if isinstance(value, Table)]
    _require(len(tables) > 0)
    found = [steps.constant(value) if isinstance(value, np.ndarray) else _table(value) for value in values]
    width = max(one.width for one in found)
    _require(all(one.width in (1, width) for one in found))
    return found, _space(*tables), width


def _concat(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    _require(attributes in [{"axis": axis} for axis in _COLUMNS] and len(values) > 0)
    tables = [_table(value) for value in values]
    _require(len({one.type for one in tables}) == 1 and tables[0].type != TEXT)
    out = steps.new(tables[0].type, sum(one.width for one in tables), _space(*tables))
    first = 0
    for one in tables:
        steps.step(COPY, out, one, extra=first)
        first += one.width
    return [out]


def _cast(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    _count(values, 1, attributes, "to")
    one, number = _table(values[0]), attributes.get("to")
    to = _TYPES.get(number, TEXT) if isinstance(number, int) else TEXT
    if to == one.type:
        return [one]
    _require(to in (F32, F64) and one.type != TEXT)
    return steps.step(CAST, steps.new(to, one.width, one.texts), one)


def _identity(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    _count(values, 1, attributes)
    return values


def _unary(step: int, made: int | None, *types: int) -> Operator:
    """An operator of one table of these types; `made`: the type of the result, None for the same."""

    def operator(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
        _count(values, 1, attributes)
        one = _table(values[0])
        _require(one.type in types)
        return steps.step(step, steps.new(one.type if made is None else made, one.width, one.texts), one)

    return operator


def _binary(step: int, made: int | None, *types: int) -> Operator:
    """An operator of two tables, or of one and a constant."""

    def operator(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
        _count(values, 2, attributes)
        found, texts, width = _operands(steps, values)
        _require(found[0].type == found[1].type and found[0].type in types)
        _check_not_fused(steps, step, values)
        return steps.step(step, steps.new(found[0].type if made is None else made, width, texts), *found)

    return operator


def _check_not_fused(steps: _Steps, step: int, values: Sequence[Value]) -> None:
    """ONNX Runtime takes steps out that do nothing (but to -0), and multiplies once where a product is scaled."""
    for value in values:
        if isinstance(value, np.ndarray) and value.size == 1:
            _require(value.reshape(-1)[0] != _NOTHING.get(step, np.nan))
            if step in (MUL, DIV):
                (one,) = [other for other in values if other is not value]
                _require(_table(one).register not in steps.products)
                steps.scaled.add(len(steps.registers))


def _where(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    _count(values, 3, attributes)
    flags = _table(values[0])
    found, texts, width = _operands(steps, values)
    _require(flags.type == FLAG and found[1].type == found[2].type and found[1].type in (F32, F64))
    return steps.step(WHERE, steps.new(found[1].type, width, texts), *found)


def _matmul(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    _count(values, 2, attributes)
    one, matrix = _table(values[0]), _array(values[1])
    _require(one.type == F64 and matrix.dtype == np.float64 and matrix.ndim == 2 and matrix.shape[0] == one.width)
    _require(one.register not in steps.scaled)
    steps.products.add(len(steps.registers))
    return steps.step(MATMUL, steps.new(F64, matrix.shape[1], one.texts), one, steps.held(matrix))


def _cumsum(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    _require(len(values) == 2 and set(attributes) <= {"exclusive", "reverse"} and not any(attributes.values()))
    one, axis = _table(values[0]), _array(values[1])
    _require(one.type == F64 and axis.size == 1 and axis.reshape(-1)[0] in _COLUMNS)
    return steps.step(CUMSUM, steps.new(F64, one.width, one.texts), one)


def _gather(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    _count(values, 2, attributes, "axis")
    one, which = _table(values[0]), values[1]
    axis = attributes.get("axis", 0)
    if isinstance(which, Which):  # each row gets what was made of its text
        _require(axis == 0 and one.texts == which.texts)
        return [one._replace(texts="")]
    places = _array(which)
    _require(axis in _COLUMNS and places.ndim == 1 and places.dtype == np.int64 and one.type in (F32, F64, I64))
    _require(bool(((places >= -one.width) & (places < one.width)).all()))
    out = steps.new(one.type, places.size, one.texts)
    return steps.step(PICK, out, one, steps.held(places % one.width))


def _unique(steps: _Steps, values: list[Value], attributes: Attributes, names: list[str]) -> Sequence[Value]:
    """The distinct texts of a column, and which of them each row has. Here each row stands for its text."""
    _count(values, 1, attributes, "sorted")
    one = _table(values[0])
    _require(one.type == TEXT and not one.texts and len(names) == 3 and bool(names[0]) and not names[1])
    made: list[Value] = [one._replace(texts=names[0])]
    return [*made, Which(names[0])] if names[2] else made


def _tokenizer(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    _require(len(values) == 1 and isinstance(attributes.get("pad_value"), bytes))
    _require({name: value for name, value in attributes.items() if name != "pad_value"} == _BETWEEN_SPACES)
    one = _table(values[0])
    _require(one.type == TEXT and bool(one.texts))  # as a list of texts, not as a column of them
    return [Words(one, attributes["pad_value"])]


def _word_counts(steps: _Steps, values: list[Value], attributes: Attributes, _: list[str]) -> Sequence[Value]:
    plain = {name: attributes.get(name) for name in _SINGLE_WORDS}
    _require(len(values) == 1 and plain == _SINGLE_WORDS)
    _require(set(attributes) <= {*_SINGLE_WORDS, "ngram_indexes", "pool_strings", "weights"})  # "TF" has no weights
    words, pool, places = values[0], attributes.get("pool_strings"), attributes.get("ngram_indexes")
    _require(isinstance(words, Words) and isinstance(pool, list) and isinstance(places, list))
    assert isinstance(words, Words)
    assert pool is not None
    assert places is not None
    _require(all(isinstance(one, bytes) for one in pool) and all(isinstance(one, int) for one in places))
    _require(len(set(pool)) == len(pool) and sorted(places) == list(range(len(pool))) and words.pad not in pool)
    steps.pools.append(tuple(pool[places.index(place)] for place in range(len(pool))))
    out = steps.new(F32, len(pool), words.of.texts)
    return steps.step(WORDS, out, words.of, extra=len(steps.pools) - 1)


_OPERATORS: Final[Mapping[tuple[str, str], Operator]] = {
    ("", "Concat"): _concat,
    ("", "Cast"): _cast,
    ("", "Identity"): _identity,
    ("", "IsNaN"): _unary(IS_NAN, FLAG, F32, F64),
    ("", "Where"): _where,
    ("", "Add"): _binary(ADD, None, F32, F64),
    ("", "Sub"): _binary(SUB, None, F32, F64),
    ("", "Mul"): _binary(MUL, None, F32, F64),
    ("", "Div"): _binary(DIV, None, F32, F64),
    ("", "Equal"): _binary(EQUAL, FLAG, F32, F64, I64),
    ("", "Sqrt"): _unary(SQRT, None, F32, F64),
    ("", "MatMul"): _matmul,
    ("", "CumSum"): _cumsum,
    ("", "Gather"): _gather,
    ("", "Unique"): _unique,
    ("com.microsoft", "Tokenizer"): _tokenizer,
    ("", "TfIdfVectorizer"): _word_counts,
}
"""By domain and name."""


@lru_cache
def _classes() -> Mapping[str, Any]:
    return message_classes("lockstep.front", _MESSAGES)
