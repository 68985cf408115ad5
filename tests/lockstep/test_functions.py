"""On-demand functions are loaded from their bytes, and only the bytes that the plan names."""

import numpy as np
import pytest

from lockstep.errors import BundleRefused, PlanRefused
from lockstep.functions import apply, load, model_inputs
from lockstep.plan import Column, Computed, DType, digest
from tests.bundles import FUNCTIONS, PLAN, RESOLVED, SECONDS_SINCE

DOUBLE = b"import numpy as np\n\ndef double(x):\n    return np.asarray(x) * 2\n"


def column(name: str, dtype: DType, *arguments: str) -> Column:
    """A column computed by the function of that name."""
    return Column(name, dtype, Computed(name, arguments, ""))


def test_a_function_knows_its_name_arguments_and_hash() -> None:
    function = load("seconds_since", SECONDS_SINCE, digest(SECONDS_SINCE))
    assert (function.name, function.arguments) == ("seconds_since", ("event_timestamp", "last_click"))
    assert function.sha256 == digest(SECONDS_SINCE)


def test_other_bytes_than_the_plan_names_are_never_run() -> None:
    with pytest.raises(BundleRefused, match="not the one the plan names"):
        load("double", b"raise SystemExit", digest(DOUBLE))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (b"import os\n\ndef f(x): return x", "imports 'os'"),
        (b"def f(x):\n    import pandas as pd\n    return x", "imports 'pandas'"),
        (b"from os import path\n\ndef f(x): return x", "imports 'os'"),
        (b"from . import columns\n\ndef f(x): return x", r"imports '\.'"),
        (b"from .numpy import sum\n\ndef f(x): return x", r"imports '\.numpy'"),
        (b"import numpy_financial\n\ndef f(x): return x", "imports 'numpy_financial'"),
        (b"def g(x): return x", "defines no function 'f'"),
        (b"f = 3", "defines no function 'f'"),
        (b"def f(x) return x", "is not Python"),
        (b"\xff\xfe", "is not Python"),
        (b"def f(x): return x\nundefined", "fails when it is loaded.*NameError"),
    ],
)
def test_a_file_that_breaks_the_rules_is_refused(source: bytes, problem: str) -> None:
    with pytest.raises(PlanRefused, match=problem):
        load("f", source)


@pytest.mark.parametrize(
    "line", [b"import math", b"import numpy as np", b"from numpy import where", b"import numpy.linalg"]
)
def test_numpy_and_math_may_be_imported(line: bytes) -> None:
    assert load("f", line + b"\n\ndef f(x): return x").arguments == ("x",)


def test_two_versions_of_a_function_run_side_by_side() -> None:
    old, new = load("f", b"def f(x): return x + 1"), load("f", b"def f(x): return x + 2")
    assert [int(function.call(1)) for function in (old, new)] == [2, 3]


@pytest.mark.parametrize(
    ("body", "dtype", "problem"),
    [
        (b"x[:1]", DType.FLOAT32, r"shape \(1,\) for 2 rows"),
        (b"1.0", DType.FLOAT32, r"shape \(\) for 2 rows"),
        (b"np.stack([x, x])", DType.FLOAT32, r"shape \(2, 2\)"),
        (b"x / 2", DType.INT64, "float64.*is int64"),
        (b"x.astype(str)", DType.FLOAT32, "is float32"),
        (b"x", DType.STRING, "is string"),
    ],
)
def test_a_result_of_another_shape_or_kind_than_the_plan_says_is_refused(
    body: bytes, dtype: DType, problem: str
) -> None:
    function = load("f", b"import numpy as np\n\ndef f(x): return " + body)
    with pytest.raises(PlanRefused, match=problem):
        apply(column("f", dtype, "x"), function, {"x": np.array([1, 2])}, 2)


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT64, DType.INT64])
def test_a_result_comes_in_the_type_of_its_column(dtype: DType) -> None:
    result = apply(column("double", dtype, "x"), load("double", DOUBLE), {"x": np.array([1, 2])}, 2)
    assert (result.dtype, result.tolist()) == (dtype.numpy, [2, 4])


def test_a_function_may_take_what_another_computed() -> None:
    columns = (*PLAN.columns, column("double", DType.FLOAT32, "site_length"))
    plan = type(PLAN)("p", "s", PLAN.views, columns, ("double", "bid"))
    functions = {name: load(name, source) for name, source in {**FUNCTIONS, "double": DOUBLE}.items()}
    inputs = model_inputs(plan, functions, RESOLVED, 2)
    assert {name: values.tolist() for name, values in inputs.items()} == {"double": [0.0, 4.0], "bid": [0.5, 0.25]}


def test_the_models_inputs_come_in_the_models_order_and_the_resolved_columns_stay_as_they_were() -> None:
    functions = {name: load(name, source) for name, source in FUNCTIONS.items()}
    before = {name: values.copy() for name, values in RESOLVED.items()}
    assert list(model_inputs(PLAN, functions, RESOLVED, 2)) == list(PLAN.inputs)
    assert RESOLVED.keys() == before.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(RESOLVED[name], values)
