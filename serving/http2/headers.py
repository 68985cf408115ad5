"""The headers of a request: out of HPACK, checked, and turned into what a call has to know.

Most requests of a connection have the same header block, byte for byte: once its fields are in the table they are named
by their places. Such a block is read once. It means the same for as long as the table does not change.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import grpc
from hpack import Decoder, HPACKError

from serving.http2.frames import Broken, ErrorCode
from serving.http2.messages import ENCODINGS

__all__ = ["LARGEST_BLOCK", "LARGEST_LIST", "Malformed", "NotGrpc", "Opening", "Refused", "RequestHeaders"]

LARGEST_LIST: Final = 16_384
"""Bytes of a request's headers as RFC 9113 counts them, 32 for each beside its text."""
LARGEST_BLOCK: Final = 4 * LARGEST_LIST
"""Bytes of headers, packed or not, past which the connection ends. Between the two the request alone is refused."""
_KEPT: Final = 64
"""Blocks whose meaning is remembered, per connection."""
_SIZE_UPDATES: Final = range(0x20, 0x40)
"""First bytes of blocks that change the size of the table."""
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
_NAME: Final = re.compile(rb"[0-9a-z_.\-!#$%&'*+^`|~]+")
_NO_VALUE: Final = re.compile(rb"[\x00\r\n]")
"""What no value holds. Blanks around one are against the letter of RFC 9113; gRPC's own clients send them."""
_CONNECTION_BOUND: Final = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
_OF_HTTP: Final = {"content-type", "te", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"}
_PSEUDO: Final = {b":method", b":scheme", b":path", b":authority"}

Metadata = Sequence[tuple[str, str | bytes]]


class Malformed(Exception):
    """Headers that no request may have: the stream is reset."""


class Refused(Exception):
    """A call that this server does not take."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code


class NotGrpc(Exception):
    """A request of HTTP that is no call of gRPC."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
        """Of HTTP."""


class Opening(NamedTuple):
    """What the headers of a call say."""

    path: str
    """/service/method."""
    timeout_s: float | None
    """How long the caller waits for the end of the call; None: for ever."""
    encoding: str
    """What its messages are compressed with; 'identity' is nothing."""
    metadata: Metadata
    """The caller's own headers; those whose names end in -bin are bytes."""


class RequestHeaders:
    """The header blocks of one connection's requests, in their order."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=LARGEST_BLOCK)
        self._known: dict[bytes, Opening] = {}

    def read(self, block: bytes) -> Opening:
        """What a request's block says.

        Raises Broken where the table cannot be followed any more, else Malformed, NotGrpc or Refused for this request
        alone.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        newest = self._newest()
        opening = _opening(self.skip(block))
        if self._newest() is newest and block[0] not in _SIZE_UPDATES:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[block] = opening
        return opening

    def skip(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """The fields of a block; all that opens no call is read for the table alone. Raises Broken."""
        newest = self._newest()
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as error:
            raise Broken(ErrorCode.COMPRESSION_ERROR, f"a header block cannot be read: {error}") from error
        finally:
            if self._newest() is not newest or (block and block[0] in _SIZE_UPDATES):
                self._known.clear()

    def _newest(self) -> object:
        """The entry that came last: a table has changed where this is another object, or its size was."""
        entries = self._decoder.header_table.dynamic_entries
        return entries[0] if entries else None


def _opening(fields: Sequence[tuple[bytes, bytes]]) -> Opening:
    if sum(len(name) + len(value) + 32 for name, value in fields) > LARGEST_LIST:
        raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"headers of more than {LARGEST_LIST} bytes")
    pseudo = _pseudo(fields)
    if pseudo[b":method"] != b"POST":
        raise NotGrpc(405)
    plain = [(name.decode("ascii"), value) for name, value in fields if not name.startswith(b":")]
    named = {name: value.decode("latin-1") for name, value in plain if name in _OF_HTTP}
    kind = named.get("content-type", "")
    if kind != "application/grpc" and not kind.startswith(("application/grpc+", "application/grpc;")):
        raise NotGrpc(415)
    encoding = named.get("grpc-encoding", "identity")
    if encoding not in ENCODINGS:
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"grpc-encoding {encoding!r} is not known")
    metadata = tuple(_metadatum(name, value) for name, value in plain if name not in _OF_HTTP)
    return Opening(pseudo[b":path"].decode("latin-1"), _timeout_s(named.get("grpc-timeout")), encoding, metadata)


def _pseudo(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Method, scheme, path and authority. Raises Malformed where the fields are not those of a request."""
    found: dict[bytes, bytes] = {}
    began = False
    for name, value in fields:
        if name.startswith(b":"):
            if began or name in found or name not in _PSEUDO:
                raise Malformed(f"{name!r} out of its place")
            found[name] = value
        elif not _NAME.fullmatch(name) or name in _CONNECTION_BOUND or _NO_VALUE.search(value):
            raise Malformed(f"{name!r} is no header of HTTP/2")
        else:
            began = True
    if not found.keys() >= {b":method", b":scheme", b":path"}:
        raise Malformed("no method, scheme or path")
    return found


def _timeout_s(text: str | None) -> float | None:
    if text is None:
        return None
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise Malformed(f"grpc-timeout is {text!r}")
    return int(found[1]) * _UNITS[found[2]]


def _metadatum(name: str, value: bytes) -> tuple[str, str | bytes]:
    if not name.endswith("-bin"):
        return name, value.decode("latin-1")
    try:
        return name, b"".join(
            base64.b64decode(one + b"=" * (-len(one) % 4), validate=True) for one in value.split(b",")
        )
    except binascii.Error as error:
        raise Malformed(f"{name} is not base64") from error


def _bytes(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
