"""The checks that every on-demand function must pass; a new one is tested by lying in the folder."""

import ast
import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import feature_repo.functions
from lockstep.functions import Function, load
from lockstep.plan import Array
from lockstep.times import parse_time

FOLDER = Path(feature_repo.functions.__path__[0])
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
T = float(parse_time("2017-11-09T04:00:00.25Z"))


def module(name: str) -> ModuleType:
    return import_module(f"feature_repo.functions.{name}")


def function(name: str) -> Function:
    return load(name, (FOLDER / f"{name}.py").read_bytes())


def argument(name: str) -> Array:
    """Five values of a column, missing ones too where the column may be missing."""
    if name == "event_timestamp":
        return np.array([T, T + 1, T, T + 3_600e6, 0.0])
    if name.startswith("last_"):
        return np.array([T - 30e6, T, np.nan, np.nan, -1.0])
    return np.array([1, 3032, 0, 3032, 7], np.int64)


def arguments(name: str) -> list[Array]:
    return [argument(column) for column in function(name).arguments]


def check_is_named_as_its_file(name: str) -> None:
    assert module(name).__dict__[name].__name__ == name


def check_imports_numpy_and_math_alone(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in imported if isinstance(node, ast.ImportFrom)]
    assert {one.split(".")[0] for one in modules} <= {"numpy", "math"}


def check_example_runs(name: str) -> None:
    ran = doctest.testmod(module(name))
    assert ran.attempted > 0
    assert ran.failed == 0


def check_leaves_its_input_alone(name: str) -> None:
    given = arguments(name)
    before = [values.copy() for values in given]
    for values in given:
        values.flags.writeable = False
    result = function(name).call(*given)
    for values, copied in zip(given, before, strict=True):
        np.testing.assert_array_equal(values, copied)
        assert not np.shares_memory(result, values)


def check_gives_one_value_per_row(name: str) -> None:
    for rows in (0, 1, 5):
        made = function(name).call(*(values[:rows] for values in arguments(name)))
        assert made.shape == (rows,)


def check_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    whole = function(name).call(*arguments(name))
    alone = [function(name).call(*(values[row : row + 1] for values in arguments(name))) for row in range(5)]
    np.testing.assert_array_equal(np.concatenate(alone), whole)


def check_says_the_same_twice(name: str) -> None:
    np.testing.assert_array_equal(function(name).call(*arguments(name)), function(name).call(*arguments(name)))


CHECKS = [check for name, check in sorted(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_function_passes(check: object, name: str) -> None:
    assert callable(check)
    check(name)


def test_the_package_imports_nothing() -> None:
    assert not ast.parse((FOLDER / "__init__.py").read_text()).body
    code = "import sys, feature_repo.functions; print({'numpy', 'pandas', 'feast'} & set(sys.modules) or 'nothing')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "nothing"


VALUES: dict[str, tuple[list[float], list[float]]] = {
    "hour_of_day": ([T], [4.0 + 0.25 / 3600]),
    "device_os": ([3032, 607], [30_320_607]),
    "seconds_since_last_by_ip": ([T, T - 30e6], [30.0]),
    "seconds_since_last_by_ip_app": ([T, T - 1], [1e-6]),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_function_has_a_value_that_one_can_check_by_hand(name: str) -> None:
    given, wanted = VALUES[name]
    names = function(name).arguments
    columns = [np.array([value], argument(column).dtype) for value, column in zip(given, names, strict=True)]
    np.testing.assert_allclose(function(name).call(*columns), wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["seconds_since_last_by_ip", "seconds_since_last_by_ip_app"])
def test_a_click_that_never_was_is_missing_and_not_long_ago(name: str) -> None:
    assert np.isnan(function(name).call(np.array([T]), np.array([np.nan]))).all()
