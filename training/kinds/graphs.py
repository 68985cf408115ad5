"""From a coefficients.json to a serving graph that computes the same, in float64 to the end.

Each formula of `lockstep.formulas` becomes operators of ONNX whose result for a row does not depend on the rows beside
it: sums run from left to right, as `training.linear` says.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from lockstep.plan import DType
from training.export import ELEMENT, OPSETS, RAW
from training.kinds.building import Building, Table

__all__ = ["graph_of"]


def graph_of(plain: Mapping[str, Any]) -> bytes:
    """The graph of a coefficients.json, from its columns to the log-odds. Raises PlanRefused naming a step."""
    made = Building()
    features = [_step(made, step, plain["columns"]) for step in plain["steps"]]
    weights = [feature["weight"] for step in plain["steps"] for feature in step["features"]]
    total = made.total(made.node("Mul", made.beside(features), made.row(weights)))
    made.node("Add", total, made.row([plain["intercept"]]), output=RAW)
    graph = helper.make_graph(
        made.nodes,
        "coefficients",
        [
            helper.make_tensor_value_info(name, ELEMENT[DType(dtype)], [None, 1])
            for name, dtype in plain["columns"].items()
        ],
        [helper.make_tensor_value_info(RAW, TensorProto.DOUBLE, [None, 1])],
        made.constants,
    )
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=9)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def _step(made: Building, step: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """The step's features, float64."""
    made.prefix = f"{step['name']}/"
    wanted = step["as"]
    parts = [
        name if columns[name] == wanted else made.node("Cast", name, to=ELEMENT[DType(wanted)])
        for name in step["columns"]
    ]
    table, kind = made.beside(parts), DType(wanted)
    for formula in step["formulas"]:
        fields = {name: value for name, value in formula.items() if name != "do"}
        table = _WRITERS[formula["do"]](Table(made, table, kind), **fields)
        kind = DType.FLOAT64
    made.prefix = ""
    return table if kind is DType.FLOAT64 else made.double(table)


def _impute(x: Table, fill: Sequence[float]) -> str:
    return x.made.node("Where", x.made.node("IsNaN", x.numbers), x.made.row(fill), x.numbers)


def _standardize(x: Table, minus: Sequence[float], divide: Sequence[float]) -> str:
    return x.made.node("Div", x.made.node("Sub", x.numbers, x.made.row(minus)), x.made.row(divide))


def _stretch(x: Table, times: Sequence[float], plus: Sequence[float]) -> str:
    return x.made.node("Add", x.made.node("Mul", x.numbers, x.made.row(times)), x.made.row(plus))


def _clip(x: Table, low: float, high: float) -> str:
    return x.made.node("Clip", x.numbers, x.made.constant(low), x.made.constant(high))


def _function(x: Table, name: str) -> str:
    made, value, one = x.made, x.numbers, x.made.row([1.0])
    plain = {"absolute": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt"}
    if name in plain:
        return made.node(plain[name], value)
    if name == "square":
        return made.node("Mul", value, value)
    if name == "expm1":
        return made.node("Sub", made.node("Exp", value), one)
    if name == "log1p":
        return made.node("Log", made.node("Add", value, one))
    base = {"log2": 2.0, "log10": 10.0}[name]
    return made.node("Div", made.node("Log", value), made.row([np.log(base)]))


def _one_hot(x: Table, values: Sequence[Sequence[Any]]) -> str:
    made = x.made
    parts = []
    for place, keys in enumerate(values):
        if x.dtype is DType.STRING:
            column, wanted = x.places(place, keys), made.row(range(len(keys)), "int64")
        else:
            column, wanted = made.column(x.name, place), made.row(keys, x.dtype.value)
        parts.append(made.double(made.node("Equal", column, wanted)))
    return made.beside(parts)


def _lookup(
    x: Table, values: Sequence[Sequence[Any]], gives: Sequence[Sequence[float]], otherwise: Sequence[float]
) -> str:
    parts = []
    for place, (keys, given, rest) in enumerate(zip(values, gives, otherwise, strict=True)):
        numbers = x.made.constant([*given, rest])
        parts.append(x.made.node("Gather", numbers, x.places(place, keys), axis=0))
    return x.made.beside(parts)


def _bins(x: Table, edges: Sequence[Sequence[float]]) -> str:
    """Not below an edge: NaN stands behind all of them, as numpy sorts it."""
    made, table, parts = x.made, x.numbers, []
    for place, each in enumerate(edges):
        below = made.node("Less", made.column(table, place), made.row([*each, -np.inf]))
        counted = made.total(made.double(made.node("Not", below)))
        parts.append(made.node("Sub", counted, made.row([1.0])))
    return made.beside(parts)


def _project(x: Table, minus: Sequence[float], onto: Sequence[Sequence[float]]) -> str:
    made = x.made
    centred = made.node("Sub", x.numbers, made.row(minus))
    apart = made.node("Unsqueeze", centred, made.constant([1], "int64"))
    weighed = made.node("Mul", apart, made.constant([onto]))
    return made.node("Squeeze", made.total(weighed, axis=2), made.constant([2], "int64"))


def _products(x: Table, powers: Sequence[Sequence[int]]) -> str:
    made, table = x.made, x.numbers
    columns = [made.column(table, place) for place in range(len(powers[0]))]
    ones = made.node("Pow", columns[0], made.row([0.0]))
    parts = []
    for exponents in powers:
        product = ones
        for column, exponent in zip(columns, exponents, strict=True):
            for _ in range(exponent):
                product = made.node("Mul", product, column)
        parts.append(product)
    return made.beside(parts)


def _count_words(x: Table, words: Sequence[str]) -> str:
    """Words are padded with a space, which no word holds."""
    made, places = x.made, sorted(range(len(words)), key=lambda place: words[place].count(" "))
    runs = [(size, list(group)) for size, group in groupby(places, lambda place: words[place].count(" ") + 1)]
    longest = runs[-1][0]
    starts = [sum(size * len(group) for size, group in runs if size < wanted) for wanted in range(1, longest + 1)]
    split = made.node(
        "Tokenizer", x.name, domain="com.microsoft", mark=0, mincharnum=1, pad_value=" ", tokenexp="[^ ]+"
    )
    counted = made.node(
        "TfIdfVectorizer",
        made.node("Flatten", split),
        mode="TF",
        min_gram_length=1,
        max_gram_length=longest,
        max_skip_count=0,
        ngram_counts=starts,
        ngram_indexes=places,
        pool_strings=[word for place in places for word in words[place].split(" ")],
    )
    return made.double(counted)


def _unit_length(x: Table) -> str:
    made, table = x.made, x.numbers
    length = made.node("Sqrt", made.total(made.node("Mul", table, table)))
    none = made.node("Equal", length, made.row([0.0]))
    return made.node("Div", table, made.node("Where", none, made.row([1.0]), length))


_WRITERS: Mapping[str, Callable[..., str]] = {
    "bins": _bins,
    "clip": _clip,
    "count_words": _count_words,
    "function": _function,
    "impute": _impute,
    "lookup": _lookup,
    "one_hot": _one_hot,
    "products": _products,
    "project": _project,
    "standardize": _standardize,
    "stretch": _stretch,
    "unit_length": _unit_length,
}
"""By the formula's name in a coefficients.json."""
