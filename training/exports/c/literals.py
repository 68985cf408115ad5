"""Python values as C: identifiers, numbers that are read back bit for bit, texts, tables."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["C_TYPES", "comment", "identifier", "identifiers", "number", "table", "text"]

C_TYPES = {"float32": "float", "float64": "double", "int64": "int64_t", "int32": "int32_t"}
"""By numpy's name of a dtype."""

_KEYWORDS = """
alignas alignof and auto bool break case catch char class const constexpr continue decltype default delete do double
else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not
nullptr operator or private protected public register restrict return short signed sizeof static static_assert
struct switch template this thread_local throw true try typedef typeid typename typeof union unsigned using virtual
void volatile wchar_t while xor linux unix INFINITY NAN NULL
"""
"""Of C and of C++, which may include the header, and macros that a field must not be named as."""
_WIDTH = 116


def identifier(name: str) -> str:
    """A name as C takes it.

    >>> identifier("clicks-1h"), identifier("1h"), identifier("default")
    ('clicks_1h', '_1h', 'default_')
    """
    made = re.sub(r"\W", "_", name, flags=re.ASCII)
    made = f"_{made}" if made[:1].isdigit() or not made else made
    return f"{made}_" if made in _KEYWORDS.split() else made


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """An identifier for each name, different ones for different names: a second one of the same form gets a number.

    >>> identifiers(["a-b", "a.b"])
    {'a-b': 'a_b', 'a.b': 'a_b_2'}
    """
    made: dict[str, str] = {}
    for name in names:
        first = identifier(name)
        tries = [first, *(f"{first}_{i}" for i in range(2, len(made) + 3))]
        made[name] = next(one for one in tries if one not in made.values())
    return made


def number(value: Any, dtype: np.dtype[np.generic] | str) -> str:
    """A literal of that dtype; the compiler reads back the same bits.

    >>> number(0.1, "float32"), number(2, "float64"), number(-7, "int64")
    ('0.1f', '2.0', 'INT64_C(-7)')
    """
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        return _integer(int(value), kind)
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{kind.type(value)!s}{'f' if kind == np.float32 else ''}"


def _integer(value: int, kind: np.dtype[np.generic]) -> str:
    if value == np.iinfo(np.int64).min:
        return "INT64_MIN"  # its digits alone would not fit
    return f"INT64_C({value})" if kind.itemsize == 8 else str(value)


def text(content: bytes) -> str:
    r"""A string literal of any bytes; octal escapes end after three digits, whatever follows.

    >>> print(text(b'a"b'), text("é".encode()))
    "a\042b" "\303\251"
    """
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in content)
    return f'"{"".join(plain)}"'


def comment(words: str) -> str:
    """Words that cannot end the comment they stand in."""
    return " ".join(words.split()).replace("*/", "* /").replace("/*", "/ *")


def table(declaration: str, entries: Sequence[str]) -> str:
    """A constant array, e.g. of `static const int x[]`, with as many entries a line as fit."""
    lines = [""]
    for entry in entries:
        if lines[-1] and len(lines[-1]) + len(entry) > _WIDTH:
            lines.append("")
        lines[-1] += f"{entry}, "
    return "\n".join([f"{declaration} = {{", *(f"    {line.rstrip()}" for line in lines), "};"])
