"""Tensors of the Open Inference Protocol and columns: one at a time, in both directions.

Whatever a caller sends either becomes a column or raises an error that names the tensor, the row and what was expected.
Nothing is allocated for rows that were announced and not sent.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import BadColumn, TooManyRows
from lockstep.plan import Array, DType
from protos.inference import grpc_service_pb2 as pb

__all__ = ["DATATYPES", "NATURAL", "TAKEN", "Output", "column", "put", "texts"]


@dataclass(frozen=True)
class Datatype:
    """One datatype of the protocol."""

    numpy: np.dtype[Any] | None
    """Of an element in a raw buffer; None: elements of differing length."""
    field: str
    """Of InferTensorContents; '': typed contents cannot carry it."""


def _datatype(numpy: str, field: str) -> Datatype:
    return Datatype(np.dtype(numpy), field)


DATATYPES = {
    "BOOL": _datatype("u1", "bool_contents"),
    "INT8": _datatype("i1", "int_contents"),
    "INT16": _datatype("<i2", "int_contents"),
    "INT32": _datatype("<i4", "int_contents"),
    "INT64": _datatype("<i8", "int64_contents"),
    "UINT8": _datatype("u1", "uint_contents"),
    "UINT16": _datatype("<u2", "uint_contents"),
    "UINT32": _datatype("<u4", "uint_contents"),
    "UINT64": _datatype("<u8", "uint64_contents"),
    "FP16": _datatype("<f2", ""),
    "FP32": _datatype("<f4", "fp32_contents"),
    "FP64": _datatype("<f8", "fp64_contents"),
    "BYTES": Datatype(None, "bytes_contents"),
}
_INTEGERS = ("INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")
_NUMBERS = ("FP32", "FP64", "FP16", *_INTEGERS, "BOOL")
TAKEN = {
    DType.FLOAT32: _NUMBERS,
    DType.FLOAT64: _NUMBERS,
    DType.INT64: _INTEGERS,
    DType.STRING: ("BYTES",),
    DType.TIMESTAMP: (*_INTEGERS, "FP64"),  # FP32 would round times of today to two minutes
}
"""The datatypes that a column of the plan takes. A Feast Bool is a FLOAT32 of the plan, hence BOOL."""
NATURAL = {
    DType.FLOAT32: "FP32",
    DType.FLOAT64: "FP64",
    DType.INT64: "INT64",
    DType.STRING: "BYTES",
    DType.TIMESTAMP: "FP64",
}
"""The datatype that the metadata name: that of the column itself, NULL included."""
_LENGTH = struct.Struct("<I")
_LAST_INT64 = 2**63 - 1


def column(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, wanted: DType, max_rows: int) -> Array:
    """The column that a tensor carries, shape (rows,): integers, floats or an object array of str.

    `raw` is its buffer, None where the tensor holds typed contents; `wanted` the dtype in the plan. The array may be a
    read-only view of the buffer. Raises BadColumn.
    """
    name, datatype = tensor.name, tensor.datatype
    if datatype not in TAKEN[wanted]:
        taken = ", ".join(TAKEN[wanted])
        raise BadColumn(name, f"is of datatype {datatype!r}; expected {wanted.value}, which takes {taken}.")
    rows = _rows(name, tensor.shape, max_rows)
    if raw is None:
        values = _typed(name, datatype, tensor.contents, rows)
    elif datatype == "BYTES":
        values = texts(name, raw, rows)
    else:
        values = _fixed(name, datatype, raw, rows)
    return _checked(name, datatype, values)


def texts(name: str, raw: bytes, rows: int) -> NDArray[np.object_]:
    """The texts in a BYTES buffer of so many rows, an object array of str. Raises BadColumn."""
    return _strings(name, _elements(name, raw, rows))


def _rows(name: str, shape: Sequence[int], max_rows: int) -> int:
    dimensions = len(shape)
    rows = shape[0] if dimensions == 1 or (dimensions == 2 and shape[1] == 1) else -1
    if rows < 0:
        raise BadColumn(name, f"has shape {_shown(shape)}; expected [rows], [rows, 1] or [1].")
    if rows == 0:
        raise BadColumn(name, "has no rows; send at least one value.")
    if rows > max_rows:
        raise TooManyRows(rows, max_rows, name)
    return rows


def _shown(shape: Sequence[int]) -> str:
    return str([*shape[:5], *(["..."] if len(shape) > 5 else [])]).replace("'", "")


def _fixed(name: str, datatype: str, raw: bytes, rows: int) -> Array:
    numpy = DATATYPES[datatype].numpy
    assert numpy is not None
    if len(raw) != rows * numpy.itemsize:
        raise BadColumn(
            name,
            f"its buffer has {len(raw)} bytes; {rows} rows of {datatype} are {rows * numpy.itemsize}.",
        )
    return np.frombuffer(raw, numpy)


def _elements(name: str, raw: bytes, rows: int) -> list[bytes]:
    """The elements of a BYTES buffer: each its length as a 4-byte little-endian integer, then its bytes."""
    elements, at = [], 0
    try:
        for _ in range(rows):
            start = at + _LENGTH.size
            at = start + _LENGTH.unpack_from(raw, at)[0]
            elements.append(raw[start:at])
    except struct.error as error:
        raise _malformed(name, raw, rows) from error
    if at != len(raw):  # a length that overruns the buffer is seen here too: `at` only grows
        raise _malformed(name, raw, rows)
    return elements


def _malformed(name: str, raw: bytes, rows: int) -> BadColumn:
    """What is wrong with a BYTES buffer, at the first row where it is."""
    at, end = 0, len(raw)
    for row in range(rows):
        start = at + _LENGTH.size
        if start > end:
            problem = f"its buffer ends after {end} bytes; expected 4 bytes with the length of this element."
            return BadColumn(name, problem, row=row)
        at = start + _LENGTH.unpack_from(raw, at)[0]
        if at > end:
            problem = f"announces {at - start} bytes; {end - start} are left in its buffer."
            return BadColumn(name, problem, row=row)
    return BadColumn(name, f"{end - at} bytes are left in its buffer after the last of {rows} rows.")


def _strings(name: str, elements: Sequence[bytes]) -> NDArray[np.object_]:
    strings = np.empty(len(elements), object)
    try:
        strings[:] = [element.decode() for element in elements]
    except UnicodeDecodeError as error:
        raise _not_utf8(name, elements) from error
    return strings


def _not_utf8(name: str, elements: Sequence[bytes]) -> BadColumn:
    for row, element in enumerate(elements):
        try:
            element.decode()
        except UnicodeDecodeError as error:
            return BadColumn(name, f"is not UTF-8 at byte {error.start}; expected a string in UTF-8.", row=row)
    raise AssertionError("every element is UTF-8")


def _typed(name: str, datatype: str, contents: pb.InferTensorContents, rows: int) -> Array:
    field = DATATYPES[datatype].field
    if not field:
        raise BadColumn(name, f"typed contents carry no {datatype}; send it as a raw buffer, or as FP32.")
    for other, _ in contents.ListFields():
        if other.name != field:
            raise BadColumn(name, f"carries {other.name}; a tensor of {datatype} is carried by {field} alone.")
    values = getattr(contents, field)
    if len(values) != rows:
        raise BadColumn(name, f"{field} has {len(values)} values; its shape says {rows} rows.")
    if datatype == "BYTES":
        return _strings(name, values)
    return _narrowed(name, datatype, np.fromiter(values, _WIDE[field], rows))


_WIDE: dict[str, str] = {
    "bool_contents": "u1",
    "int_contents": "i4",
    "int64_contents": "i8",
    "uint_contents": "u4",
    "uint64_contents": "u8",
    "fp32_contents": "f4",
    "fp64_contents": "f8",
}
"""Numpy dtype of a field of InferTensorContents."""


def _narrowed(name: str, datatype: str, values: Array) -> Array:
    """Refuse what the field can hold and the datatype cannot, e.g. 300 as an INT8."""
    numpy = DATATYPES[datatype].numpy
    if datatype == "BOOL" or numpy is None or numpy.itemsize == values.dtype.itemsize:
        return values
    held = np.iinfo(numpy)
    _refuse(name, values, (values < held.min) | (values > held.max), f"{held.min} to {held.max}, as {datatype} says")
    return values


def _checked(name: str, datatype: str, values: Array) -> Array:
    """Refuse what a raw BOOL or an unsigned integer can hold and no column can."""
    if datatype == "BOOL":
        _refuse(name, values, values > 1, "0 or 1, as BOOL says")
    elif datatype == "UINT64":
        _refuse(name, values, values > _LAST_INT64, "at most 2^63 - 1")
    return values


def _refuse(name: str, values: Array, wrong: NDArray[np.bool_], expected: str) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise BadColumn(name, f"{values[row]} is out of range; expected {expected}.", row=row)


@dataclass(frozen=True)
class Output:
    """One tensor of a reply."""

    name: str
    datatype: str
    """FP64, INT64, INT32 or BYTES."""
    values: Array | list[bytes]
    """One-dimensional, of the datatype's numpy dtype; a list for BYTES."""


def put(reply: pb.ModelInferResponse, output: Output, *, raw: bool) -> None:
    """Add a tensor to a reply, its values raw or typed."""
    datatype = DATATYPES[output.datatype]
    tensor = reply.outputs.add(name=output.name, datatype=output.datatype, shape=(len(output.values),))
    if not raw:
        getattr(tensor.contents, datatype.field).extend(
            output.values if isinstance(output.values, list) else output.values.tolist()
        )
    elif isinstance(output.values, list):
        reply.raw_output_contents.append(b"".join(_LENGTH.pack(len(one)) + one for one in output.values))
    else:
        reply.raw_output_contents.append(output.values.astype(datatype.numpy, copy=False).tobytes())
