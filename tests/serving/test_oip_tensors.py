"""What a tensor carries is what the column holds, for every datatype; the rest is refused by name and row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import BadRequest
from lockstep.plan import DType
from protos.inference import grpc_service_pb2 as pb
from serving.oip_tensors import DATATYPES, NATURAL, TAKEN, Output, column, put
from tests.serving.tensors import Tensor, raw_of, tensor

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PAIRS = [(wanted, datatype) for wanted, taken in TAKEN.items() for datatype in taken]


def values_of(datatype: str) -> st.SearchStrategy[Any]:
    """Values that a datatype can hold and a column can take."""
    numpy = DATATYPES[datatype].numpy
    if numpy is None:
        return TEXT
    if numpy.kind == "f":
        return st.floats(width=numpy.itemsize * 8)  # type: ignore[arg-type]  # 16, 32 or 64
    if datatype == "BOOL":
        return st.integers(0, 1)
    held = np.iinfo(numpy)
    return st.integers(held.min, min(held.max, 2**63 - 1))


@given(st.data(), st.sampled_from(PAIRS), st.booleans())
@settings(max_examples=400)
def test_what_was_sent_is_what_the_column_holds(data: st.DataObject, pair: tuple[DType, str], raw: bool) -> None:
    wanted, datatype = pair
    raw = raw or datatype == "FP16"  # which has no typed contents
    values = data.draw(st.lists(values_of(datatype), min_size=1, max_size=5))
    shape = data.draw(st.sampled_from([[len(values)], [len(values), 1]]))
    sent = Tensor(name="x", datatype=datatype, shape=shape) if raw else tensor("x", datatype, *values, shape=shape)
    got = column(sent, raw_of(datatype, *values) if raw else None, wanted, 5)
    assert got.shape == (len(values),)
    assert got.dtype.kind in {"string": "O", "int64": "iu"}.get(wanted.value, "iuf")
    np.testing.assert_array_equal(got, np.array(values, got.dtype))


def test_every_dtype_takes_its_natural_datatype_first() -> None:
    assert NATURAL.keys() == TAKEN.keys() == set(DType)
    assert all(NATURAL[wanted] in taken for wanted, taken in TAKEN.items())


def test_a_raw_buffer_is_read_where_it_lies() -> None:
    buffer = raw_of("INT64", 1, 2)
    got = column(Tensor(name="x", datatype="INT64", shape=[2]), buffer, DType.INT64, 2)
    assert np.shares_memory(got, np.frombuffer(buffer, np.int64))


INT, STR, F32 = DType.INT64, DType.STRING, DType.FLOAT32
BAD_RAW = {
    "float for int": (INT, "FP64", [1], raw_of("FP64", 1), "datatype 'FP64'", "INT64, INT32"),
    "text for int": (INT, "BYTES", [1], raw_of("BYTES", "1"), "'BYTES'", "expected int64"),
    "bool for int": (INT, "BOOL", [1], b"\1", "'BOOL'", "expected int64"),
    "text for float": (F32, "BYTES", [1], raw_of("BYTES", "1"), "'BYTES'", "expected float32"),
    "int for text": (STR, "INT64", [1], raw_of("INT64", 1), "'INT64'", "which takes BYTES"),
    "short float for time": (DType.TIMESTAMP, "FP32", [1], raw_of("FP32", 1), "'FP32'", "expected timestamp"),
    "bfloat": (F32, "BF16", [1], b"\0\0", "'BF16'", "FP32"),
    "no datatype": (INT, "", [1], raw_of("INT64", 1), "datatype ''"),
    "scalar": (INT, "INT64", [], raw_of("INT64", 1), "shape []", "[rows, 1]"),
    "row vector": (INT, "INT64", [1, 2], raw_of("INT64", 1, 2), "shape [1, 2]", "[rows], [rows, 1] or [1]"),
    "matrix": (INT, "INT64", [2, 2], raw_of("INT64", 1, 2, 3, 4), "shape [2, 2]"),
    "cube": (INT, "INT64", [1, 1, 1], raw_of("INT64", 1), "shape [1, 1, 1]"),
    "many dimensions": (INT, "INT64", [1] * 1000, raw_of("INT64", 1), "shape [1, 1, 1, 1, 1, ...]"),
    "negative": (INT, "INT64", [-1], raw_of("INT64", 1), "shape [-1]"),
    "negative twice": (INT, "INT64", [-1, -1], raw_of("INT64", 1), "shape [-1, -1]"),
    "overflowing": (INT, "INT64", [2**62, 2**62], b"", "shape [4611686018427387904, 4611686018427387904]"),
    "overflowing bytes": (INT, "INT64", [2**62, 1], b"", "4611686018427387904 rows", "at most 5"),
    "too many": (INT, "INT64", [6], raw_of("INT64", *range(6)), "6 rows", "at most 5"),
    "too many texts": (STR, "BYTES", [6], raw_of("BYTES", *"abcdef"), "6 rows", "at most 5"),
    "none": (INT, "INT64", [0], b"", "no rows"),
    "too few bytes": (INT, "INT64", [2], raw_of("INT64", 1), "8 bytes", "2 rows of INT64 are 16"),
    "too many bytes": (INT, "INT32", [1], raw_of("INT64", 1), "8 bytes", "1 rows of INT32 are 4"),
    "unsigned overflow": (INT, "UINT64", [2], raw_of("UINT64", 1, 2**63), "row 1", "9223372036854775808", "2^63 - 1"),
    "bool of 2": (F32, "BOOL", [3], b"\0\1\2", "row 2", "0 or 1"),
    "length cut off": (STR, "BYTES", [2], raw_of("BYTES", "ab") + b"\0\0", "row 1", "ends after 8 bytes"),
    "text cut off": (STR, "BYTES", [2], raw_of("BYTES", "ab", "abc")[:-1], "row 1", "announces 3 bytes", "2 are left"),
    "text of 4 GB": (STR, "BYTES", [1], b"\xff\xff\xff\xff", "row 0", "announces 4294967295 bytes", "0 are left"),
    "bytes left over": (STR, "BYTES", [1], raw_of("BYTES", "ab", "c"), "5 bytes are left", "last of 1 rows"),
    "no bytes at all": (STR, "BYTES", [1], b"", "row 0", "ends after 0 bytes"),
    "not UTF-8": (STR, "BYTES", [2], raw_of("BYTES", "a", b"b\xff"), "row 1", "UTF-8 at byte 1"),
    "half a surrogate pair": (STR, "BYTES", [1], raw_of("BYTES", b"\xed\xa0\x80"), "row 0", "UTF-8"),
}


@pytest.mark.parametrize("case", BAD_RAW.values(), ids=BAD_RAW.keys())
def test_a_bad_raw_tensor_is_refused_by_name_and_row(case: tuple[Any, ...]) -> None:
    wanted, datatype, shape, buffer, *parts = case
    with pytest.raises(BadRequest) as raised:
        column(Tensor(name="x", datatype=datatype, shape=shape), buffer, wanted, 5)
    assert all(part in str(raised.value) for part in ("column 'x'", *parts)), str(raised.value)


def typed(datatype: str, shape: list[int], **contents: Any) -> Tensor:
    """A tensor whose contents need not fit its datatype."""
    return Tensor(name="x", datatype=datatype, shape=shape, contents=pb.InferTensorContents(**contents))


BAD_TYPED = {
    "nothing": (INT, Tensor(name="x", datatype="INT64", shape=[1]), "0 values", "1 rows"),
    "too few": (INT, typed("INT64", [2], int64_contents=[1]), "int64_contents has 1 values", "2 rows"),
    "too many": (INT, typed("INT64", [1], int64_contents=[1, 2]), "2 values", "1 rows"),
    "half floats": (F32, Tensor(name="x", datatype="FP16", shape=[1]), "no FP16", "raw buffer", "FP32"),
    "wrong field": (INT, typed("INT64", [1], int_contents=[1]), "carries int_contents", "int64_contents alone"),
    "two fields": (INT, typed("INT64", [1], int64_contents=[1], fp32_contents=[1]), "fp32_contents"),
    "beyond INT8": (INT, typed("INT8", [2], int_contents=[1, 300]), "row 1", "300", "-128 to 127"),
    "beyond UINT16": (INT, typed("UINT16", [1], uint_contents=[70_000]), "row 0", "70000", "0 to 65535"),
    "beyond int64": (INT, typed("UINT64", [1], uint64_contents=[2**63]), "row 0", "2^63 - 1"),
    "not UTF-8": (STR, typed("BYTES", [1], bytes_contents=[b"\xff"]), "row 0", "UTF-8"),
    "rows that were not sent": (STR, typed("BYTES", [2**62], bytes_contents=[b"a"]), "at most 5"),
}


@pytest.mark.parametrize("case", BAD_TYPED.values(), ids=BAD_TYPED.keys())
def test_a_bad_typed_tensor_is_refused_by_name_and_row(case: tuple[Any, ...]) -> None:
    wanted, sent, *parts = case
    with pytest.raises(BadRequest) as raised:
        column(sent, None, wanted, 5)
    assert all(part in str(raised.value) for part in ("column 'x'", *parts)), str(raised.value)


@given(st.binary(max_size=60), st.integers(0, 6))
def test_bytes_that_nobody_wrote_never_crash_and_never_lie(buffer: bytes, rows: int) -> None:
    try:
        got = column(Tensor(name="x", datatype="BYTES", shape=[rows]), buffer, DType.STRING, 5)
    except BadRequest:
        return
    assert raw_of("BYTES", *got) == buffer


OUTPUTS = [
    Output("score", "FP64", np.array([0.5, 1 / 3])),
    Output("rung", "INT32", np.array([1], np.int32)),
    Output("status.v", "INT64", np.array([2**62, 0])),
    Output("model_version", "BYTES", [b"12", b""]),
]


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: str(output.name))
def test_an_output_says_the_same_raw_and_typed(output: Output) -> None:
    raw, contents = pb.ModelInferResponse(), pb.ModelInferResponse()
    put(raw, output, raw=True)
    put(contents, output, raw=False)
    values = list(output.values)
    assert list(raw.raw_output_contents) == [raw_of(output.datatype, *values)]
    assert list(getattr(contents.outputs[0].contents, DATATYPES[output.datatype].field)) == values
    assert (list(contents.raw_output_contents), raw.outputs[0].HasField("contents")) == ([], False)
    for reply in (raw, contents):
        assert [(one.name, one.datatype, list(one.shape)) for one in reply.outputs] == [
            (output.name, output.datatype, [len(values)])
        ]
