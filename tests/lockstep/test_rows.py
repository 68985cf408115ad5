"""What was written is what is read, for every type; bytes that nobody wrote never crash and never lie."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep import checksum
from lockstep.errors import BadColumn, SchemaRefused, UnknownColumn
from lockstep.one_row import OneRow, read_one
from lockstep.resolve import row_status
from lockstep.rows import Unpacked, pack, times, unpack
from lockstep.schema import NO_CREATED, DType, Field, Schema
from lockstep.status import Status

PATIENT = settings(
    max_examples=60, deadline=None
)  # a shared machine stops a test for longer than any sensible deadline
INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS: dict[DType, st.SearchStrategy[Any]] = {
    DType.INT64: INT64,
    DType.FLOAT64: st.floats(),
    DType.TIMESTAMP: INT64,
    DType.INT32: st.integers(-(2**31), 2**31 - 1),
    DType.FLOAT32: st.floats(width=32),
    DType.BOOL: st.booleans(),
    DType.STRING: st.text(max_size=20),
    DType.BYTES: st.binary(max_size=20),
    DType.OPAQUE: st.binary(max_size=20),
}


def values(dtype: DType) -> st.SearchStrategy[Any]:
    """A value of the type, or NULL; a list also with NULL among its elements."""
    element = dtype.element
    return st.none() | (SCALARS[dtype] if element is None else st.lists(values(element), max_size=12))


def schemas() -> st.SearchStrategy[Schema]:
    """Any fields, also many of one type and more than one byte of null bitmap."""
    dtypes = st.lists(st.sampled_from(list(DType)), max_size=12)
    return st.builds(
        lambda found, created: Schema(tuple(Field(f"f{i}", dtype) for i, dtype in enumerate(found)), created, "p/v"),
        dtypes,
        st.booleans(),
    )


def column(found: list[Any], dtype: DType) -> pa.Array:
    """An Arrow array; times are given as µs."""
    inner = dtype.element or dtype
    if inner is not DType.TIMESTAMP:
        return pa.array(found, dtype.arrow)
    return pa.array(found, pa.list_(pa.int64()) if dtype.element else pa.int64()).cast(dtype.arrow)


@st.composite
def tables(draw: st.DrawFn, schema: Schema) -> pa.Table:
    """Rows of a schema, with event and created timestamps."""
    count = draw(st.integers(0, 6))
    rows = {field.name: draw(st.lists(values(field.dtype), min_size=count, max_size=count)) for field in schema.fields}
    columns = {field.name: column(rows[field.name], field.dtype) for field in schema.fields}
    columns["event"] = column(draw(st.lists(INT64, min_size=count, max_size=count)), DType.TIMESTAMP)
    if schema.created:
        columns["created"] = column(draw(st.lists(INT64 | st.none(), min_size=count, max_size=count)), DType.TIMESTAMP)
    return pa.table(columns)


def packed(table: pa.Table, schema: Schema) -> list[bytes]:
    """The rows of a table as they lie in the store."""
    rows: list[bytes] = pack(table, schema, event="event", created="created" if schema.created else None).to_pylist()
    return rows


def same(one: pa.Array, other: pa.Array) -> bool:
    """Equal to the last bit: NaN is NaN, and -0.0 is not 0.0."""
    return repr(numbers(one).to_pylist()) == repr(numbers(other).to_pylist()) and one.type == other.type


def numbers(array: pa.Array) -> pa.Array:
    """Times as µs, for Python has no datetimes before the year 1."""
    plain = {DType.TIMESTAMP.arrow: pa.int64(), DType.LIST_TIMESTAMP.arrow: pa.list_(pa.int64())}
    return array.cast(plain.get(array.type, array.type))


def check_reads_back(found: Unpacked, table: pa.Table, schema: Schema, rows: list[int]) -> None:
    """The given rows of the answer hold the table's rows, in order."""
    for field, status in zip(schema.fields, found.field_status, strict=True):
        array = found.arrow(field.name)
        array.validate(full=True)
        expected = table.column(field.name).combine_chunks()
        assert same(array.take(pa.array(rows, pa.int64())), expected)
        assert status[rows].tolist() == [
            Status.NULL if null else Status.PRESENT for null in expected.is_null().to_pylist()
        ]


@given(st.data(), schemas())
@PATIENT
def test_what_was_packed_is_what_is_unpacked(data: st.DataObject, schema: Schema) -> None:
    table = data.draw(tables(schema))
    found = unpack(packed(table, schema), {schema.fingerprint: schema}, schema)
    check_reads_back(found, table, schema, list(range(len(table))))
    assert found.status.tolist() == [Status.PRESENT] * len(table)
    assert found.event_us.tolist() == table["event"].cast(pa.int64()).to_pylist()
    created = (
        table["created"].cast(pa.int64()).fill_null(NO_CREATED).to_pylist()
        if schema.created
        else [NO_CREATED] * len(table)
    )
    assert found.created_us.tolist() == created


@given(st.data(), schemas())
@PATIENT
def test_rows_that_are_not_there_leave_the_others_in_place(data: st.DataObject, schema: Schema) -> None:
    table = data.draw(tables(schema))
    asked: list[bytes | None] = []
    places = []
    for row in packed(table, schema):
        asked += [None] * data.draw(st.integers(0, 2))
        places.append(len(asked))
        asked.append(row)
    found = unpack([*asked, None], {schema.fingerprint: schema}, schema)
    check_reads_back(found, table, schema, places)
    missing = [place for place in range(len(asked) + 1) if place not in places]
    assert (found.status[missing] == Status.NOT_FOUND).all()
    assert (found.field_status[:, missing] == Status.NOT_FOUND).all()


@given(st.data(), schemas(), schemas())
@PATIENT
def test_rows_of_two_schemas_are_read_side_by_side(data: st.DataObject, one: Schema, other: Schema) -> None:
    tables_ = [data.draw(tables(one)), data.draw(tables(other))]
    rows = [*packed(tables_[0], one), *packed(tables_[1], other)]
    known = {one.fingerprint: one, other.fingerprint: other}
    found = unpack(rows, known, one)
    check_reads_back(found, tables_[0], one, list(range(len(tables_[0]))))
    assert (found.status == Status.PRESENT).all()


@given(st.data(), schemas())
@PATIENT
def test_any_choice_of_fields_in_any_order_can_be_read(data: st.DataObject, schema: Schema) -> None:
    table = data.draw(tables(schema))
    chosen = Schema(tuple(data.draw(st.permutations(schema.fields)))[: data.draw(st.integers(0, len(schema.fields)))])
    found = unpack(packed(table, schema), {schema.fingerprint: schema}, chosen)
    check_reads_back(found, table, chosen, list(range(len(table))))


def damaged(data: st.DataObject, row: bytes) -> bytes:
    """The row with bits flipped, cut off, made longer, or other bytes altogether."""
    kind = data.draw(st.sampled_from(["flip", "cut", "longer", "random", "splice"]))
    if kind == "flip":
        bits = data.draw(st.sets(st.integers(0, 8 * len(row) - 1), min_size=1, max_size=6))
        number = int.from_bytes(row, "little") ^ sum(1 << bit for bit in bits)
        return number.to_bytes(len(row), "little")
    if kind == "cut":
        return row[: data.draw(st.integers(0, len(row) - 1))]
    if kind == "longer":
        return row + data.draw(st.binary(min_size=1, max_size=9))
    if kind == "random":
        return data.draw(st.binary(max_size=120))
    at = data.draw(st.integers(0, len(row)))
    return row[:at] + data.draw(st.binary(max_size=12)) + row[at:]


@given(st.data(), schemas())
@PATIENT
def test_damaged_rows_are_unreadable_and_leave_the_others_alone(data: st.DataObject, schema: Schema) -> None:
    table = data.draw(tables(schema).filter(len))
    rows = packed(table, schema)
    bad = damaged(data, rows[0])
    found = unpack([bad, *rows], {schema.fingerprint: schema}, schema)
    if bad == rows[0]:
        return
    assert found.status[0] == Status.UNREADABLE
    assert (found.field_status[:, 0] == Status.UNREADABLE).all()
    assert all(not found.arrow(field.name)[0].is_valid for field in schema.fields)
    check_reads_back(found, table, schema, list(range(1, len(rows) + 1)))


def resealed(row: bytes) -> bytes:
    """The bytes with a checksum that fits them, as only an attacker would write."""
    body = row[4:].ljust(4, b"\0")
    words = np.frombuffer(body.ljust(-(-len(body) // 4) * 4, b"\0"), "<u4").reshape(1, -1)
    return checksum.of_matrix(words, len(body)).tobytes() + body


@given(st.data(), schemas())
@PATIENT
def test_forged_rows_with_a_good_checksum_never_crash(data: st.DataObject, schema: Schema) -> None:
    table = data.draw(tables(schema).filter(len))
    rows = packed(table, schema)
    forged = resealed(damaged(data, rows[0]))
    found = unpack([forged, *rows], {schema.fingerprint: schema}, schema)
    assert found.status[0] in (Status.PRESENT, Status.UNREADABLE)
    for field in schema.fields:
        found.arrow(field.name).validate(full=True)
    check_reads_back(found, table, schema, list(range(1, len(rows) + 1)))


@given(st.data(), schemas())
@PATIENT
def test_one_row_alone_is_read_as_among_others_or_not_at_all(data: st.DataObject, schema: Schema) -> None:
    table = data.draw(tables(schema).filter(len))
    row = packed(table, schema)[0]
    row = data.draw(st.sampled_from([row, damaged(data, row), resealed(damaged(data, row))]))
    alone, among = read_one(row, schema), unpack([row], {schema.fingerprint: schema}, schema)
    if alone is None:
        lists = any(field.dtype.element for field in schema.fields)
        assert lists or among.status[0] == Status.UNREADABLE or len(row) > 1024
        return
    assert (alone.event_us, alone.created_us) == (among.event_us[0], among.created_us[0])
    expected = [numbers(among.arrow(field.name)).to_pylist()[0] for field in schema.fields]
    assert repr(alone.values) == repr(expected)


@pytest.mark.parametrize("width", [1, 3, 8])
def test_every_one_and_two_bit_flip_is_seen(width: int) -> None:
    schema = Schema(tuple(Field(f"f{i}", DType.FLOAT32) for i in range(width)))
    table = pa.table(
        {
            **{field.name: pa.array([0.5], pa.float32()) for field in schema.fields},
            "event": column([7], DType.TIMESTAMP),
        }
    )
    row = packed(table, schema)[0]
    bits = 8 * len(row)
    number = int.from_bytes(row, "little")
    one = [number ^ (1 << i) for i in range(bits)]
    two = [number ^ (1 << i) ^ (1 << j) for i in range(bits) for j in range(i)]
    found = unpack([each.to_bytes(len(row), "little") for each in one + two], {schema.fingerprint: schema}, schema)
    assert (found.status == Status.UNREADABLE).all()


def one_row(dtype: DType, value: Any, name: str = "f") -> tuple[list[bytes], Schema]:
    """A packed row with one field."""
    schema = Schema((Field(name, dtype),))
    return packed(pa.table({name: column([value], dtype), "event": column([5], DType.TIMESTAMP)}), schema), schema


@pytest.mark.parametrize(("stored", "wanted"), [(DType.INT32, DType.INT64), (DType.FLOAT32, DType.FLOAT64)])
def test_a_number_of_an_older_narrower_schema_is_read_exactly(stored: DType, wanted: DType) -> None:
    rows, schema = one_row(stored, 3)
    new = Schema((Field("f", wanted), Field("g", DType.INT64)))
    found = unpack(rows, {schema.fingerprint: schema, new.fingerprint: new}, new)
    assert found.arrow("f").to_pylist() == [3]
    assert found.field_status.tolist() == [[Status.PRESENT], [Status.NOT_FOUND]]


@pytest.mark.parametrize(
    ("stored", "wanted"), [(DType.INT64, DType.INT32), (DType.INT64, DType.FLOAT64), (DType.INT64, DType.STRING)]
)
def test_a_field_whose_type_changed_is_unreadable_and_its_row_is_not(stored: DType, wanted: DType) -> None:
    rows, schema = one_row(stored, 3)
    found = unpack(rows, {schema.fingerprint: schema}, Schema((Field("f", wanted),)))
    assert found.status.tolist() == [Status.PRESENT]
    assert found.field_status.tolist() == [[Status.UNREADABLE]]
    assert found.arrow("f").to_pylist() == [None]


def test_a_row_of_another_view_with_the_same_fields_is_unreadable() -> None:
    fields = (Field("f", DType.INT64),)
    mine, theirs = Schema(fields, owner="mine"), Schema(fields, owner="theirs")
    table = pa.table({"f": [1], "event": column([5], DType.TIMESTAMP)})
    assert unpack(packed(table, theirs), {mine.fingerprint: mine}, mine).status.tolist() == [Status.UNREADABLE]


def test_one_long_row_does_not_fill_up_a_thousand_short_ones() -> None:
    texts = ["x" * 3_000_000, *[str(i) for i in range(1000)]]
    schema = Schema((Field("f", DType.STRING),))
    table = pa.table({"f": texts, "event": column([5] * 1001, DType.TIMESTAMP)})
    found = unpack(packed(table, schema), {schema.fingerprint: schema}, schema)
    assert found.arrow("f").to_pylist() == texts


def test_eleven_numbers_take_at_most_ninety_bytes() -> None:
    dtypes = [*[DType.INT64] * 3, *[DType.FLOAT32] * 4, *[DType.INT32] * 3, DType.BOOL]
    schema = Schema(tuple(Field(f"f{i}", dtype) for i, dtype in enumerate(dtypes)))
    table = pa.table(
        {
            **{field.name: pa.array([1]).cast(field.dtype.arrow) for field in schema.fields},
            "event": column([5], DType.TIMESTAMP),
        }
    )
    assert len(packed(table, schema)[0]) == 21 + 2 + 3 * 8 + 7 * 4 + 1


def test_the_bytes_of_a_row_never_change() -> None:
    schema = Schema((Field("count", DType.INT32), Field("apps", DType.LIST_STRING)), created=True, owner="p/v")
    table = pa.table(
        {
            "count": pa.array([258], pa.int32()),
            "apps": [["a1", None]],
            "event": column([1], DType.TIMESTAMP),
            "created": column([2], DType.TIMESTAMP),
        }
    )
    head = ["a0fff813", "02", "997844fc3e659a7e", "0100000000000000", "0200000000000000"]
    apps = ["02000000", "02", "02000000", "02000000", "6131"]
    assert packed(table, schema)[0].hex() == "".join([*head, "00", "02010000", "0f000000", "0000", *apps])


def test_times_are_read_from_packed_rows() -> None:
    schema = Schema((Field("f", DType.STRING),), created=True)
    table = pa.table(
        {
            "f": ["a", "bcd", None],
            "event": column([1, -2, 3], DType.TIMESTAMP),
            "created": column([4, None, -(2**62)], DType.TIMESTAMP),
        }
    )
    event, created = times(pack(table, schema, event="event", created="created")[1:])
    assert event.tolist() == [-2, 3]
    assert created.tolist() == [NO_CREATED, -(2**62)]


@pytest.mark.parametrize(
    ("array", "dtype", "expected"),
    [
        (pa.array([1, None], pa.int8()), DType.INT64, [1, None]),
        (pa.array([1.0]), DType.INT32, [1]),
        (pa.array(["a"], pa.large_string()), DType.STRING, ["a"]),
        (pa.array(["a", "a"]).dictionary_encode(), DType.STRING, ["a", "a"]),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)), DType.LIST_FLOAT32, [[1.0, 2.0]]),
    ],
    ids=["int8", "whole float", "large string", "dictionary", "fixed-size list"],
)
def test_columns_are_cast_to_the_declared_type(array: pa.Array, dtype: DType, expected: list[Any]) -> None:
    schema = Schema((Field("f", dtype),))
    table = pa.table({"f": array, "event": column([5] * len(array), DType.TIMESTAMP)})
    assert unpack(packed(table, schema), {schema.fingerprint: schema}, schema).arrow("f").to_pylist() == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_of_every_unit_are_microseconds_utc(unit: str, zone: str | None) -> None:
    schema = Schema((Field("f", DType.TIMESTAMP),))
    ticks = pa.array([3_000_000], pa.int64()).cast(pa.timestamp("us")).cast(pa.timestamp(unit, zone))
    found = unpack(packed(pa.table({"f": ticks, "event": ticks}), schema), {schema.fingerprint: schema}, schema)
    assert found.values("f").tolist() == found.event_us.tolist() == [3_000_000]


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (pa.array([2**31]), DType.INT32),
        (pa.array([1.5]), DType.INT64),
        (pa.array(["x"]), DType.FLOAT64),
        (pa.array([{"a": 1}]), DType.STRING),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(array: pa.Array, dtype: DType) -> None:
    schema = Schema((Field("clicks", dtype),))
    with pytest.raises(BadColumn, match="'clicks'"):
        packed(pa.table({"clicks": array, "event": column([5], DType.TIMESTAMP)}), schema)


def test_a_row_without_an_event_timestamp_is_refused_by_number() -> None:
    schema = Schema(())
    with pytest.raises(BadColumn, match="'event', row 1"):
        packed(pa.table({"event": column([5, None], DType.TIMESTAMP)}), schema)


def test_a_missing_column_is_refused_by_name() -> None:
    with pytest.raises(UnknownColumn, match="'clicks'"):
        packed(pa.table({"click": [1], "event": column([5], DType.TIMESTAMP)}), Schema((Field("clicks", DType.INT64),)))


def test_created_timestamps_that_the_schema_does_not_have_are_refused() -> None:
    with pytest.raises(SchemaRefused, match="created"):
        pack(pa.table({"event": column([5], DType.TIMESTAMP)}), Schema(()), event="event", created="event")


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(SchemaRefused, match="'f'"):
        Schema((Field("f", DType.INT64), Field("f", DType.INT32)))


@given(st.integers(-5, 5), st.none() | st.integers(-5, 5), st.integers(-5, 5), st.none() | st.integers(0, 5))
@PATIENT
def test_one_row_is_judged_as_many_are(event: int, created: int | None, t: int, ttl: int | None) -> None:
    created_us = NO_CREATED if created is None else created
    present = np.zeros(1, np.int8)
    assert (
        OneRow(event, created_us, []).status(t, ttl)
        == row_status(present, np.array([event]), np.array([created_us]), np.array([t]), ttl)[0]
    )


def test_nothing_asked_is_nothing_found() -> None:
    found = unpack([], {}, Schema((Field("f", DType.INT64), Field("s", DType.LIST_STRING))))
    assert len(found.values("f")) == len(found.arrow("s")) == len(found.status) == 0


def test_an_unknown_field_is_named() -> None:
    rows, schema = one_row(DType.INT64, 1)
    with pytest.raises(UnknownColumn, match="'g'"):
        unpack(rows, {schema.fingerprint: schema}, schema).values("g")
