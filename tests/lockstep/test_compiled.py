"""The hot path in C against the one in Python, value for value."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lockstep import resolve
from lockstep.compiled import SWITCH, core
from lockstep.compiled_rows import CompiledRows
from lockstep.errors import LockstepError
from lockstep.keys import KeySpace
from lockstep.lookup import Lookup
from lockstep.plan import Column, Given, JoinKey, Plan, Stored, StoredColumns, View
from lockstep.plan import DType as ServedType
from lockstep.request import Texts
from lockstep.resolve import PlanRows
from lockstep.schema import DType, Field
from lockstep.status import Rung, Status
from lockstep.unique_keys import GivenKeys
from protos.lockstep.v1 import scorer_pb2 as pb
from serving import convert, scoring
from serving.scorer import Query
from tests.lockstep.test_lookup import NOW, SEVERAL, asked, packed, plan, record, resolved, stores, whole_plan

pytestmark = pytest.mark.skipif(
    core is None, reason="no C compiler was there when Lockstep was installed: make clean install"
)

ROOT = Path(__file__).parents[2]
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
MOST = 50
PATIENT = settings(deadline=None, max_examples=200)


class TestKeys:
    """`keys`."""

    @given(st.integers(1, 5), st.integers(0, 300), st.integers(0, 2**40), st.data())
    @PATIENT
    def test_they_are_those_of_python_in_the_same_order(
        self, width: int, rows: int, first: int, data: st.DataObject
    ) -> None:
        seed = data.draw(st.integers(0, 2**32))
        few = data.draw(st.booleans())
        rng = np.random.default_rng(seed)
        low, high = (-2, 3) if few else (-(2**63), 2**63 - 1)
        columns = {f"c{i}": rng.integers(low, high, rows, dtype=np.int64, endpoint=True) for i in range(width)}
        space = KeySpace("shop", "by_ip", tuple(Field(name, DType.INT64) for name in columns))
        places = np.empty(rows, np.int64)
        found = core.keys(space.prefix, tuple(columns.values()), first, places)
        lists = [column.tolist() for column in columns.values()]
        assert found == list(dict.fromkeys(space.key(row) for row in zip(*lists, strict=True)))
        if rows:
            expected, inverse = GivenKeys(columns, rows).of(space, list(columns))
            assert found == expected
            np.testing.assert_array_equal(places, inverse + first)

    def test_a_thousand_rows_of_one_key_and_of_a_thousand(self) -> None:
        places = np.empty(1000, np.int64)
        assert core.keys(b"p", (np.full(1000, 7),), 3, places) == [b"p\x0e"]
        assert places.tolist() == [3] * 1000
        assert len(core.keys(b"p", (np.arange(1000),), 0, places)) == 1000
        assert places.tolist() == list(range(1000))

    @pytest.mark.parametrize(
        "columns",
        [
            pytest.param((), id="none"),
            pytest.param((np.zeros(2, np.int32),), id="of another type"),
            pytest.param((np.zeros((2, 1), np.int64),), id="a matrix"),
            pytest.param((np.zeros(4, np.int64)[::2],), id="with gaps"),
            pytest.param((np.zeros(3, np.int64),), id="of another length"),
            pytest.param(([1, 2],), id="a list"),
            pytest.param((np.zeros(2, np.int64),) * 17, id="too many"),
        ],
    )
    def test_other_columns_are_refused(self, columns: Any) -> None:
        with pytest.raises((TypeError, ValueError), match=r"array|length"):
            core.keys(b"p", columns, 0, np.empty(2, np.int64))

    def test_what_c_does_not_take_python_does(self) -> None:
        wide = {f"c{i:02}": np.arange(3) for i in range(17)}
        gaps = {"c": np.arange(6)[::2]}
        other = {"c": np.array([0, 2, 4], np.longlong)}
        for columns in (wide, gaps, other):
            space = KeySpace("shop", "by_ip", tuple(Field(name, DType.INT64) for name in columns))
            places = np.empty(3, np.int64)
            found = GivenKeys(columns, 3).put(space, list(columns), 5, places)
            assert found == [space.key(row) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
            assert places.tolist() == [5, 6, 7]

    def test_bytes_that_are_not_to_change_are_not_written_to(self) -> None:
        with pytest.raises(TypeError, match="places"):
            core.keys(b"p", (np.array([7, 8]),), 0, np.frombuffer(bytes(16), np.int64))


class TestRows:
    """`gather`."""

    @given(stores(), st.lists(st.integers(0, 5), min_size=1, max_size=12))
    @SEVERAL
    def test_a_model_gets_what_python_gives_it(
        self, store: tuple[Lookup, dict[bytes, bytes | None], int], wanted: list[int]
    ) -> None:
        lookup, answers, count = store
        ips = [ip % count for ip in wanted]
        assert isinstance(lookup._compiled, CompiledRows)
        fast = resolved(lookup, answers, *ips)
        lookup._compiled = None
        slow = resolved(lookup, answers, *ips)
        np.testing.assert_array_equal(fast.found, slow.found)
        np.testing.assert_array_equal(fast.replaced, slow.replaced)
        for name, values in slow.columns.items():
            assert fast.columns[name].dtype == values.dtype
            np.testing.assert_array_equal(fast.columns[name], values)

    @given(st.binary(max_size=150), st.integers(0, 2000), st.integers(0, 200))
    @PATIENT
    def test_bytes_that_nobody_wrote_are_left_to_python(self, garbage: bytes, bit: int, cut: int) -> None:
        made = record()
        sound = packed(made, [[1, 0.5, 0.25, 7, True, NOW, "ab", "ü"]], [NOW])[0]
        flipped = bytearray(sound)
        flipped[bit // 8 % len(sound)] ^= 1 << bit % 8
        shorter, longer = sound[: cut % len(sound)], sound + garbage[:1] + b"\0"
        lookup = Lookup(plan(), {"by_ip": [made]})
        assert isinstance(lookup._compiled, CompiledRows)
        request = asked(lookup, 1, 2)
        for bad in (garbage, bytes(flipped), shorter, longer):
            rows, strange = lookup._by_core(lookup._compiled, request, [sound, bad])
            assert rows.found[0].tolist() == [Status.PRESENT, Status.NOT_FOUND]
            assert strange == ({0} if bad else set())
            assert [values[:, 0].tolist() for values in rows.values.values()] == [
                [1.0, 0.5, 7.0, 1.0],
                [0.25],
                [NOW],
                ["ab", "ü"],
            ]

    def test_a_text_that_is_no_utf_8_is_left_to_python(self) -> None:
        made = record([Field("apps", DType.BYTES)])
        row = packed(made, [[b"\xff"]], [NOW])[0]
        as_text = record([Field("apps", DType.STRING)])
        forged = row[:5] + as_text.schema.fingerprint.to_bytes(8, "little") + row[13:]
        forged = _summed(forged)
        lookup = Lookup(plan(["apps"]), {"by_ip": [as_text]})
        assert isinstance(lookup._compiled, CompiledRows)
        rows, strange = lookup._by_core(lookup._compiled, asked(lookup, 1), [forged])
        assert (rows.found.tolist(), strange) == ([[Status.PRESENT]], {0})

    def test_arguments_that_do_not_fit_each_other_are_refused(self) -> None:
        made = record()
        row = packed(made, [[1, 0.5, 0.25, 7, True, NOW, "ab", ""]], [NOW])[0]
        lookup = Lookup(plan(), {"by_ip": [made]})
        compiled = lookup._compiled
        assert isinstance(compiled, CompiledRows)
        request = asked(lookup, 1)
        good, _ = lookup._by_core(compiled, request, [row])
        for places in ([[1]], [[-1]], [[2**40]]):
            with pytest.raises(ValueError, match="do not fit"):
                compiled.put([row], [1], np.array(places, np.int64), good)
        with pytest.raises(ValueError, match="do not fit"):
            compiled.put([row], [2], request.places, good)
        with pytest.raises(TypeError, match="an answer is bytes"):
            compiled.put(["text"], [1], request.places, good)  # type: ignore[list-item]
        for column, wrong in (
            (0, 1),
            (1, 9),
            (2, 10_000),
            (2, 3),
            (3, 10_000),
            (4, 8),
            (5, 7),
            (6, 99),
            (7, 99),
            (7, -1),
        ):
            table = compiled._columns.copy()
            table[0, column] = wrong
            with pytest.raises(ValueError, match="do not fit"):
                _gather(compiled, compiled._readers, table, row, request, good)
        for column, wrong in (
            (0, 3),
            (2, 10_000),
            (3, 10_000),
            (3, 2**63 - 4),
            (4, 10**9),
            (5, 2),
            (5, 2**63 - 1),
            (6, -1),
            (7, 1),
        ):
            table = compiled._readers.copy()
            table[0, column] = wrong
            with pytest.raises(ValueError, match="do not fit"):
                _gather(compiled, table, compiled._columns, row, request, good)


def _gather(compiled: CompiledRows, readers: Any, columns: Any, row: bytes, request: Any, into: Any) -> None:
    core.gather(
        readers,
        columns,
        [row],
        np.array([1], np.int64),
        request.places,
        into.found,
        into.event_us,
        into.created_us,
        into.states,
        tuple(into.values.values()),
        np.zeros(1, np.bool_),
    )


def _summed(row: bytes) -> bytes:
    """With its right checksum."""
    from lockstep import checksum

    return checksum.of_one(row, 4).to_bytes(4, "little") + row[4:]


def test_the_numbers_of_statuses_are_those_of_the_source() -> None:
    source = (ROOT / "lockstep" / "_core.c").read_text()
    numbers = f"PRESENT = {Status.PRESENT:d}, ABSENT = {Status.NULL:d}, NOT_FOUND = {Status.NOT_FOUND:d}"
    numbers += f", STALE = {Status.STALE:d}, FUTURE = {Status.FUTURE:d}, UNREACHABLE = {Status.UNREACHABLE:d}"
    assert f"enum {{ {numbers} }};" in source
    rungs = f"FRESH = {Rung.FRESH:d}, DEFAULTS = {Rung.DEFAULTS:d}, ALL_DEFAULTS = {Rung.ALL_DEFAULTS:d}"
    assert f"enum {{ {rungs} }};" in source


FOUND = [Status.PRESENT, Status.NOT_FOUND, Status.UNREADABLE, Status.UNREACHABLE]
STATES = [Status.PRESENT, Status.NULL, Status.NOT_FOUND, Status.UNREADABLE]
TIMES = st.integers(NOW - 3, NOW + 3) | st.sampled_from([-(2**63), 2**63 - 1, 0])


def aged_plan() -> Plan:
    """Three views, of which one never ages; columns of every type, with defaults and without."""
    key = JoinKey("ip", "ip", ServedType.INT64)
    views = [View("by_ip", (key,), 60, "it"), View("by_app", (key,), None, "it"), View("by_site", (key,), 0, "it")]
    kinds: dict[ServedType, Any] = {
        ServedType.FLOAT32: 0.5,
        ServedType.FLOAT64: -1.5,
        ServedType.INT64: 7,
        ServedType.STRING: "none",
    }
    stored = [
        Column(f"{view.name} {dtype.value}", dtype, Stored(view.name, dtype.value), default)
        for place, view in enumerate(views)
        for dtype, default in kinds.items()
        if not (place == 1 and default == "none")
    ]
    stored += [
        Column(f"bare {dtype.value}", dtype, Stored("by_ip", "bare")) for dtype in kinds if dtype.missing is not None
    ]
    ip = Column("ip", ServedType.INT64, Given("join_key"))
    return Plan("shop", "s", tuple(views), (ip, *stored), tuple(column.name for column in stored))


@st.composite
def rows_of(draw: st.DrawFn, stored: StoredColumns) -> tuple[PlanRows, NDArray[np.int64]]:
    """Rows of a plan as they could be found, many of them at the bounds of time, and t."""
    count = draw(st.integers(0, 6))

    def table(height: int, values: st.SearchStrategy[Any], dtype: Any) -> Any:
        cells = draw(st.lists(values, min_size=height * count, max_size=height * count))
        return np.array(cells, dtype).reshape(height, count)

    views, found = len(stored.views), st.sampled_from(draw(st.lists(st.sampled_from(FOUND), min_size=1)))
    ages = st.sampled_from([int(ttl) + step for ttl in stored.ttl_us.ravel() for step in (-1, 0, 1) if ttl < 2**60])
    times = TIMES | ages.map(lambda age: NOW - age)
    rows = PlanRows(
        found=table(views, found, np.int8),
        event_us=table(views, times, np.int64),
        created_us=table(views, times, np.int64) if draw(st.booleans()) else None,
        states=table(len(stored.columns), st.sampled_from(STATES), np.int8),
        values={
            dtype: table(
                len(places), st.text(max_size=2) if dtype is ServedType.STRING else st.integers(0, 9), dtype.numpy
            )
            for dtype, places in stored.places.items()
        },
    )
    return rows, np.full(count, NOW) + table(1, st.integers(-1, 1), np.int64)[0]


PARTS = st.lists(
    st.lists(NUMBERS, min_size=1, max_size=4).map(lambda values: np.array(values, np.int64)), min_size=1, max_size=5
) | st.lists(
    st.lists(st.floats(), min_size=1, max_size=4).map(lambda values: np.array(values, np.float64)),
    min_size=1,
    max_size=5,
)


class TestEndToEnd:
    """`join`."""

    @given(PARTS, st.data())
    @PATIENT
    def test_a_column_is_what_python_makes_of_its_parts(self, parts: list[Any], data: st.DataObject) -> None:
        lengths = [len(part) if len(part) > 1 else data.draw(st.integers(1, 4)) for part in parts]
        found = core.join(parts, lengths)
        expected = np.concatenate(
            [np.repeat(part, n) if len(part) == 1 else part for part, n in zip(parts, lengths, strict=True)]
        )
        assert (found.dtype, found.tobytes()) == (expected.dtype, expected.tobytes())

    def test_one_part_of_the_right_length_is_taken_as_it_is(self) -> None:
        part = np.arange(3)
        assert core.join([part], [3]) is part
        assert core.join([part[:1]], [2]).tolist() == [0, 0]

    @pytest.mark.parametrize(
        "parts",
        [
            pytest.param([np.arange(2), np.arange(3)], id="of another length"),
            pytest.param([np.arange(2), np.arange(2.0)], id="of two types"),
            pytest.param([np.arange(2), [0, 1]], id="a list"),
            pytest.param([np.arange(2, dtype=np.int32)] * 2, id="of four bytes"),
            pytest.param([np.arange(2), np.zeros((2, 1), np.int64)], id="a matrix"),
            pytest.param([np.arange(2), np.arange(4)[::2]], id="with gaps"),
            pytest.param([np.array(["a", "b"], object)] * 2, id="texts"),
            pytest.param([np.arange(2), np.arange(2).astype(">i8")], id="of the other byte order"),
        ],
    )
    def test_other_parts_are_left_to_python(self, parts: list[Any]) -> None:
        assert core.join(parts, [2, 2]) is None

    def test_lengths_that_are_none_are_refused(self) -> None:
        for lengths in ([2, -2], [2, 2.0], [2, np.int64(2)], [2], (2, 2), [2, 2**70]):
            with pytest.raises((TypeError, OverflowError)):
                core.join([np.arange(2)] * 2, lengths)


class TestJudged:
    """`settle` and `fill`."""

    @given(st.data())
    @PATIENT
    def test_every_value_is_what_python_makes_of_it(self, data: st.DataObject) -> None:
        stored = aged_plan().stored_columns
        rows, t = data.draw(rows_of(stored))
        before = {dtype: values.copy() for dtype, values in rows.values.items()}
        fast, slow = resolve._settled_in_c(stored, rows, t), resolve._settled(stored, rows, t)
        assert fast.rungs is not None
        np.testing.assert_array_equal(fast.rungs, resolve._rungs(slow.status))
        for one, other in ((fast.status, slow.status), (fast.replaced, slow.replaced)):
            assert (one.dtype, one.shape, one.tolist()) == (other.dtype, other.shape, other.tolist())
        assert fast.values.keys() == slow.values.keys()
        for dtype, values in slow.values.items():
            assert fast.values[dtype].dtype == values.dtype
            np.testing.assert_array_equal(fast.values[dtype], values)
            np.testing.assert_array_equal(rows.values[dtype], before[dtype])  # what was found is as it was

    def test_texts_are_held_and_let_go(self) -> None:
        old, new = "".join(["o", "ld"]), "".join(["ne", "w"])
        values, instead = np.array([[old, old, old]], object), np.array([[new]], object)
        counts = sys.getrefcount(old), sys.getrefcount(new)
        core.fill(values, instead, np.array([[1, 0, 2]], np.int8), np.array([0]))
        assert values.tolist() == [[new, old, new]]
        assert (sys.getrefcount(old), sys.getrefcount(new)) == (counts[0] - 2, counts[1] + 2)

    def test_arguments_that_do_not_fit_each_other_are_refused(self) -> None:
        def settle(**changed: Any) -> None:
            good = {
                "found": np.zeros((1, 3), np.int8),
                "event": np.zeros((1, 3), np.int64),
                "created": np.zeros((1, 3), np.int64),
                "states": np.zeros((2, 3), np.int8),
                "t": np.zeros(3, np.int64),
                "ttl": np.zeros((1, 1), np.int64),
                "view_of": np.zeros(2, np.int64),
                "has_default": np.zeros((2, 1), np.bool_),
                "status": np.zeros((2, 3), np.int8),
                "replaced": np.zeros((2, 3), np.bool_),
                "rungs": np.zeros(3, np.int8),
            }
            core.settle(*(changed.get(name, value) for name, value in good.items()))

        settle()
        settle(created=None)
        for name, wrong in (
            ("found", np.zeros((2, 3), np.int8)),
            ("event", np.zeros((1, 4), np.int64)),
            ("created", np.zeros((2, 3), np.int64)),
            ("states", np.zeros((3, 3), np.int8)),
            ("t", np.zeros(2, np.int64)),
            ("ttl", np.zeros((1, 2), np.int64)),
            ("view_of", np.array([0, 1])),
            ("view_of", np.array([-1, 0])),
            ("has_default", np.zeros((1, 1), np.bool_)),
            ("status", np.zeros((2, 2), np.int8)),
            ("replaced", np.zeros((1, 3), np.bool_)),
            ("rungs", np.zeros(4, np.int8)),
        ):
            with pytest.raises(ValueError, match="do not fit"):
                settle(**{name: wrong})
        with pytest.raises(TypeError, match="status"):
            settle(status=np.frombuffer(bytes(6), np.int8).reshape(2, 3))

        values, instead = np.zeros((2, 3)), np.zeros((2, 1))
        status, places = np.zeros((4, 3), np.int8), np.array([1, 3])
        core.fill(values, instead, status, places)
        for arguments in (
            (values, instead[:1].copy(), status, places),
            (values, instead, status[:, :2].copy(), places),
            (values, instead, status, np.array([1, 4])),
            (values, instead, status, np.array([-1, 1])),
            (values, instead, status, np.array([1])),
        ):
            with pytest.raises(ValueError, match="do not fit"):
                core.fill(*arguments)
        for strange in (values.tolist(), values.astype("U3"), values.astype("M8[s]")):
            with pytest.raises(TypeError, match="values"):
                core.fill(strange, instead, status, places)
        with pytest.raises(TypeError, match="instead"):
            core.fill(values, instead.astype(np.float32), status, places)


class TestCounts:
    """`tally`."""

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 2**32))
    @PATIENT
    def test_they_are_those_of_python(self, lengths: list[int], seed: int) -> None:
        rng, stored = np.random.default_rng(seed), whole_plan().stored_columns
        shape = len(stored.columns), sum(lengths)
        found = rng.integers(0, len(Status), shape).astype(np.int8)
        replaced = rng.random(shape) < rng.random()
        fast = scoring._added_up_in_c(stored, found, replaced, lengths)
        slow = scoring._added_up(stored, found, replaced, lengths)
        assert (fast.dtype, fast.shape, fast.tolist()) == (slow.dtype, slow.shape, slow.tolist())

    def test_arguments_that_do_not_fit_each_other_are_refused(self) -> None:
        found, view_of = np.zeros((2, 3), np.int8), np.array([0, 1])
        replaced, lengths, counts = np.zeros((2, 3), np.bool_), np.array([1, 2]), np.zeros((2, 2, 9), np.int64)
        core.tally(found, replaced, view_of, lengths, counts)
        wrong: list[tuple[Any, ...]] = [
            (found + np.int8(8), replaced, view_of, lengths, counts),
            (found - np.int8(1), replaced, view_of, lengths, counts),
            (found, replaced[:1].copy(), view_of, lengths, counts),
            (found, replaced, view_of + 1, lengths, counts),
            (found, replaced, view_of, lengths + 1, counts),
            (found, replaced, view_of, np.array([-1, 4]), counts),
            (found, replaced, view_of, lengths, counts[:1].copy()),
            (found, replaced, view_of, lengths, counts[:, :, :0].copy()),
        ]
        for arguments in wrong:
            with pytest.raises(ValueError, match="do not fit"):
                core.tally(*arguments)


COLUMNS = st.builds(
    pb.Column,
    name=st.text(max_size=4) | st.sampled_from(["ip", "app"]),
    int64s=st.none() | st.lists(NUMBERS, max_size=6).map(lambda values: pb.Int64s(values=values)),
) | st.one_of(
    st.builds(
        pb.Column, name=st.text(max_size=4), doubles=st.builds(pb.Doubles, values=st.lists(st.floats(), max_size=6))
    ),
    st.builds(
        pb.Column,
        name=st.text(max_size=4),
        strings=st.builds(pb.Strings, values=st.lists(st.text(max_size=5), max_size=6)),
    ),
)
REQUESTS = st.builds(
    pb.PredictRequest,
    model=st.text(max_size=5),
    version=st.sampled_from(["", "3", "champion"]),
    columns=st.lists(COLUMNS, max_size=4),
    event_timestamp_us=st.lists(NUMBERS, max_size=3),
    explain=st.booleans(),
    strict=st.booleans(),
    features=st.just([]) | st.just([]) | st.lists(COLUMNS, max_size=1),
)


def said(message: bytes) -> Query | None:
    """What protobuf reads; None where something is wrong, or there is more than a query."""
    try:
        request = pb.PredictRequest.FromString(message)
        query = convert.query(request, max_rows=MOST, explain=request.explain, strict=request.strict)
    except (DecodeError, LockstepError):
        return None
    return None if request.features else query


def same(one: Query, other: Query) -> None:
    """Equal, down to the bits of a NaN; arrays beside lists."""
    assert (one.model, one.version, one.explain, one.strict) == (
        other.model,
        other.version,
        other.explain,
        other.strict,
    )
    assert list(one.columns) == list(other.columns)
    for name, values in [*one.columns.items(), ("", one.event_us)]:
        expected: Any = other.columns[name] if values is not one.event_us else other.event_us
        if expected is None or isinstance(values, Texts):
            assert values == expected
            continue
        wanted = np.array(expected, np.float64 if expected.kind == "f" else np.int64)
        assert isinstance(values, np.ndarray)
        assert (values.dtype, values.tobytes()) == (wanted.dtype, wanted.tobytes())


class TestRequests:
    """`parse`, as `convert.reader` uses it."""

    @given(REQUESTS)
    @PATIENT
    def test_a_plain_request_is_the_query_that_protobuf_reads(self, request: pb.PredictRequest) -> None:
        message = request.SerializeToString()
        expected, read = said(message), convert.reader(MOST)(message)
        if expected is None:
            assert read == request
        else:
            assert isinstance(read, Query)
            same(read, expected)

    @given(
        REQUESTS,
        st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=3),
        st.integers(0, 300),
    )
    @settings(deadline=None, max_examples=500)
    @example(pb.PredictRequest(model="m", event_timestamp_us=[1]), [(3, 0x21)], 300)
    def test_what_it_reads_of_damaged_ones_is_what_protobuf_reads(
        self, request: pb.PredictRequest, changes: list[tuple[int, int]], cut: int
    ) -> None:
        message = bytearray(request.SerializeToString() or b"\0")
        for place, byte in changes:
            message[place % len(message)] = byte
        parsed = core.parse(bytes(message[:cut]), MOST, Texts)
        if parsed is not None:
            expected = said(bytes(message[:cut]))
            assert expected is not None
            same(Query(*parsed), expected)

    @given(st.binary(max_size=60))
    @settings(deadline=None, max_examples=500)
    def test_no_bytes_raise(self, message: bytes) -> None:
        parsed = core.parse(message, MOST, Texts)
        assert parsed is None or said(message) is not None

    @pytest.mark.parametrize(
        "message",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"\x0a\x01m\x1a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", id="a length of 2**64"),
            pytest.param(b"\x0a\x01m\x1a\x0a\x0a\x01a\x12\x05\x0a\x7f\x01", id="a length past the end"),
            pytest.param(b"\x0a\x01m\x1a\x08\x0a\x01a\x12\x03\x0a\x01\x80", id="a number that does not end"),
            pytest.param(b"\x0a\x01m\x22\x07" + b"\0" * 7, id="a time of seven bytes"),
            pytest.param(b"\x0a\x01\xff", id="a model that is no UTF-8"),
            pytest.param(b"\x0a\x01m\x9a\x00\x00", id="a tag of two bytes"),
            pytest.param(b"\x0a\x01m\x40\x01", id="a field that nobody knows"),
            pytest.param(b"\x0a\x01\xff\x0a\x01m", id="a model twice, the first no UTF-8"),
            pytest.param(b"\x0a\x01m\x12\x01\xff\x12\x01a", id="a version twice, the first no UTF-8"),
        ],
    )
    def test_what_is_unusual_is_left_to_protobuf(self, message: bytes) -> None:
        assert core.parse(message, MOST, Texts) is None

    def test_more_values_than_a_request_may_have_are_left_to_protobuf_which_says_so(self) -> None:
        for column in (
            pb.Column(name="a", int64s=pb.Int64s(values=[1] * (MOST + 1))),
            pb.Column(name="a", doubles=pb.Doubles(values=[1] * (MOST + 1))),
            pb.Column(name="a", strings=pb.Strings(values=["x"] * (MOST + 1))),
        ):
            message = pb.PredictRequest(model="m", columns=[column]).SerializeToString()
            assert isinstance(convert.reader(MOST)(message), pb.PredictRequest)
        times = pb.PredictRequest(model="m", event_timestamp_us=[1] * (MOST + 1)).SerializeToString()
        assert isinstance(convert.reader(MOST)(times), pb.PredictRequest)


def test_all_of_it_holds_without_the_compiled_path() -> None:
    tests = [f"tests/{path}.py" for path in ("lockstep/test_lookup", "serving/test_together", "serving/test_convert")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, SWITCH: "0"}, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout[-2000:]
    assert "passed" in run.stdout
