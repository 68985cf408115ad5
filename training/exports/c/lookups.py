"""Lookups as C: what stands for a key, found by halving a sorted table. Keys are texts or int64."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx
from onnx import helper, numpy_helper

from lockstep.errors import ExportRefused
from training.exports.c.literals import number, table, text
from training.exports.c.parts import Tensor, Tensors

__all__ = ["FIND_NUMBER", "FIND_TEXT", "Lookup", "word_table"]

FIND_TEXT = """struct word { const char *data; size_t size; };

/* The place of a text in a table sorted by its bytes; -1 where it is not in it. */
static int find_text(const char *data, size_t size, const struct word *words, int count)
{
    int low = 0, high = count - 1;
    while (low <= high) {
        const int middle = low + (high - low) / 2;
        const struct word *word = &words[middle];
        const size_t shared = size < word->size ? size : word->size;
        int order = shared > 0 ? memcmp(data, word->data, shared) : 0;
        if (order == 0)
            order = size < word->size ? -1 : size > word->size;
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle - 1;
        else
            low = middle + 1;
    }
    return -1;
}"""
FIND_NUMBER = """/* The place of a number in a sorted table; -1 where it is not in it. */
static int find_number(int64_t key, const int64_t *keys, int count)
{
    int low = 0, high = count - 1;
    while (low <= high) {
        const int middle = low + (high - low) / 2;
        if (keys[middle] == key)
            return middle;
        if (keys[middle] > key)
            high = middle - 1;
        else
            low = middle + 1;
    }
    return -1;
}"""


def word_table(name: str, words: Sequence[bytes]) -> str:
    """The table that find_text reads: the words in the order given, which must be that of their bytes."""
    return table(
        f"static const struct word {name}_words[]",
        [f"{{{text(word)}, {len(word)}}}" for word in words] or ["{NULL, 0}"],
    )


@dataclass(frozen=True)
class Lookup:
    """A LabelEncoder of one column of texts or int64, or a OneHotEncoder of one column of texts."""

    node: onnx.NodeProto
    source: str
    """The text column or the tensor that holds the key."""

    def __post_init__(self) -> None:
        if self.node.op_type == "OneHotEncoder" and not self._attributes.get("zeros"):
            raise ExportRefused(
                self.node.output[0], "a one-hot encoder that refuses unknown values", "handle_unknown='ignore'"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The key."""
        return (self.source,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What stands for it."""
        return tuple(self.node.output)

    @cached_property
    def _attributes(self) -> dict[str, Any]:
        made = {one.name: helper.get_attribute_value(one) for one in self.node.attribute}
        for name in ("keys", "values", "default"):
            if f"{name}_tensor" in made:
                made[name] = numpy_helper.to_array(made[f"{name}_tensor"]).ravel().tolist()
        return made

    def _first(self, *names: str) -> Any:
        return next(self._attributes[name] for name in names if name in self._attributes)

    @cached_property
    def _keys(self) -> list[Any]:
        """The keys; the first of two equal ones counts."""
        keys = self._first("keys", "keys_strings", "keys_int64s", "cats_strings")
        return [key.encode() if isinstance(key, str) else key for key in keys]

    def code(self, name: str, tensors: Tensors) -> str:
        """The tables and the function."""
        out = tensors[self.outputs[0]]
        order = sorted(set(self._keys))
        first = {key: i for i, key in reversed(list(enumerate(self._keys)))}
        places = [first[key] for key in order]
        if isinstance(order[0], bytes):
            keys, key, find = (
                word_table(name, order),
                "const char *data, size_t size",
                f"find_text(data, size, {name}_words",
            )
        else:
            keys = table(f"static const int64_t {name}_keys[]", [number(one, "int64") for one in order])
            tensor = tensors[self.source]
            key = tensor.parameter("key", constant=True)
            find = f"find_number({'*' * len(tensor.shape)}key, {name}_keys"
        body = (
            self._one_hot(name, out, places) if self.node.op_type == "OneHotEncoder" else self._value(name, out, places)
        )
        head = f"static void {name}({key}, {out.parameter('out', constant=False)})"
        return f"{keys}\n\n{body[0]}\n\n{head}\n{{\n    const int place = {find}, {len(order)});\n{body[1]}\n}}"

    def _value(self, name: str, out: Tensor, places: Sequence[int]) -> tuple[str, str]:
        values = self._first("values", "values_floats", "values_int64s")
        default = self._first("default", "default_float", "default_int64")
        otherwise = number(default[0] if isinstance(default, list) else default, out.dtype)
        made = table(f"static const {out.c_type} {name}_values[]", [number(values[i], out.dtype) for i in places])
        return made, f"    {'*' * len(out.shape)}out = place < 0 ? {otherwise} : {name}_values[place];"

    def _one_hot(self, name: str, out: Tensor, places: Sequence[int]) -> tuple[str, str]:
        made = table(f"static const int32_t {name}_places[]", [str(place) for place in places])
        first = f"({out.c_type} *)out"
        return made, (
            f"    memset(out, 0, {out.size} * sizeof({out.c_type}));\n"
            f"    if (place >= 0)\n        ({first})[{name}_places[place]] = 1;"
        )
