"""The hot path in C against the one in Python, value for value."""

import os
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hiredis
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
from lockstep.request import Floats, Ints, Texts
from lockstep.resolve import PlanRows
from lockstep.schema import DType, Field
from lockstep.status import Rung, Status
from lockstep.unique_keys import GivenKeys
from protos.lockstep.v1 import scorer_pb2 as pb
from serving import convert, scoring
from serving.scorer import Query
from serving.together import Unchecked, one_by_one
from tests.lockstep.test_lookup import NOW, SEVERAL, asked, packed, plan, record, resolved, stores, whole_plan

pytestmark = pytest.mark.skipif(
    core is None, reason="no C compiler was there when Lockstep was installed: make clean install"
)

ROOT = Path(__file__).parents[2]
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
MOST = 50
PATIENT = settings(deadline=None, max_examples=200)


KEYS = {
    "number": (DType.INT64, NUMBERS, np.int64),
    "few": (DType.INT64, st.integers(0, 2), np.int64),
    "text": (DType.STRING, st.text(max_size=3) | st.sampled_from(["", "é" * 200, "a\0b"]), object),
}
"""Join keys: as they are stored, their values, and the dtype of a column of them."""


class TestKeys:
    """`ask`."""

    @given(
        st.lists(st.lists(st.sampled_from(list(KEYS)), max_size=4), min_size=1, max_size=3),
        st.integers(1, 40),
        st.data(),
    )
    @PATIENT
    def test_they_are_those_of_python_in_the_same_order(
        self, views: list[list[str]], rows: int, data: st.DataObject
    ) -> None:
        columns, spaces, names = dict[str, Any](), list[KeySpace](), list[tuple[str, ...]]()
        for place, kinds in enumerate(views):
            fields = {f"{place} {i}": KEYS[kind] for i, kind in enumerate(kinds)}
            spaces.append(KeySpace("shop", f"by {place}", tuple(Field(name, one[0]) for name, one in fields.items())))
            names.append(tuple(fields))
            for name, (_, values, dtype) in fields.items():
                columns[name] = np.array(data.draw(st.lists(values, min_size=rows, max_size=rows)), dtype)
        keys, ends, places = core.ask(_spaces(spaces, names), columns, rows)
        join_keys, expected = GivenKeys(columns, rows), list[bytes]()
        for place, (space, of_view) in enumerate(zip(spaces, names, strict=True)):
            unique, inverse = join_keys.of(space, of_view)
            np.testing.assert_array_equal(places[place], inverse + len(expected))
            expected += unique
            assert ends[place] == len(expected)
        assert keys == expected

    def test_many_rows_have_the_keys_of_python(self) -> None:
        space = KeySpace("shop", "by_ip", (Field("ip", DType.INT64), Field("user", DType.STRING)))
        rng = np.random.default_rng(1)
        columns = {
            "ip": rng.integers(-(2**63), 2**63 - 1, 5000),
            "user": np.array([f"u{i % 700}" for i in range(5000)], object),
        }
        for view in (("ip",), ("user",), ("ip", "user")):
            fields = tuple(one for one in space.join_keys if one.name in view)
            one = KeySpace("shop", "by", fields)
            keys, ends, places = core.ask(((one.prefix, view),), columns, 5000)
            expected, inverse = GivenKeys(columns, 5000).of(one, view)
            assert keys == expected
            assert ends.tolist() == [len(expected)]
            np.testing.assert_array_equal(places[0], inverse)

    @pytest.mark.parametrize(
        "column",
        [
            pytest.param(np.zeros(2, np.int32), id="of another type"),
            pytest.param(np.zeros((2, 1), np.int64), id="a matrix"),
            pytest.param(np.zeros(4, np.int64)[::2], id="with gaps"),
            pytest.param(np.zeros(2, ">i8"), id="of the other byte order"),
            pytest.param(np.zeros(3, np.int64), id="of another length"),
            pytest.param(np.array(["a", None], object), id="no text"),
            pytest.param(np.array(["a", "\ud800"], object), id="a text without UTF-8"),
            pytest.param(["a", "b"], id="a list"),
        ],
    )
    def test_other_columns_are_left_to_python(self, column: Any) -> None:
        assert core.ask(((b"p", ("ip",)),), {"ip": column}, 2) is None

    def test_more_join_keys_than_it_takes_are_left_to_python(self) -> None:
        columns = {f"c{i:02}": np.arange(3) for i in range(17)}
        assert core.ask(((b"p", tuple(columns)),), columns, 3) is None
        assert core.ask(((b"p", tuple(columns)[:16]),), columns, 3) is not None

    def test_what_is_none_of_it_is_refused(self) -> None:
        columns = {"ip": np.zeros(2, np.int64)}
        others: list[tuple[Any, ...]] = [
            ([], columns, 2),
            ((b"p",), columns, 2),
            (((b"p",),), columns, 2),
            ((("p", ("ip",)),), columns, 2),
            (((b"p", ["ip"]),), columns, 2),
            ((), [], 2),
            ((), columns, -1),
        ]
        for arguments in others:
            with pytest.raises(TypeError):
                core.ask(*arguments)
        with pytest.raises(KeyError):
            core.ask(((b"p", ("app",)),), columns, 2)


def _spaces(spaces: list[KeySpace], names: list[tuple[str, ...]]) -> tuple[tuple[bytes, tuple[str, ...]], ...]:
    return tuple((space.prefix, of_view) for space, of_view in zip(spaces, names, strict=True))


class TestCommands:
    """`command`."""

    @given(st.lists(st.binary(max_size=40), max_size=30))
    @PATIENT
    def test_they_are_those_of_hiredis(self, parts: list[bytes]) -> None:
        assert core.command(b"MGET", parts) == hiredis.pack_command((b"MGET", *parts))  # type: ignore[arg-type]

    def test_lengths_of_one_to_five_digits(self) -> None:
        parts = [bytes(10**digits - 1 + more) for digits in range(5) for more in (0, 1)]
        assert core.command(b"GET", parts) == hiredis.pack_command((b"GET", *parts))  # type: ignore[arg-type]

    def test_what_is_no_bytes_is_refused(self) -> None:
        others: list[tuple[Any, Any]] = [("MGET", []), (b"MGET", (b"a",)), (b"MGET", ["a"])]
        for arguments in others:
            with pytest.raises(TypeError, match="bytes"):
                core.command(*arguments)


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
            rows, strange = lookup._compiled.rows([sound, bad], request.ends, request.places)
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
        request = asked(lookup, 1)
        rows, strange = lookup._compiled.rows([forged], request.ends, request.places)
        assert (rows.found.tolist(), strange) == ([[Status.PRESENT]], {0})

    def test_arguments_that_do_not_fit_each_other_are_refused(self) -> None:
        made = record()
        row = packed(made, [[1, 0.5, 0.25, 7, True, NOW, "ab", ""]], [NOW])[0]
        lookup = Lookup(plan(), {"by_ip": [made]})
        compiled = lookup._compiled
        assert isinstance(compiled, CompiledRows)
        request = asked(lookup, 1)
        one = np.array([1])
        compiled.rows([row], one, request.places)
        for places in ([[1]], [[-1]], [[2**40]]):
            with pytest.raises(ValueError, match="do not fit"):
                compiled.rows([row], one, np.array(places, np.int64))
        with pytest.raises(ValueError, match="do not fit"):
            compiled.rows([row], one + 1, request.places)
        with pytest.raises(TypeError, match="an answer is bytes"):
            compiled.rows(["text"], one, request.places)  # type: ignore[list-item]
        groups = compiled._stored.groups
        for views, stored, wrong_groups in (
            (0, 8, groups),
            (-1, 8, groups),
            (1, 7, groups),
            (1, -1, groups),
            (1, 8, ()),
        ):
            with pytest.raises(ValueError, match="do not fit"):
                _gather(compiled, compiled._readers, compiled._columns, row, request, views, stored, wrong_groups)
        for strange in (((np.dtype("U1").num, 1),), ((11, -1),), ((11,),), ("x",)):
            with pytest.raises(TypeError):
                _gather(compiled, compiled._readers, compiled._columns, row, request, groups=strange)
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
                _gather(compiled, compiled._readers, table, row, request)
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
                _gather(compiled, table, compiled._columns, row, request)


def _gather(
    compiled: CompiledRows,
    readers: Any,
    columns: Any,
    row: bytes,
    request: Any,
    views: int = 1,
    stored: int = 8,
    groups: Any = None,
) -> None:
    groups = compiled._stored.groups if groups is None else groups
    core.gather(readers, columns, [row], np.array([1]), request.places, views, stored, groups, False)


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


GIVEN = [
    Column("id", ServedType.INT64, Given("request")),
    Column("price", ServedType.FLOAT32, Given("request")),
    Column("share", ServedType.FLOAT64, Given("request")),
    Column("since", ServedType.TIMESTAMP, Given("request")),
    Column("word", ServedType.STRING, Given("request")),
    Column("bonus", ServedType.FLOAT32, Given("request"), 0.5),
]
GIVEN_PLAN = Plan("shop", "s", (), tuple(GIVEN), tuple(one.name for one in GIVEN if one.name != "since"))
VALUES: dict[str, tuple[st.SearchStrategy[Any], Any, Any]] = {
    "ints": (NUMBERS, np.int64, Ints),
    "floats": (st.floats() | st.sampled_from([1e38, 3.5e38, -3.5e38, 1e308]), np.float64, Floats),
    "narrow": (st.floats(width=32), np.float32, None),
    "words": (st.text(max_size=3) | st.sampled_from(["a" * 256, "a" * 257, "é" * 600]), object, Texts),
}
USUAL = {"id": "ints", "price": "floats", "share": "floats", "since": "ints", "word": "words", "bonus": "narrow"}


@st.composite
def unchecked(draw: st.DrawFn, names: list[str], kinds: dict[str, str]) -> Unchecked:
    """A request with these columns; now and then one of another length or type, or none."""
    rows = draw(st.integers(1, 4))
    columns = {name: draw(values_of(kinds[name], rows)) for name in names}
    odd = draw(st.sampled_from([None] * 8 + names))
    if odd is not None:
        columns[odd] = draw(values_of(draw(st.sampled_from(list(VALUES))), draw(st.sampled_from([rows, rows + 1, 0]))))
    times = draw(st.lists(st.integers(-3, NOW), min_size=1, max_size=1) | st.just([NOW] * rows))
    times[0] = draw(st.sampled_from([times[0]] * 6 + [2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1]))
    return Unchecked(columns, Ints(times) if draw(st.booleans()) else np.array(times, np.int64))


@st.composite
def values_of(draw: st.DrawFn, kind: str, rows: int) -> Any:
    values, dtype, listed = VALUES[kind]
    length = draw(st.sampled_from([rows, rows, 1]))
    found = draw(st.lists(values, min_size=length, max_size=length))
    return np.array(found, dtype) if listed is None or draw(st.booleans()) else listed(found)


class TestEndToEnd:
    """`collect`."""

    @given(st.data())
    @settings(deadline=None, max_examples=600)
    def test_the_columns_are_those_of_python_or_left_to_it(self, data: st.DataObject) -> None:
        names = data.draw(st.permutations(list(USUAL)))
        if data.draw(st.booleans()):
            names.remove("bonus")
        requests = data.draw(st.lists(unchecked(names, USUAL), min_size=1, max_size=4))
        found = collected(requests)
        expected, errors = one_by_one(GIVEN_PLAN, requests, max_rows=4)
        if found is None:
            return
        assert errors == [None] * len(requests)
        assert expected is not None
        given, t = found
        assert t.tolist() == expected.t.tolist()
        assert list(given) == list(expected.given)
        for name, values in expected.given.items():
            assert given[name].dtype == values.dtype
            np.testing.assert_array_equal(given[name], values)

    @given(st.data())
    @PATIENT
    def test_usual_requests_are_not_left_to_python(self, data: st.DataObject) -> None:
        rows = data.draw(st.integers(1, 4))
        columns: dict[str, Any] = {
            "id": np.arange(rows),
            "price": np.ones(1),
            "share": np.full(rows, np.nan),
            "since": np.zeros(rows, np.int64),
            "word": Texts(["a" * 256] * rows),
        }
        times: list[Any] = [Ints([NOW]), np.array([NOW]), np.full(rows, NOW)]
        one = Unchecked(columns, data.draw(st.sampled_from(times)))
        found = collected([one] * data.draw(st.sampled_from([1, 2, 70])))
        assert found is not None
        assert set(found[0]) == set(columns)

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            pytest.param("id", np.arange(3), id="of another length"),
            pytest.param("id", np.arange(2.0), id="floats for whole numbers"),
            pytest.param("id", np.arange(2, dtype=np.int32), id="of four bytes"),
            pytest.param("id", np.arange(2, dtype=np.uint64), id="without a sign"),
            pytest.param("id", np.array([0, 1], "m8[s]"), id="durations"),
            pytest.param("id", np.zeros((2, 1), np.int64), id="a matrix"),
            pytest.param("id", np.arange(4)[::2], id="with gaps"),
            pytest.param("id", np.arange(2).astype(">i8"), id="of the other byte order"),
            pytest.param("id", np.zeros(0, np.int64), id="none"),
            pytest.param("id", [1, 2], id="a list"),
            pytest.param("id", (1, 2), id="a tuple"),
            pytest.param("share", np.array([1.0, np.inf]), id="infinity"),
            pytest.param("price", np.array([1.0, 1e39]), id="beyond float32"),
            pytest.param("price", np.array(["1", "2"], object), id="texts for floats"),
            pytest.param("word", np.array(["a", None], object), id="no text"),
            pytest.param("word", np.array(["a", "b"]), id="texts that are no objects"),
            pytest.param("word", Texts(["a", "b" * 257]), id="a long text"),
            pytest.param("word", np.arange(2), id="numbers for texts"),
        ],
    )
    def test_other_columns_are_left_to_python(self, name: str, values: Any) -> None:
        good = two_rows()
        assert collected([Unchecked(good, Ints([NOW]))]) is not None
        odd = Unchecked({**good, name: values}, Ints([NOW]))
        odd.rows = 2
        assert collected([odd]) is None
        assert collected([Unchecked(good, Ints([NOW])), odd]) is None

    def test_so_are_other_times_names_and_numbers_of_rows(self) -> None:
        good = two_rows()
        for times in (
            Ints([2**53 + 1]),
            Ints([2**70]),
            Ints([True]),
            Ints([1.0]),
            Floats(),
            np.ones(2),
            np.array([2**60]),
        ):
            one = Unchecked(good, times)
            assert collected([one]) is None
        for columns in ({**good, "other": np.arange(2)}, {name: good[name] for name in ("id", "price")}, {}):
            assert collected([Unchecked(columns, Ints([NOW]))]) is None
        some = Unchecked({**good, "bonus": np.ones(2)}, Ints([NOW]))
        assert collected([some]) is not None
        assert collected([some, Unchecked(good, Ints([NOW]))]) is None
        assert collected([some], most=1) is None
        assert core.collect(GIVEN_PLAN.given_types, [MappingProxyType(good)], [Ints([NOW])], [2], 4) is None

    def test_what_it_is_given_is_as_it_was(self) -> None:
        good = two_rows()
        ids = good["id"]
        given, _ = collected([Unchecked(good, Ints([NOW]))])
        given["id"][:] = 7
        assert ids.tolist() == [0, 1]

    def test_texts_are_held_and_let_go(self) -> None:
        word = "".join(["wo", "rd"])
        before = sys.getrefcount(word)
        found = collected([Unchecked({**two_rows(), "word": Texts([word])}, Ints([NOW]))])
        assert sys.getrefcount(word) == before + 2
        del found
        assert sys.getrefcount(word) == before

    def test_what_is_none_of_it_is_refused(self) -> None:
        wanted, request, t = (("id", 7, False),), {"id": np.arange(2)}, Ints([NOW])
        core.collect(wanted, [request], [t], [2], 4)
        for arguments in (
            ([*wanted], [request], [t], [2], 4),
            (wanted, (request,), [t], [2], 4),
            (wanted, [request], [t, t], [2], 4),
            (wanted, [request], [t], [2, 2], 4),
            (wanted, [], [], [], 4),
            (wanted, [request], [t], [2.0], 4),
            (wanted, [request], [t], [2], None),
            (("id",), [request], [t], [2], 4),
            ((("id", 3, False),), [request], [t], [2], 4),
            (((7, 7, False),), [request], [t], [2], 4),
            ((("id", 7),), [request], [t], [2], 4),
        ):
            with pytest.raises(TypeError):
                core.collect(*arguments)
        with pytest.raises(OverflowError):
            core.collect(wanted, [request], [t], [2**70], 4)


def two_rows() -> dict[str, Any]:
    """Columns of a usual request; the bonus is left out."""
    ones = np.ones(2)
    return {"id": np.arange(2), "price": ones, "share": ones, "since": ones, "word": Texts("ab")}


def collected(requests: list[Unchecked], most: int = 4) -> Any:
    """As `together` asks for it."""
    columns, times = [one.columns for one in requests], [one.t for one in requests]
    return core.collect(GIVEN_PLAN.given_types, columns, times, [one.rows for one in requests], most)


class TestJudged:
    """`settle`."""

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
        _, _, _, (found,) = settled(
            states=np.array([[1, 0, 2]], np.int8),
            view_of=np.zeros(1, np.int64),
            has_default=np.ones((1, 1), np.bool_),
            values=(values,),
            instead=(instead,),
            places=(np.array([0]),),
        )
        assert found.tolist() == [[new, old, new]]
        assert values.tolist() == [[old, old, old]]
        assert (sys.getrefcount(old), sys.getrefcount(new)) == (counts[0] + 1, counts[1] + 2)

    def test_rows_that_do_not_lie_behind_each_other_are_judged_the_same(self) -> None:
        states = np.array([[0, 1, 2], [0, 0, 0]], np.int8)
        spread = np.asfortranarray(states)
        assert not spread.flags.c_contiguous
        for one, other in zip(settled(states=states), settled(states=spread), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_values_of_which_none_is_absent_are_not_copied(self) -> None:
        values = (np.ones((2, 3)),)
        status, replaced, rungs, found = settled(values=values)
        assert found is values
        assert (status.any(), replaced.any(), rungs.tolist()) == (False, False, [Rung.FRESH] * 3)

    @pytest.mark.parametrize(
        ("name", "wrong"),
        [
            ("found", np.zeros((2, 3), np.int8)),
            ("event", np.zeros((1, 4), np.int64)),
            ("created", np.zeros((2, 3), np.int64)),
            ("states", np.zeros((3, 3), np.int8)),
            ("t", np.zeros(2, np.int64)),
            ("ttl", np.zeros((1, 2), np.int64)),
            ("view_of", np.array([0, 1])),
            ("view_of", np.array([-1, 0])),
            ("has_default", np.zeros((1, 1), np.bool_)),
            ("instead", (np.zeros((1, 1)),)),
            ("places", (np.array([0, 2]),)),
            ("places", (np.array([-1, 0]),)),
            ("places", (np.array([0]),)),
            ("values", (np.zeros((2, 4)),)),
            ("values", (np.zeros((2, 3, 1)),)),
        ],
    )
    def test_arrays_that_do_not_fit_each_other_are_refused(self, name: str, wrong: Any) -> None:
        absent = np.array([[0, 1, 2], [0, 0, 0]], np.int8)
        with pytest.raises(ValueError, match="do not fit"):
            settled(**{"states": absent, name: wrong})

    @pytest.mark.parametrize(
        ("name", "wrong"),
        [
            ("found", np.zeros((1, 3), np.int16)),
            ("found", np.zeros(3, np.int8)),
            ("states", np.zeros((3, 2), np.int16).T),
            ("values", (np.zeros((2, 3)).tolist(),)),
            ("values", (np.zeros((2, 3)).astype("U3"),)),
            ("values", (np.zeros((2, 3)).astype("M8[s]"),)),
            ("values", np.zeros((2, 3))),
            ("instead", (np.zeros((2, 1), np.float32),)),
            ("instead", ()),
            ("places", (np.zeros(2),)),
        ],
    )
    def test_what_is_of_another_type_is_refused(self, name: str, wrong: Any) -> None:
        absent = np.array([[0, 1, 2], [0, 0, 0]], np.int8)
        with pytest.raises(TypeError):
            settled(**{"states": absent, name: wrong})


def settled(**changed: Any) -> Any:
    """`settle` of one view with two columns of float64 and three rows, all of them there."""
    good = {
        "found": np.zeros((1, 3), np.int8),
        "event": np.zeros((1, 3), np.int64),
        "created": None,
        "states": np.zeros((2, 3), np.int8),
        "t": np.zeros(3, np.int64),
        "ttl": np.zeros((1, 1), np.int64),
        "view_of": np.zeros(2, np.int64),
        "has_default": np.zeros((2, 1), np.bool_),
        "values": (np.zeros((2, 3)),),
        "instead": (np.zeros((2, 1)),),
        "places": (np.array([0, 1]),),
    }
    return core.settle(*{**good, **changed}.values())


class TestSideBySide:
    """`beside`."""

    @given(st.integers(1, 6), st.integers(0, 9), st.sampled_from([np.int64, np.float32, np.float64]), st.booleans())
    @PATIENT
    def test_it_is_the_table_of_numpy(self, width: int, rows: int, dtype: Any, gaps: bool) -> None:
        rng = np.random.default_rng(width * 10 + rows)
        columns = {
            str(i): rng.integers(-99, 99, 2 * rows).astype(dtype)[:: 2 if gaps else 1][:rows] for i in range(width)
        }
        found = core.beside(columns, tuple(columns))
        assert (found.dtype, found.flags.c_contiguous) == (dtype, True)
        np.testing.assert_array_equal(found, np.array(list(columns.values())).T.reshape(rows, width))

    def test_other_columns_are_left_to_numpy(self) -> None:
        for columns in (
            {},
            {"a": np.arange(2), "b": np.arange(2.0)},
            {"a": np.arange(2), "b": np.arange(3)},
            {"a": np.arange(2), "b": [0, 1]},
            {"a": np.zeros((2, 1))},
            {"a": np.array(["x", "y"], object)},
            {"a": np.arange(2, dtype=np.int16)},
            {"a": np.arange(2).astype(">i8")},
            {"a": np.zeros(2, np.complex128)},
            {"a": np.zeros(2, "m8[s]")},
        ):
            assert core.beside(columns, tuple(columns)) is None
        with pytest.raises(KeyError):
            core.beside({}, ("a",))
        with pytest.raises(TypeError):
            core.beside({}, ["a"])


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
    paths = "lockstep/test_lookup", "lockstep/test_predictions", "serving/test_together", "serving/test_convert"
    tests = [f"tests/{path}.py" for path in paths]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, SWITCH: "0"}, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout[-2000:]
    assert "passed" in run.stdout
