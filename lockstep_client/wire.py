"""Packed protobuf fields straight from and to numpy, for the two fixed-width types: a copy instead of a loop."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["doubles_field", "only_field", "packed_field", "read_packed_doubles"]

WIRE_LENGTH = 2
"""Wire type of a field that says its length in bytes first."""


def packed_field(number: int, content: bytes) -> bytes:
    """Field `number` (1 to 15) of a message, packed: tag, length, content. See the encoding chapter of protobuf's docs.

    >>> packed_field(1, bytes(8)).hex()
    '0a080000000000000000'
    """
    return bytes((number << 3 | WIRE_LENGTH,)) + _varint(len(content)) + content


def doubles_field(values: NDArray[np.floating]) -> bytes:
    """The message `Doubles` of these values."""
    return packed_field(1, values.astype("<f8", copy=False).tobytes())


def read_packed_doubles(message: bytes, count: int) -> NDArray[np.float64] | None:
    """The `count` values of field 1, where the message begins with all of them; None where it does not.

    Any writer may split or move a packed field, though none is known to: the caller then reads it the slow way.
    """
    if not (count and message) or message[0] != 1 << 3 | WIRE_LENGTH:
        return None
    length, start = _read_varint(message, 1)
    if length != 8 * count:
        return None
    return np.frombuffer(message, "<f8", count, start).astype(np.float64)


def only_field(message: bytes) -> bytes:
    """What field 1 of a message holds where it is all that the message holds; else nothing."""
    if not message or message[0] != 1 << 3 | WIRE_LENGTH:
        return b""
    length, start = _read_varint(message, 1)
    return message[start:] if start + length == len(message) else b""


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the high bit set on all but the last.

    >>> _varint(300).hex()
    'ac02'
    """
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*groups, number))


def _read_varint(message: bytes, start: int) -> tuple[int, int]:
    """The number at `start`, and where what follows begins."""
    number, shift = 0, 0
    while True:
        byte = message[start]
        number, shift, start = number | (byte & 0x7F) << shift, shift + 7, start + 1
        if byte < 0x80:
            return number, start
