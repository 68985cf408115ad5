"""Every value type, key shape and time case: our stores against the source's Arrow values, beside Feast's own stores.

The reference is the Arrow value cast to the declared type, and the rule for time in plain Python (shapes.py). Where a
stock store gives something else, a difference of explained.py must lead there; everywhere else it must be equal.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockstep.schema import DType
from lockstep.times import to_datetime
from tests.lockstep.stores.differences import PAGE, definitions, page
from tests.lockstep.stores.explained import FEAST_SDK, STOCK_OFFLINE, STOCK_ONLINE, unexplained
from tests.lockstep.stores.kinds import KINDS, Kind
from tests.lockstep.stores.shapes import (
    KEYS,
    SHAPES,
    START,
    Row,
    Shape,
    moments,
    newest,
    rows_of,
    stored_of,
    table_of,
)
from tests.lockstep.stores.twins import Answer, Twins, answered, clock, column_of, twins
from tests.lockstep.stores.typed import TYPED, typed_table

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # numpy, under Feast, casts NaN
]
FEW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]

Drawn = dict[Shape, list[Row]]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("twins")
    with twins(folder, definitions(folder)) as found:
        yield found


# --- values


COLUMNS = st.fixed_dictionaries({kind: st.lists(st.none() | kind.values, min_size=3, max_size=3) for kind in KINDS})
"""Three values of every type."""


@settings(max_examples=6, deadline=None, suppress_health_check=FEW)
@given(drawn=COLUMNS)
def test_offline_every_value_is_the_tables_cast_to_the_declared_type(
    stores: Twins, drawn: dict[Kind, list[Any]]
) -> None:
    stores.put_table(TYPED, typed_table(drawn))
    spine = pd.DataFrame({"ip": range(3), "row": range(3), "event_timestamp": to_datetime(START)})
    features = [f"{TYPED}:{kind.column}" for kind in KINDS]
    ours, stock = (stores.retrieve(store, spine, features) for store in (stores.ours, stores.stock))
    wrong = []
    for kind, values in drawn.items():
        expected, name = kind.cast(values), f"{TYPED}__{kind.column}"
        wrong += unexplained(kind, expected, column_of(ours, name), values)
        wrong += unexplained(kind, expected, column_of(stock, name), values, STOCK_OFFLINE)
        assert kind.declared is None or ours[name].type == kind.declared
    assert wrong == []


@settings(max_examples=15, deadline=None, suppress_health_check=FEW)
@given(drawn=COLUMNS)
def test_online_every_value_is_the_tables_cast_to_the_declared_type(
    stores: Twins, drawn: dict[Kind, list[Any]]
) -> None:
    stores.client.flushall()
    table = typed_table(drawn)
    stores.write_arrow(TYPED, table)
    refused = set(stores.write_values(stores.stock, TYPED, table))
    assert set(stores.write_values(stores.fed, TYPED, table)) == refused
    features, keys = [f"{TYPED}:{kind.column}" for kind in KINDS], [{"ip": ip} for ip in range(3)]
    with clock(START):
        ours, fed, stock = (stores.read(store, features, keys) for store in (stores.ours, stores.fed, stores.stock))
    packed, dtypes = stores.read_packed(TYPED, table), stores.stored(stores.ours, TYPED).fields
    wrong = []
    for kind, values in drawn.items():
        expected, name, lost = kind.cast(values), f"{TYPED}__{kind.column}", kind.column in refused
        seen = [None if value is None else kind.seen(value) for value in expected]
        given = answered(stock[name], lost)
        wrong += unexplained(kind, seen, ours[name].values, values, FEAST_SDK)
        wrong += unexplained(kind, seen, given, values, STOCK_ONLINE)
        wrong += unexplained(kind, given, answered(fed[name], lost), values)
        if dtypes[kind.column].dtype is not DType.OPAQUE:
            wrong += unexplained(kind, expected, packed.arrow(kind.column).to_pylist(), values)
        assert ours[name].event_us == stock[name].event_us == [START] * 3
        assert ours[name].statuses == stock[name].statuses == ["PRESENT"] * 3 or lost
    assert wrong == []


# --- keys and times


TABLES = st.fixed_dictionaries({shape: rows_of(shape) for shape in SHAPES})
REQUEST = st.fixed_dictionaries({name: st.none() | st.sampled_from(key.values) for name, key in KEYS.items()})
SPINE = st.lists(st.tuples(REQUEST, moments(1)), min_size=8, max_size=24)
FORMS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "aware us": lambda times: times,
    "naive us": lambda times: times.cast(pa.timestamp("us")),
    "aware ns": lambda times: times.cast(pa.timestamp("ns", "UTC")),
    "in Berlin": lambda times: times.cast(pa.timestamp("us", "Europe/Berlin")),
}
NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}


def spine_frame(spine: list[tuple[dict[str, Any], int]], form: str) -> pd.DataFrame:
    """The spine as a data frame, its times written in one of the forms."""
    times = pa.array([t for _, t in spine], pa.int64()).cast(pa.timestamp("us", "UTC"))
    columns = {name: pa.array([keys[name] for keys, _ in spine], key.arrow) for name, key in KEYS.items()}
    table = pa.table({**columns, "row": pa.array(range(len(spine))), "event_timestamp": FORMS[form](times)})
    return table.to_pandas(types_mapper=NULLABLE.get)


def asked(shape: Shape, keys: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(keys[name] for name in shape.keys)


def features_of(rows: list[Row | None], name: str) -> list[Any]:
    return [None if row is None else getattr(row, name) for row in rows]


@settings(max_examples=6, deadline=None, suppress_health_check=FEW)
@given(tables=TABLES, spine=SPINE, form=st.sampled_from(list(FORMS)))
def test_offline_every_row_follows_the_rule_for_time(
    stores: Twins, tables: Drawn, spine: list[tuple[dict[str, Any], int]], form: str
) -> None:
    for shape, rows in tables.items():
        stores.put_table(shape.name, table_of(shape, rows))
    frame = spine_frame([*spine, *spine], form)  # every row twice
    features = [feature for shape in SHAPES for feature in shape.features]
    ours, fed, stock = (stores.retrieve(store, frame, features) for store in (stores.ours, stores.fed, stores.stock))
    filtered = stores.retrieve(stores.stock, frame, features, filter_by_created_timestamp=True)
    for shape, rows in tables.items():
        known = [newest(shape, rows, asked(shape, keys), t) for keys, t in spine] * 2
        early = [newest(shape, rows, asked(shape, keys), t, created=False) for keys, t in spine] * 2
        for name in ("n", "s"):
            column = f"{shape.name}__{name}"
            assert column_of(ours, column) == features_of(known, name), column
            assert column_of(fed, column) == features_of(early, name), column
            assert column_of(stock, column) == features_of(early, name), column
            assert column_of(filtered, column) == features_of(known, name), column


WRITTEN = st.fixed_dictionaries({shape: rows_of(shape, null_keys=False) for shape in SHAPES})
ROWS_ASKED = st.lists(
    st.fixed_dictionaries({name: st.sampled_from(key.values) for name, key in KEYS.items()}), min_size=1, max_size=6
)


@settings(max_examples=20, deadline=None, suppress_health_check=FEW)
@given(tables=WRITTEN, requests=ROWS_ASKED, t=moments(1, 8), batches=st.integers(1, 3))
def test_online_every_row_follows_the_write_rule_and_the_rule_for_time(
    stores: Twins, tables: Drawn, requests: list[dict[str, Any]], t: int, batches: int
) -> None:
    stores.client.flushall()
    for shape, rows in tables.items():
        for first in range(batches):
            write_everywhere(stores, shape, rows[first::batches])
    features = [feature for shape in SHAPES for feature in shape.features]
    with clock(t):
        ours, fed, stock = (stores.read(store, features, requests) for store in (stores.ours, stores.fed, stores.stock))
    for shape, rows in tables.items():
        written = [row for first in range(batches) for row in rows[first::batches]]
        keys = [asked(shape, keys) for keys in requests]
        expected = [stored_of(written, key, lambda row: row.order) for key in keys]
        first_seen = [stored_of(written, key, lambda row: row.event) for key in keys]
        for name in ("n", "s"):
            column = f"{shape.name}__{name}"
            assert ours[column] == our_answer(shape, expected, name, t), column
            assert fed[column] == ours[column], column
            assert stock[column] == stock_answer(first_seen, name), column


def write_everywhere(stores: Twins, shape: Shape, rows: list[Row]) -> None:
    if rows:
        table = table_of(shape, rows)
        stores.write_arrow(shape.name, table)
        for store in (stores.fed, stores.stock):
            assert stores.write_values(store, shape.name, table) == []


def our_answer(shape: Shape, rows: list[Row | None], name: str, t: int) -> Answer:
    """Judged at t."""
    statuses = [status_of(shape, row, t) for row in rows]
    values = [getattr(row, name) if status == "PRESENT" else None for row, status in zip(rows, statuses, strict=True)]
    return Answer(values, statuses, [0 if row is None else row.event for row in rows])


def status_of(shape: Shape, row: Row | None, t: int) -> str:
    if row is None or row.event > t or (row.created or t) > t:
        return "NOT_FOUND"
    return "PRESENT" if shape.ttl is None or t - row.event <= shape.ttl else "OUTSIDE_MAX_AGE"


def stock_answer(rows: list[Row | None], name: str) -> Answer:
    """Whatever is there is PRESENT, however old or young, and so is what is not there."""
    events = [0 if row is None else row.event for row in rows]
    return Answer(features_of(rows, name), ["PRESENT"] * len(rows), events)


# --- the page


def test_the_page_of_differences_is_as_the_stores_are(stores: Twins) -> None:
    made = page(stores)
    assert made == PAGE.read_text(), "run `python -m tests.lockstep.stores.differences` and read what changed"
    assert "refused" not in {line.split("|")[4] for line in made.splitlines() if line.count("|") == 6}
