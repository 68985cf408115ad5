"""Transformations compiled to C and run on rows: what the estimator of a model of kind c is fitted on."""

import ctypes
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import numpy as np

from lockstep.plan import Array
from training.exports.c.compiler import build_library, load
from training.exports.c.layout import Layout
from training.exports.c.source import PRELUDE, Body, body

__all__ = ["NAME", "CompiledFeatures"]

NAME = "columns"
"""Of the layout: prefix of what C declares."""
_FILE = """#include <stddef.h>
#include <stdint.h>
$prelude

struct columns_text {
    const char *data;
    size_t size;
};

struct columns_row {
$members
};

size_t size_of_row(void);
void features_of_rows(const struct columns_row *rows, size_t count, float *features);

size_t size_of_row(void)
{
    return sizeof(struct columns_row);
}

$functions

static void features_of(const struct columns_row *row, float *features)
{
$statements
    memcpy(features, $result, sizeof $result);
}

void features_of_rows(const struct columns_row *rows, size_t count, float *features)
{
    for (size_t i = 0; i < count; ++i)
        features_of(&rows[i], features + i * $width);
}
"""


class CompiledFeatures:
    """As `lockstep.model.Transformations` says, each row by itself."""

    def __init__(self, layout: Layout, graph: bytes) -> None:
        """Compile a graph that ends in float32 features; the layout is named NAME.

        Raises ExportRefused, MissingTool, CompilerFailed.
        """
        made = body(layout, graph, layout.empty_row())
        self._layout, self._width = layout, made.result.size
        self._library = _loaded(_file(made), layout.numpy.itemsize)
        self._library.features_of_rows.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the columns, in the order of the struct's fields."""
        return list(self._layout.dtypes)

    def run(self, columns: Mapping[str, Array]) -> Array:
        """Features, float32 of shape (rows, width)."""
        rows, kept = self._layout.rows(columns)
        features = np.empty((len(rows), self._width), np.float32)
        self._library.features_of_rows(rows.ctypes.data, len(rows), features.ctypes.data)
        assert kept is not None  # the texts' bytes live until here
        return features


def _file(made: Body) -> str:
    parts = {
        "prelude": PRELUDE,
        "members": "\n".join(made.layout.members()),
        "functions": "\n\n".join(made.functions),
        "statements": "\n".join(made.statements),
        "result": made.result.name,
        "width": str(made.result.size),
    }
    return Template(_FILE).substitute(parts)


@lru_cache(maxsize=32)
def _loaded(file: str, row: int) -> ctypes.CDLL:
    """Each file is compiled once: the baseline's steps are some of the model's, and a single step is all of them."""
    with TemporaryDirectory(prefix="lockstep-c-") as scratch:
        (Path(scratch) / "features.c").write_text(file)
        return load(build_library(Path(scratch), "features.so", "features.c"), row)
