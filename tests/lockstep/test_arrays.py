"""Arrow arrays by way of their buffers: the values are those that Arrow's own ways give, and pandas stays outside."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep import arrays
from tests.lockstep.test_lookup import NOW, packed, record

ROOT = Path(__file__).parents[2]
INTS = st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=20)
CUT = st.integers(0, 5)
PATIENT = settings(deadline=None)  # what Arrow imports for the first example takes its time


@pytest.mark.parametrize("dtype", [pa.int64(), pa.float64(), pa.int32(), pa.float32(), pa.bool_()], ids=str)
@given(found=INTS, cut=CUT)
@PATIENT
def test_numbers_are_read_as_arrow_reads_them(dtype: pa.DataType, found: list[int | None], cut: int) -> None:
    numpy = np.dtype(dtype.to_pandas_dtype())
    plain = [None if one is None else numpy.type(one).item() for one in found]
    array = pa.array(plain, dtype)[cut:]
    np.testing.assert_array_equal(arrays.null_of(array), [one is None for one in plain[cut:]])
    read = arrays.fixed_of(array, numpy)
    assert read.dtype == numpy
    assert read.tolist() == [numpy.type(0).item() if one is None else one for one in plain[cut:]]
    assert arrays.of_fixed(read, arrays.null_of(array), dtype).equals(array)


@given(st.lists(st.none() | st.text(max_size=5), max_size=12), CUT)
@PATIENT
def test_strings_are_read_as_arrow_reads_them(found: list[str | None], cut: int) -> None:
    array = pa.array(found, pa.string())[cut:]
    assert arrays.texts_of(array).tolist() == [one or "" for one in found[cut:]]
    assert arrays.lengths_of(array).tolist() == [len((one or "").encode()) for one in found[cut:]]
    plain = [(one or "").encode() for one in found]
    assert arrays.of_texts(plain).to_pylist() == plain


@pytest.mark.parametrize("dtype", [pa.string(), pa.binary(), pa.list_(pa.int64())], ids=str)
@given(st.lists(st.none() | st.text(max_size=5), max_size=12), CUT, st.data())
@PATIENT
def test_values_are_taken_as_arrow_takes_them(
    dtype: pa.DataType, found: list[str | None], cut: int, data: st.DataObject
) -> None:
    encoded: dict[pa.DataType, Any] = {pa.string(): str, pa.binary(): str.encode}
    plain = [None if one is None else encoded.get(dtype, lambda text: [len(text)])(one) for one in found]
    array = pa.array(plain, dtype)[cut:]
    places = data.draw(st.lists(st.integers(-1, len(array) - 1), max_size=12))
    taken = arrays.taken(array, np.array(places, np.int64))
    assert taken.type == dtype
    assert taken.to_pylist() == [None if place < 0 else plain[cut:][place] for place in places]
    taken.validate(full=True)


READ = """
import sys, json
import numpy as np
from lockstep.lookup import Lookup
from tests.lockstep.test_lookup import plan, record

before = set(sys.modules)
rows = [None if row is None else bytes.fromhex(row) for row in json.loads(sys.argv[1])]
lookup = Lookup(plan(), {"by_ip": [record()]})
found = lookup.read(lookup.ask({"ip": np.arange(len(rows))}, len(rows)), rows)
assert found.unreadable and found.rows.found.tolist() == [[0, 0, 2, 5]], found.rows.found
"""
WRITE = """
import sys
import numpy as np
from tests.lockstep.test_predictions import ASKED, VIEW, packed

before = set(sys.modules)
read = VIEW.read(ASKED, packed())
assert read.scores.tolist() == [0.25, 1e-300, 0.1 + 0.2], read
"""

IMPORTS = {READ: "", WRITE: "import pyarrow.compute  # a scorer does, soon after it met a cached model"}
NOTHING_NEW = 'assert set(sys.modules) == before and "pandas" not in before, set(sys.modules) - before'


@pytest.mark.parametrize("code", [READ, WRITE], ids=["rows that are not as expected", "predictions kept"])
def test_what_a_scorer_does_with_rows_imports_nothing(code: str) -> None:
    values: list[Any] = [1, 0.5, 0.25, 2, True, NOW, "a b", "c"]
    one, other = packed(record(), [values, [None] * len(values)], [NOW, NOW])
    rows = [one.hex(), other.hex(), None, "00" * 70]
    shown = f"{IMPORTS[code]}\n{code}\n{NOTHING_NEW}"
    command = [sys.executable, "-c", shown, str(rows).replace("'", '"').replace("None", "null")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
