"""The header of an exported model: its version, the struct of its inputs, the functions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from lockstep.bundle import MANIFEST, MODEL, Bundle
from lockstep.plan import Column, Computed, DType, Given, Moment, Stored, digest
from training.exports.c.layout import Layout
from training.exports.c.literals import comment, identifier, number, text

__all__ = ["SHIPS_C", "Api"]

SHIPS_C = "c"
"""The kind whose bundles hold the C code themselves."""

_KINDS = {DType.FLOAT32: "FLOAT", DType.FLOAT64: "DOUBLE", DType.INT64: "INT64", DType.STRING: "TEXT"}


@dataclass(frozen=True)
class Api:
    """The names and comments that the header, the source and the example share."""

    bundle: Bundle
    """It holds a graph."""
    published: Bundle | None = None
    """The one that was turned into it; None where it was published itself."""

    @property
    def scored(self) -> Bundle:
        """The bundle whose scores the code must give."""
        return self.published or self.bundle

    @cached_property
    def name(self) -> str:
        """Prefix of everything that the header declares."""
        return identifier(self.bundle.manifest.name)

    @cached_property
    def layout(self) -> Layout:
        """The struct of the inputs, in the plan's order."""
        return Layout(self.name, {column.name: column.dtype for column in self.columns})

    @property
    def fields(self) -> Mapping[str, str]:
        """Field of the struct by input."""
        return self.layout.fields

    @property
    def columns(self) -> list[Column]:
        """The inputs, in the plan's order."""
        return [self.bundle.plan.by_name[name] for name in self.bundle.plan.inputs]

    @property
    def title(self) -> str:
        """The model and its version, in words."""
        return f"{self.bundle.manifest.name} {self.bundle.manifest.version}"

    def missing(self, column: Column) -> str:
        """What a field holds where there is no value, as C."""
        if column.dtype is DType.STRING:
            default = str(column.default or "").encode()
            return f"{{{text(default)}, {len(default)}}}"
        if column.default is not None:
            return number(float(column.default), column.dtype.numpy)
        return "INT64_C(0)" if column.dtype is DType.INT64 else "NAN"

    def header(self) -> str:
        """The whole file."""
        manifest, name, upper = self.bundle.manifest, self.name, self.name.upper()
        return f"""/* {comment(self.title)}: from its inputs to a probability. Written by Lockstep; do not edit.

   No state and no allocation: any number of threads may call it at once. Compile {name}.c as C99 or later, without
   -ffast-math, and link the math library (-lm). */

#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_VERSION {text(manifest.version.encode())}
/* {self._fingerprinted} */
#define {upper}_FINGERPRINT "{digest(self.scored.files[self._fingerprint_of])}"
/* Share of positives in training: the score of last resort. */
#define {upper}_PRIOR {number(manifest.prior, "float64")}

/* UTF-8, not terminated; it need only live as long as the call. {{NULL, 0}} is NULL, and so is any text of size 0. */
struct {name}_text {{
    const char *data;
    size_t size;
}};

/* The inputs, in the model's order. Start from {name}_missing(), then set what you have. */
struct {name}_row {{
{chr(10).join(self._struct())}
}};

/* X(field, kind, name) for each input; kind is FLOAT, DOUBLE, INT64 or TEXT, name the column as Lockstep calls it. */
#define {upper}_COLUMNS(X) \\
{self._macro()}

/* A row without any value: each field holds the plan's default or NULL, a required one 0. */
struct {name}_row {name}_missing(void);

/* The probability, from 0 to 1. */
double {name}_score(const struct {name}_row *row);

#ifdef __cplusplus
}}
#endif

#endif
"""

    @property
    def _fingerprint_of(self) -> str:
        """A manifest cannot be hashed into a file whose hash it lists."""
        return MODEL if self.scored.manifest.kind == SHIPS_C else MANIFEST

    @property
    def _fingerprinted(self) -> str:
        if self._fingerprint_of == MODEL:
            return f"SHA-256 of the bundle's {MODEL}, the graph that scores as this code does."
        return f"SHA-256 of the bundle's {MANIFEST}, which lists the SHA-256 of everything else."

    def _struct(self) -> Iterator[str]:
        for column in self.columns:
            yield f"    /* {comment(f'{self._source(column)}; {self._null(column)}.')} */"
            yield self.layout.member(column.name)

    def _macro(self) -> str:
        entries = [
            f"    X({self.fields[column.name]}, {_KINDS[column.dtype]}, {text(column.name.encode())})"
            for column in self.columns
        ]
        return " \\\n".join(entries)

    def _source(self, column: Column) -> str:
        match column.source:
            case Given(role=role):
                return "The request's join key" if role == "join_key" else "The request's"
            case Stored(view=view, field=field):
                return f"{view}:{field}"
            case Computed(function=function, arguments=arguments):
                words = self.bundle.functions[function].call.__doc__ or ""
                said = words.strip().split("\n\n")[0].rstrip(".")
                return f"{function}({', '.join(arguments)}) by functions/{function}.py" + (f": {said}" if said else "")
            case Moment():
                return "The row's own time"

    def _null(self, column: Column) -> str:
        """What stands for a missing value, or that there must be one."""
        if column.default is not None:
            return f"where there is none: {self.missing(column)}"
        if column.dtype is DType.INT64 or isinstance(column.source, Given):
            return "required"
        return "NULL is size 0" if column.dtype is DType.STRING else "NULL is NAN"
