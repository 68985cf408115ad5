"""The fast way from packed rows to a plan's columns, against the way that knows every case, and against the rows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockstep.lookup import Found, Lookup
from lockstep.plan import Array, Column, Given, JoinKey, Plan, Stored, View
from lockstep.plan import DType as Served
from lockstep.resolve import Resolved, ViewRows, resolve
from lockstep.rows import pack
from lockstep.schema import DType, Field
from lockstep.status import Status
from lockstep.view_record import ViewRecord
from tests.views import view_of

NOW = 1_510_228_800_000_000

FIELDS = (
    Field("clicks", DType.INT64),
    Field("rate", DType.FLOAT64),
    Field("score", DType.FLOAT32),
    Field("days", DType.INT32),
    Field("known", DType.BOOL),
    Field("last", DType.TIMESTAMP),
    Field("apps", DType.STRING),
    Field("site", DType.STRING),
)
SERVED = {
    "clicks": Served.FLOAT32,
    "rate": Served.FLOAT32,
    "score": Served.FLOAT64,
    "days": Served.FLOAT32,
    "known": Served.FLOAT32,
    "last": Served.TIMESTAMP,
    "apps": Served.STRING,
    "site": Served.STRING,
}
VALUES: dict[DType, st.SearchStrategy[Any]] = {
    DType.INT64: st.integers(-(2**63), 2**63 - 1),
    DType.FLOAT64: st.floats(),
    DType.FLOAT32: st.floats(width=32),
    DType.INT32: st.integers(-(2**31), 2**31 - 1),
    DType.BOOL: st.booleans(),
    DType.TIMESTAMP: st.integers(-(2**53), 2**53),
    DType.STRING: st.text(max_size=5),
}


def record(fields: Sequence[Field] = FIELDS, *, created: bool = False, definition: str = "it") -> ViewRecord:
    return ViewRecord("shop", "by_ip", (Field("ip", DType.INT64),), tuple(fields), created, 60, definition)


def plan(names: Sequence[str] = tuple(SERVED)) -> Plan:
    stored = tuple(Column(name, SERVED[name], Stored("by_ip", name)) for name in names)
    view = View("by_ip", (JoinKey("ip", "ip", Served.INT64),), 60, "it")
    inputs = tuple(name for name in names if SERVED[name] is not Served.TIMESTAMP)
    return Plan("shop", "s", (view,), (Column("ip", Served.INT64, Given("join_key")), *stored), inputs)


def packed(
    made: ViewRecord,
    rows: Sequence[Sequence[Any]],
    event_us: Sequence[int],
    created_us: Sequence[int] | None = None,
) -> list[bytes]:
    """Created with the event, unless said otherwise."""
    columns = {field.name: pa.array([row[i] for row in rows], field.dtype.arrow) for i, field in enumerate(made.fields)}
    moment = pa.timestamp("us", "UTC")
    times = {"event": pa.array(event_us, moment), "created": pa.array(created_us or event_us, moment)}
    table = pa.table({**columns, **times})
    found: list[bytes] = pack(
        table, made.schema, event="event", created="created" if made.created else None
    ).to_pylist()
    return found


def asked(lookup: Lookup, *ips: int) -> Any:
    return lookup.ask({"ip": np.array(ips, np.int64)}, len(ips))


def rows_of(lookup: Lookup, found: Found) -> ViewRows:
    """What was found for the one view."""
    return view_of(found.rows, lookup._plan, "by_ip")


def same(one: ViewRows, other: ViewRows) -> None:
    """Equal in all that `resolve` looks at."""
    np.testing.assert_array_equal(one.found, other.found)
    present = one.found == Status.PRESENT
    np.testing.assert_array_equal(one.event_us[present], other.event_us[present])
    np.testing.assert_array_equal(one.states[:, present], other.states[:, present])
    if one.created_us is not None and other.created_us is not None:
        np.testing.assert_array_equal(one.created_us[present], other.created_us[present])
    assert list(one.values) == list(other.values)
    for place, name in enumerate(one.values):
        assert one.values[name].dtype == other.values[name].dtype
        here = present & (one.states[place] == Status.PRESENT)
        np.testing.assert_array_equal(one.values[name][here], other.values[name][here])


@st.composite
def tables(draw: st.DrawFn) -> tuple[ViewRecord, list[list[Any]], list[int]]:
    fields = draw(st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
    made = record(fields, created=draw(st.booleans()))
    row = st.tuples(*(st.none() | VALUES[field.dtype] for field in fields)).map(list)
    rows = draw(st.lists(row, min_size=1, max_size=6))
    return made, rows, draw(st.lists(st.integers(0, NOW), min_size=len(rows), max_size=len(rows)))


@given(tables(), st.data())
@settings(max_examples=150, deadline=None)
def test_the_fast_way_gives_what_the_other_way_gives(
    table: tuple[ViewRecord, list[list[Any]], list[int]], data: st.DataObject
) -> None:
    made, rows, event_us = table
    there = [row if data.draw(st.booleans()) else None for row in packed(made, rows, event_us)]
    lookup = Lookup(plan([field.name for field in made.fields]), {"by_ip": [made]})
    ips = [data.draw(st.integers(0, len(rows) - 1)) for _ in range(data.draw(st.integers(1, 40)))]
    request = asked(lookup, *ips)
    by_key = dict(zip(asked(lookup, *range(len(rows))).keys, there, strict=True))
    answers = [by_key[key] for key in request.keys]
    fast = lookup.read(request, answers)
    found = view_of(fast.rows, lookup._plan, "by_ip")
    with np.errstate(over="ignore"):
        same(found, lookup._readers[0].read(answers, request.places[0]))
    assert fast.unreadable == ()
    for place, ip in enumerate(ips):
        _is_the_row(found, place, made, None if there[ip] is None else rows[ip], event_us[ip])


def _is_the_row(found: ViewRows, place: int, made: ViewRecord, row: list[Any] | None, event_us: int) -> None:
    assert found.found[place] == (Status.NOT_FOUND if row is None else Status.PRESENT)
    if row is None:
        return
    assert found.event_us[place] == event_us
    for position, (field, value) in enumerate(zip(made.fields, row, strict=True)):
        null = value is None or value != value
        assert found.states[position, place] == (Status.NULL if null else Status.PRESENT)
        if not null:
            served = SERVED[field.name].numpy
            with np.errstate(over="ignore"):
                expected = value if field.dtype is DType.STRING else np.array(value, field.dtype.numpy).astype(served)
            assert found.values[field.name][place] == expected


@settings(deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60), st.data())
def test_every_row_asks_for_its_own_key_and_every_key_once(ips: list[int], data: st.DataObject) -> None:
    apps = [data.draw(st.sampled_from([0, 1, -5, 2**40])) for _ in ips]
    sites = [data.draw(st.text(max_size=3)) for _ in ips]
    keys = (Field("ip", DType.INT64), Field("app", DType.INT64), Field("site", DType.STRING))
    for wanted in (keys[:1], keys[:2], keys[1:], keys):
        made = replace(record(), join_keys=wanted)
        joined = tuple(JoinKey(key.name, key.name, Served(key.dtype.value)) for key in wanted)
        given_columns = tuple(Column(key.name, Served(key.dtype.value), Given("join_key")) for key in keys)
        other = replace(plan(), views=(replace(plan().views[0], join_keys=joined),), columns=given_columns, inputs=())
        other = replace(other, columns=(*given_columns, Column("clicks", Served.FLOAT32, Stored("by_ip", "clicks"))))
        columns: dict[str, Array] = {
            "ip": np.array(ips, np.int64),
            "app": np.array(apps, np.int64),
            "site": np.array(sites, object),
        }
        request = Lookup(other, {"by_ip": [made]}).ask(columns, len(ips))
        assert len(set(request.keys)) == len(request.keys) == request.parts[0].stop
        for row in range(len(ips)):
            expected = made.key_space.encode_one({key.name: columns[key.name].tolist()[row] for key in wanted})
            assert request.keys[request.places[0, row]] == expected


def test_rows_of_an_older_schema_and_damaged_ones_are_read_beside_new_ones() -> None:
    old, new = record(FIELDS[:1]), record(FIELDS[:2])
    rows = [*packed(new, [[1, 0.5]], [NOW]), *packed(old, [[2]], [NOW]), b"damaged", None]
    lookup = Lookup(plan(["clicks", "rate"]), {"by_ip": [new, old]})
    request = asked(lookup, 1, 2, 3, 4)
    found = lookup.read(request, rows)
    view = rows_of(lookup, found)
    assert view.found.tolist() == [Status.PRESENT, Status.PRESENT, Status.UNREADABLE, Status.NOT_FOUND]
    assert view.states[1, :2].tolist() == [Status.PRESENT, Status.NOT_FOUND]
    assert view.values["clicks"][:2].tolist() == [1.0, 2.0]
    assert found.unreadable == (("by_ip", request.keys[2]),)


@settings(deadline=None)
@given(st.binary(max_size=120), st.integers(0, 200))
def test_bytes_that_nobody_wrote_are_unreadable_and_never_a_value(garbage: bytes, bit: int) -> None:
    made = record()
    sound = packed(made, [[1, 0.5, 0.25, 7, True, NOW, "ab", ""]], [NOW])[0]
    flipped = bytearray(sound)
    flipped[bit // 8 % len(sound)] ^= 1 << bit % 8
    lookup = Lookup(plan(), {"by_ip": [made]})
    answer = rows_of(lookup, lookup.read(asked(lookup, 1, 2, 3), [garbage or b"\0", bytes(flipped), sound]))
    assert answer.found.tolist() == [Status.UNREADABLE, Status.UNREADABLE, Status.PRESENT]


def test_a_field_of_another_type_and_one_that_is_gone_say_so() -> None:
    made = record([Field("clicks", DType.STRING), Field("rate", DType.FLOAT64)])
    lookup = Lookup(plan(["clicks", "rate", "days"]), {"by_ip": [made]})
    view = rows_of(lookup, lookup.read(asked(lookup, 1), packed(made, [["a", 0.5]], [NOW])))
    assert view.states[:, 0].tolist() == [Status.UNREADABLE, Status.PRESENT, Status.NOT_FOUND]


def test_a_view_that_means_something_else_is_unreadable_and_named() -> None:
    lookup = Lookup(plan(["clicks"]), {"by_ip": [record(definition="other")]})
    assert [str(each)[:64] for each in lookup.differing] == [
        "view 'by_ip' was defined otherwise when the model was trained: c"
    ]
    assert rows_of(lookup, lookup.read(asked(lookup, 1), [])).found.tolist() == [Status.UNREADABLE]


def test_without_a_record_nothing_is_asked_and_nothing_found() -> None:
    lookup = Lookup(plan(), {})
    request = asked(lookup, 1, 2)
    assert (request.keys, lookup.without_record) == ([], ["by_ip"])
    assert rows_of(lookup, lookup.read(request, [])).found.tolist() == [Status.NOT_FOUND] * 2


def test_one_long_row_does_not_fill_up_all_others() -> None:
    made = record(FIELDS[-1:])
    rows = packed(made, [["x" * 100_000], *[["y"]] * 99], [NOW] * 100)
    lookup = Lookup(plan(["site"]), {"by_ip": [made]})
    view = rows_of(lookup, lookup.read(asked(lookup, *range(100)), rows))
    assert [len(site) for site in view.values["site"]] == [100_000, *[1] * 99]


def test_a_view_without_join_keys_has_one_row_for_all() -> None:
    made = replace(record(FIELDS[:1]), join_keys=())
    whole = replace(plan(["clicks"]), views=(replace(plan().views[0], join_keys=()),))
    lookup = Lookup(whole, {"by_ip": [made]})
    request = asked(lookup, 1, 2, 3)
    assert request.keys == [made.key_space.prefix]
    assert rows_of(lookup, lookup.read(request, packed(made, [[7]], [NOW]))).values["clicks"].tolist() == [7.0] * 3


TWO = tuple(replace(plan().views[0], name=name) for name in ("by_ip", "by_app"))
"""Two views of the same fields and keys."""


def whole_plan(names: Sequence[str] = tuple(SERVED), served: dict[str, Served] = SERVED) -> Plan:
    """All fields of both views, those of the second after its name."""
    stored = [
        Column(name if view is TWO[0] else f"app_{name}", served[name], Stored(view.name, name), default=_default(name))
        for view in TWO
        for name in names
    ]
    inputs = tuple(column.name for column in stored if column.dtype is not Served.TIMESTAMP)
    return Plan("shop", "s", TWO, (Column("ip", Served.INT64, Given("join_key")), *stored), inputs)


def _default(name: str) -> int | None:
    return None if SERVED[name] in (Served.STRING, Served.TIMESTAMP) else -1


def resolved(lookup: Lookup, answers: dict[bytes, bytes | None], *ips: int) -> Resolved:
    """What a model gets at NOW."""
    request = asked(lookup, *ips)
    found = lookup.read(request, [answers[key] for key in request.keys])
    return resolve(lookup._plan, found.rows, {"ip": np.array(ips, np.int64)}, np.full(len(ips), NOW))


@st.composite
def stores(draw: st.DrawFn) -> tuple[Lookup, dict[bytes, bytes | None], int]:
    """Two views, rows of two schemas in each, some damaged, some absent, some long; and the number of keys."""
    count = draw(st.integers(1, 6))
    records, answers = {}, dict[bytes, bytes | None]()
    for view in TWO:
        newest = replace(record(), view=view.name)
        fields = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4, unique=True))
        older = replace(record(fields), view=view.name)
        records[view.name] = list(dict.fromkeys([newest, older]))
        for ip in range(count):
            made = draw(st.sampled_from([newest, newest, newest, older]))
            row: bytes | None = draw(rows_of_record(made))
            key = newest.key_space.encode_one({"ip": ip})
            answers[key] = draw(st.sampled_from([row, row, row, row, None, b"damaged"]))
    return Lookup(whole_plan(), records), answers, count


@st.composite
def rows_of_record(draw: st.DrawFn, made: ViewRecord) -> bytes:
    values = [draw(st.none() | VALUES[field.dtype]) for field in made.fields]
    if made.fields[-1].dtype is DType.STRING and draw(st.integers(0, 9)) == 0:
        values[-1] = "x" * 70_000
    event_us, created_us = draw(MOMENTS), draw(MOMENTS)
    return packed(made, [values], [event_us], [created_us])[0]


MOMENTS = st.sampled_from([NOW - 61, NOW - 60, NOW, NOW + 1])
SEVERAL = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(stores(), st.lists(st.integers(0, 5), min_size=1, max_size=12))
@SEVERAL
def test_a_row_is_the_same_alone_and_among_others(
    store: tuple[Lookup, dict[bytes, bytes | None], int], wanted: list[int]
) -> None:
    lookup, answers, count = store
    ips = [ip % count for ip in wanted]
    together = resolved(lookup, answers, *ips)
    for place, ip in enumerate(ips):
        alone = resolved(lookup, answers, ip)
        np.testing.assert_array_equal(together.found[:, place], alone.found[:, 0])
        np.testing.assert_array_equal(together.replaced[:, place], alone.replaced[:, 0])
        for name, values in alone.columns.items():
            assert together.columns[name].dtype == values.dtype
            np.testing.assert_array_equal(together.columns[name][place], values[0])


def test_a_row_that_was_created_later_is_in_the_future_beside_a_long_one_too() -> None:
    made = record(FIELDS[-1:], created=True)
    rows = packed(made, [["x" * 100_000], *[["y"]] * 99], [NOW] * 100, [NOW] + [NOW + 1] * 99)
    lookup = Lookup(plan(["site"]), {"by_ip": [made]})
    request = asked(lookup, *range(100))
    found = lookup.read(request, rows)
    answer = resolve(lookup._plan, found.rows, {"ip": np.arange(100)}, np.full(100, NOW))
    assert answer.found[0].tolist() == [Status.PRESENT] + [Status.FUTURE] * 99


def test_a_row_of_an_older_schema_keeps_its_created_time() -> None:
    old, new = record(FIELDS[:1], created=True), record(FIELDS[:2])
    rows = [*packed(new, [[1, 0.5]], [NOW]), *packed(old, [[2]], [NOW], [NOW + 1])]
    lookup = Lookup(plan(["clicks"]), {"by_ip": [new, old]})
    found = lookup.read(asked(lookup, 1, 2), rows)
    answer = resolve(lookup._plan, found.rows, {"ip": np.array([1, 2])}, np.full(2, NOW))
    assert answer.found[0].tolist() == [Status.PRESENT, Status.FUTURE]


def test_fields_of_one_stored_type_are_served_each_as_its_own_column_says() -> None:
    names = {"clicks": Served.FLOAT32, "days": Served.INT64}
    made = record([Field("clicks", DType.INT64), Field("days", DType.INT64)])
    view = plan().views[0]
    stored = tuple(Column(name, served, Stored("by_ip", name), default=0) for name, served in names.items())
    whole = Plan("shop", "s", (view,), (Column("ip", Served.INT64, Given("join_key")), *stored), tuple(names))
    lookup = Lookup(whole, {"by_ip": [made]})
    found = lookup.read(asked(lookup, 1), packed(made, [[3, 2**53 + 1]], [NOW]))
    columns = resolve(whole, found.rows, {"ip": np.array([1])}, np.array([NOW])).columns
    assert (str(columns["clicks"].dtype), columns["clicks"].tolist()) == ("float32", [3.0])
    assert (str(columns["days"].dtype), columns["days"].tolist()) == ("int64", [2**53 + 1])


@pytest.mark.parametrize(
    "payload",
    [
        0x7FF0000000000001,
        0xFFF8000000000001,
        0x7FF8000000000000,
    ],
)
def test_every_nan_is_null_and_none_is_a_warning(payload: int) -> None:
    made = record(FIELDS[1:2])
    value = np.array([payload], np.uint64).view(np.float64)[0]
    lookup = Lookup(plan(["rate"]), {"by_ip": [made]})
    found = lookup.read(asked(lookup, 1), packed(made, [[value]], [NOW]))
    assert rows_of(lookup, found).states.tolist() == [[Status.NULL]]
