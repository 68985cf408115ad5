"""On-demand functions: pure functions over columns, carried by the bundle as hashed copies of their files.

A file defines one function, named as the file, and imports numpy and math alone. The parameters' names are the names of
the columns it takes. What runs is the bundle's copy, so an old and a new version can serve side by side.
"""

import ast
import builtins
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.errors import BundleRefused, PlanRefused
from lockstep.plan import Array, Column, Computed, Plan, digest

__all__ = ["Function", "all_columns", "apply", "load", "model_inputs"]

ALLOWED_IMPORTS = frozenset({"math", "numpy"})


@dataclass(frozen=True)
class Function:
    """One on-demand function, ready to run."""

    name: str
    source: bytes
    """The file, byte for byte."""
    call: Callable[..., Array]
    arguments: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return digest(self.source)


def load(name: str, source: bytes, sha256: str | None = None) -> Function:
    """Make a function from the bytes of its file; with `sha256`, only if they are the ones the plan names.

    Raises BundleRefused where the bytes differ from the plan's, PlanRefused where the file breaks the rules above.
    """
    if sha256 is not None and digest(source) != sha256:
        raise BundleRefused(
            f"function {name!r}: its file is not the one the plan names; the bundle was altered or mixed up. "
            "Publish it again."
        )
    try:
        tree = ast.parse(source, filename=f"functions/{name}.py")
    except SyntaxError as error:
        raise PlanRefused(f"functions/{name}.py is not Python: {error}.") from error
    _check_imports(name, tree)
    namespace: dict[str, Any] = {"__name__": f"lockstep_function_{name}", "__builtins__": builtins}
    try:
        exec(compile(tree, f"functions/{name}.py", "exec"), namespace)  # its hash was checked above
    except Exception as error:
        raise PlanRefused(f"functions/{name}.py fails when it is loaded: {error!r}.") from error
    call = namespace.get(name)
    if not callable(call):
        raise PlanRefused(f"functions/{name}.py defines no function {name!r}; the function is named as its file.")
    return Function(name, source, call, tuple(inspect.signature(call).parameters))


def _check_imports(name: str, tree: ast.Module) -> None:
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        for module in modules:
            if module.split(".")[0] not in ALLOWED_IMPORTS:
                raise PlanRefused(
                    f"functions/{name}.py imports {module!r}; a function may import numpy and math alone, "
                    "so that it runs wherever a bundle does."
                )


def apply(column: Column, function: Function, columns: Mapping[str, Array], rows: int) -> Array:
    """Run a function on whole columns. Returns shape (rows,) in the column's dtype.

    Raises PlanRefused where the result has another shape or another kind of values than the plan says.
    """
    assert isinstance(column.source, Computed)
    result = np.asarray(function.call(*[columns[argument] for argument in column.source.arguments]))
    if result.shape == (rows,) and result.dtype == column.dtype.numpy:  # nearly always
        return result
    if result.shape != (rows,):
        raise PlanRefused(
            f"function {function.name!r} returned shape {result.shape} for {rows} rows; "
            "it must return one value per row."
        )
    if result.dtype.kind != column.dtype.numpy.kind and not (
        result.dtype.kind in "iub" and column.dtype.numpy.kind == "f"
    ):
        raise PlanRefused(
            f"function {function.name!r} returned {result.dtype}, but column {column.name!r} is {column.dtype.value}."
        )
    return result.astype(column.dtype.numpy, copy=False)


def all_columns(
    plan: Plan,
    functions: Mapping[str, Function],
    resolved: Mapping[str, Array],
    rows: int,
    wanted: Collection[str] | None = None,
) -> dict[str, Array]:
    """The resolved columns and those that the plan's functions make of them: by name, each of shape (rows,).

    With `wanted`, only the functions run that those columns need.
    """
    needed = None if wanted is None else _needed(plan, wanted)
    columns = dict(resolved)
    for column, source in plan.computed:
        if needed is None or column.name in needed:
            columns[column.name] = apply(column, functions[source.function], columns, rows)
    return columns


def _needed(plan: Plan, wanted: Collection[str]) -> set[str]:
    """The columns that these are made of, themselves among them."""
    needed = set(wanted)
    for column, source in reversed(plan.computed):
        if column.name in needed:
            needed.update(source.arguments)
    return needed


def model_inputs(
    plan: Plan, functions: Mapping[str, Function], resolved: Mapping[str, Array], rows: int
) -> dict[str, Array]:
    """Run the plan's functions and pick the model's inputs: by name, each of shape (rows,)."""
    columns = all_columns(plan, functions, resolved, rows)
    return {name: columns[name] for name in plan.inputs}
