"""Words of a text as C: cut at the letters that are in no word, looked up, counted."""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import onnx
from onnx import helper

from lockstep.errors import ExportRefused
from training.exports.c.literals import table
from training.exports.c.lookups import word_table
from training.exports.c.parts import Tensors

__all__ = ["Words", "letters"]

_CLASS = re.compile(r"\[\^?(?:[\x20-\x5a\x5e-\x7e]|\\[wdtn\W_])+\]\+", re.ASCII)
"""One class of ASCII characters, once or more."""
_ASCII = range(128)
_SHORTHANDS = {r"\w+": r"[\w]+", r"\d+": r"[\d]+", r"\S+": r"[^\t\n\f\r ]+"}
"""What stands for a class, with the meaning that ONNX Runtime's regular expressions give it."""


def letters(pattern: str) -> frozenset[int] | None:
    """The bytes that words are made of, where words are the longest runs of one class of characters; else None.

    Bytes from 128 on are parts of UTF-8 characters beyond ASCII: a class has all of them or none.

    >>> sorted(set(range(256)) - letters("[^ ]+")), letters("a|b")
    ([32], None)
    """
    pattern = _SHORTHANDS.get(pattern, pattern)
    if not _CLASS.fullmatch(pattern):
        return None
    one = re.compile(pattern[:-1], re.ASCII)
    inside = {byte for byte in _ASCII if one.fullmatch(chr(byte))}
    return frozenset(inside | (set(range(128, 256)) if pattern.startswith("[^") else set()))


@dataclass(frozen=True)
class Words:
    """A Tokenizer and the TfIdfVectorizer behind it, over one text column."""

    tokenizer: onnx.NodeProto
    counter: onnx.NodeProto
    column: str

    def __post_init__(self) -> None:
        cuts, counts = _attributes(self.tokenizer), _attributes(self.counter)
        pattern = cuts.get("tokenexp", b"").decode()
        if letters(pattern) is None or cuts.get("mark") or cuts.get("mincharnum", 1) > 1:
            raise ExportRefused(
                self.counter.output[0],
                f"words found by the pattern {pattern!r}",
                "token_pattern='[^ ]+' or another class of ASCII characters followed by +",
            )
        if counts["max_gram_length"] != 1 or counts["mode"] != b"TF" or "pool_strings" not in counts:
            raise ExportRefused(self.counter.output[0], "a vectorizer of several words in a row", "ngram_range=(1, 1)")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The text."""
        return (self.column,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """How often each word of the vocabulary stands in it."""
        return tuple(self.counter.output)

    @cached_property
    def _vocabulary(self) -> dict[bytes, int]:
        """Place in the output by word."""
        counts = _attributes(self.counter)
        return dict(zip(counts["pool_strings"], counts["ngram_indexes"], strict=True))

    def code(self, name: str, tensors: Tensors) -> str:
        """The vocabulary and the function."""
        cuts, out = _attributes(self.tokenizer), tensors[self.outputs[0]]
        words = sorted(self._vocabulary)
        places = table(f"static const int32_t {name}_places[]", [str(self._vocabulary[word]) for word in words])
        return f"""{word_table(name, words)}

{places}

static int {name}_letter(unsigned char byte)
{{
    return {_condition(letters(cuts["tokenexp"].decode()) or frozenset())};
}}

static void {name}(const char *data, size_t size, {out.parameter("out", constant=False)})
{{
    memset(out, 0, {out.size} * sizeof({out.c_type}));
    for (size_t at = 0; at < size;) {{
        while (at < size && !{name}_letter((unsigned char)data[at]))
            ++at;
        const size_t start = at;
        while (at < size && {name}_letter((unsigned char)data[at]))
            ++at;
        if (at > start) {{
            const int place = find_text(data + start, at - start, {name}_words, {len(words)});
            if (place >= 0)
                out[0][{name}_places[place]] += 1;
        }}
    }}
}}"""


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _condition(inside: frozenset[int]) -> str:
    """A C expression that is true for these bytes, or for all others where they are fewer.

    >>> _condition(frozenset({48, 49, 50, 95}))
    '(byte >= 48 && byte <= 50) || byte == 95'
    """
    runs = [
        [byte for _, byte in group] for _, group in groupby(enumerate(sorted(inside)), lambda pair: pair[1] - pair[0])
    ]
    return " || ".join(_run(run[0], run[-1]) for run in runs) or "0"


def _run(low: int, high: int) -> str:
    """No comparison that is always true: compilers warn of those."""
    if low == high:
        return f"byte == {low}"
    if low == 0:
        return "1" if high == 255 else f"byte <= {high}"
    return f"byte >= {low}" if high == 255 else f"(byte >= {low} && byte <= {high})"
