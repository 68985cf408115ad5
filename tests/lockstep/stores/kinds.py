"""Every value type of Feast: the column that holds it, values to draw, and values that are worth a line in a table."""

import json
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast import types as ft
    from feast.value_type import ValueType

__all__ = ["KINDS", "Kind"]

Values = st.SearchStrategy[Any]

US: Final = pa.timestamp("us", "UTC")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NOON: Final = datetime(2024, 5, 1, 12, 0, 0, 123457, tzinfo=UTC)
BEFORE_1970: Final = datetime(1969, 12, 31, 23, 59, 58, 500000, tzinfo=UTC)


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, eq=False, repr=False)
class Kind:
    """A declared type over a column of a table."""

    name: str
    """As it stands in the docs: the declared type and, where the table has another, the table's."""
    feast: Any
    """The declared type."""
    source: pa.DataType
    """The type of the table's column."""
    declared: pa.DataType | None
    """What the column is cast to. None: a type that is kept as the table and Feast hold it."""
    values: Values
    """Values other than NULL."""
    probes: tuple[Any, ...]
    """Values for the docs: ordinary ones, then those with which something may happen."""
    seen: Callable[[Any], Any] = _same
    """What Feast's SDK makes of a value, e.g. a UUID of its text."""

    def __repr__(self) -> str:
        return self.name

    @property
    def column(self) -> str:
        """A name that a column may have."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name)

    @property
    def value_type(self) -> ValueType:
        """Feast's name of the declared type."""
        found: ValueType = self.feast.to_value_type()
        return found

    @property
    def is_time(self) -> bool:
        """Whether values are times, or lists or sets of times."""
        return "TIMESTAMP" in self.value_type.name

    def cast(self, values: list[Any]) -> list[Any]:
        """The reference: the table's values as the declared type."""
        column = pa.array(values, self.source)
        if self.declared is not None:
            column = column.cast(self.declared, safe=not self.is_time)
        found: list[Any] = column.to_pylist(maps_as_pydicts="strict")
        return found


def _moments(unit_us: int = 1) -> Values:
    bound = 2 * 10**15 // unit_us  # ± 63 years
    return st.integers(-bound, bound).map(lambda ticks: _EPOCH + timedelta(microseconds=ticks * unit_us))


INT64: Final = st.integers(-(2**63), 2**63 - 1)
INT32: Final = st.integers(-(2**31), 2**31 - 1)
TEXT: Final = st.text(max_size=4)
BLOB: Final = st.binary(max_size=4)
UUIDS: Final = st.uuids().map(str)
EIGHTHS: Final = st.integers(-100, 100).map(lambda n: n / 8)
BIG: Final = 2**53 + 1

SCALARS: Final = (
    Kind("Int64", ft.Int64, pa.int64(), pa.int64(), INT64, (BIG, -(2**63))),
    Kind("Int32", ft.Int32, pa.int32(), pa.int32(), INT32, (7, -(2**31))),
    Kind("Float64", ft.Float64, pa.float64(), pa.float64(), st.floats(), (0.1, -0.0, float("inf"), float("nan"))),
    Kind("Float32", ft.Float32, pa.float32(), pa.float32(), st.floats(width=32), (0.5, float("nan"))),
    Kind("Bool", ft.Bool, pa.bool_(), pa.bool_(), st.booleans(), (True, False)),
    Kind("String", ft.String, pa.string(), pa.string(), TEXT, ("é", "")),
    Kind("Bytes", ft.Bytes, pa.binary(), pa.binary(), BLOB, (b"\x00\xff", b"")),
    Kind("UnixTimestamp", ft.UnixTimestamp, US, US, _moments(), (NOON, BEFORE_1970)),
)
FLOATS_OF_SETS: Final = {"Float64": EIGHTHS, "Float32": EIGHTHS}
"""A set of Python holds 0.0 and -0.0 once, and NaN as often as it comes; neither says anything about a store."""

WIDER: Final = (
    Kind("Int64, table int32", ft.Int64, pa.int32(), pa.int64(), INT32, (7,)),
    Kind("Float64, table int64", ft.Float64, pa.int64(), pa.float64(), st.integers(-(2**53), 2**53), (7,)),
    Kind("Float64, table float32", ft.Float64, pa.float32(), pa.float64(), st.floats(width=32), (0.5,)),
    Kind("Float32, table float64", ft.Float32, pa.float64(), pa.float32(), st.floats(-1e38, 1e38), (0.1,)),
    Kind("UnixTimestamp, table ns", ft.UnixTimestamp, pa.timestamp("ns", "UTC"), US, _moments(), (NOON,)),
    Kind("UnixTimestamp, table ms without a zone", ft.UnixTimestamp, pa.timestamp("ms"), US, _moments(1000), (_EPOCH,)),
)


def _list_of(kind: Kind) -> Kind:
    elements = st.lists(st.none() | kind.values, max_size=3)
    probes: tuple[Any, ...] = ([kind.probes[0], kind.probes[-1]], [], [kind.probes[0], None])
    return Kind(
        f"Array({kind.name})", ft.Array(kind.feast), pa.list_(kind.source), pa.list_(kind.source), elements, probes
    )


def _set_of(kind: Kind) -> Kind:
    values = FLOATS_OF_SETS.get(kind.name, kind.values)
    elements = st.lists(values, max_size=3, unique=True)
    return Kind(
        f"Set({kind.name})", ft.Set(kind.feast), pa.list_(kind.source), None, elements, ([kind.probes[0]], []), set
    )


def _each(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: [make(value) for value in values]


def _set_each(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: {make(value) for value in values}


_JSON: Final = st.recursive(INT32 | TEXT | st.booleans(), lambda part: st.lists(part, max_size=2), max_leaves=3)
_JSON_TEXT: Final = st.dictionaries(TEXT, _JSON, max_size=2).map(json.dumps)
_ID: Final = str(uuid.UUID(int=5))
_PAIR: Final = ft.Struct({"n": ft.Int64, "s": ft.String})
_PAIR_ARROW: Final = pa.struct([("n", pa.int64()), ("s", pa.string())])
_PAIRS: Final = st.fixed_dictionaries({"n": st.none() | INT64, "s": st.none() | TEXT})
_MONEY: Final = st.integers(-(10**6), 10**6).map(lambda cents: Decimal(cents).scaleb(-2))
_TEXT_MAP: Final = pa.map_(pa.string(), pa.string())
_NUMBER_LISTS: Final = st.lists(st.lists(INT64, max_size=2), max_size=2)
_NUMBER_PROBES: Final = ([[1, 2], [3]], [[1], []])
_LISTS_ARROW: Final = pa.list_(pa.list_(pa.int64()))

OTHERS: Final = (
    Kind("PdfBytes", ft.PdfBytes, pa.binary(), pa.binary(), BLOB, (b"%PDF",)),
    Kind("ImageBytes", ft.ImageBytes, pa.binary(), pa.binary(), BLOB, (b"\x89PNG",)),
    Kind("Uuid", ft.Uuid, pa.string(), None, UUIDS, (_ID,), uuid.UUID),
    Kind("TimeUuid", ft.TimeUuid, pa.string(), None, UUIDS, (_ID,), uuid.UUID),
    Kind("Decimal", ft.Decimal, pa.decimal128(12, 2), None, _MONEY, (Decimal("1.50"),)),
    Kind("ZonedTimestamp", ft.ZonedTimestamp, US, None, _moments(), (NOON,)),
    Kind("Json", ft.Json, pa.string(), None, _JSON_TEXT, ('{"a": 1}',), json.loads),
    Kind("Map", ft.Map, _TEXT_MAP, None, st.dictionaries(TEXT, TEXT, max_size=2), ({"a": "b"},)),
    Kind(
        "ScalarMap",
        ft.ScalarMap,
        pa.map_(pa.int64(), pa.string()),
        None,
        st.dictionaries(INT64, TEXT, max_size=2),
        ({1: "b"},),
    ),
    Kind("Struct", _PAIR, _PAIR_ARROW, None, _PAIRS, ({"n": BIG, "s": "a"}, {"n": None, "s": None})),
    Kind(
        "Array(Uuid)",
        ft.Array(ft.Uuid),
        pa.list_(pa.string()),
        None,
        st.lists(UUIDS, max_size=2),
        ([_ID],),
        _each(uuid.UUID),
    ),
    Kind(
        "Array(TimeUuid)",
        ft.Array(ft.TimeUuid),
        pa.list_(pa.string()),
        None,
        st.lists(UUIDS, max_size=2),
        ([_ID],),
        _each(uuid.UUID),
    ),
    Kind(
        "Array(Decimal), table string",
        ft.Array(ft.Decimal),
        pa.list_(pa.string()),
        None,
        st.lists(_MONEY.map(str), max_size=2),
        (["1.50"],),
        _each(Decimal),
    ),
    Kind(
        "Array(Json)",
        ft.Array(ft.Json),
        pa.list_(pa.string()),
        None,
        st.lists(_JSON_TEXT, max_size=2),
        (['{"a": 1}'],),
        _each(json.loads),
    ),
    Kind(
        "Array(Map)",
        ft.Array(ft.Map),
        pa.list_(_TEXT_MAP),
        None,
        st.lists(st.dictionaries(TEXT, TEXT, max_size=2), max_size=2),
        ([{"a": "b"}],),
    ),
    Kind(
        "Array(Struct)",
        ft.Array(_PAIR),
        pa.list_(_PAIR_ARROW),
        None,
        st.lists(_PAIRS, max_size=2),
        ([{"n": 1, "s": "a"}],),
    ),
    Kind(
        "Array(Array(Int64))",
        ft.Array(ft.Array(ft.Int64)),
        _LISTS_ARROW,
        None,
        _NUMBER_LISTS,
        ([[1, 2], [3]], [[1], []]),
    ),
    Kind(
        "Set(Array(Int64))", ft.Set(ft.Array(ft.Int64)), _LISTS_ARROW, None, _NUMBER_LISTS, ([[1, 2], [3]], [[1], []])
    ),
    Kind(
        "Array(Set(Int64))", ft.Array(ft.Set(ft.Int64)), _LISTS_ARROW, None, _NUMBER_LISTS, ([[1, 2], [3]], [[1], []])
    ),
    Kind(
        "Set(Uuid)",
        ft.Set(ft.Uuid),
        pa.list_(pa.string()),
        None,
        st.lists(UUIDS, max_size=2, unique=True),
        ([_ID],),
        _set_each(uuid.UUID),
    ),
    Kind(
        "Set(TimeUuid)",
        ft.Set(ft.TimeUuid),
        pa.list_(pa.string()),
        None,
        st.lists(UUIDS, max_size=2, unique=True),
        ([_ID],),
        _set_each(uuid.UUID),
    ),
    Kind(
        "Set(Decimal), table string",
        ft.Set(ft.Decimal),
        pa.list_(pa.string()),
        None,
        st.lists(_MONEY.map(str), max_size=2, unique=True),
        (["1.50"],),
        _set_each(Decimal),
    ),
)

KINDS: Final = (*SCALARS, *WIDER, *map(_list_of, SCALARS), *map(_set_of, SCALARS), *OTHERS)
