"""The page of differences from stock Feast, made by asking all stores for the same rows.

    python -m tests.lockstep.stores.differences

writes docs/differences-from-stock-feast.md; a test makes it again and compares.
"""

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pandas as pd

from lockstep.files import write_bytes
from lockstep.schema import DType
from lockstep.times import HOUR, MINUTE, format_time, from_datetime, to_datetime
from tests.lockstep.stores.explained import FEAST_SDK, STOCK_OFFLINE, STOCK_ONLINE, Difference, Held, explain
from tests.lockstep.stores.kinds import KINDS, Kind
from tests.lockstep.stores.shapes import ENTITIES, SHAPES, START, Row, table_of
from tests.lockstep.stores.twins import Answer, Twins, answered, clock, column_of, twins
from tests.lockstep.stores.typed import TYPED, typed_table, typed_view

__all__ = ["PAGE", "definitions", "page"]

PAGE: Final = Path(__file__).parents[3] / "docs" / "differences-from-stock-feast.md"

Cells = dict[Kind, list[str]]
"""For each kind what there is to say, nothing where all values are equal."""


def definitions(folder: Path) -> list[Any]:
    """Entities and views of all tables."""
    return [*ENTITIES.values(), typed_view(folder), *(shape.view(folder) for shape in SHAPES)]


# --- values


def _probe(kind: Kind, number: int) -> Any:
    return kind.probes[min(number, len(kind.probes) - 1)]


_LONGEST: Final = max(len(kind.probes) for kind in KINDS)


def _batches() -> Iterator[dict[Kind, list[Any]]]:
    """Every value alone, beside NULL, and all of them together."""
    yield {kind: [_probe(kind, number) for number in range(_LONGEST)] for kind in KINDS}
    for number in range(_LONGEST):
        yield {kind: [_probe(kind, number)] for kind in KINDS}
        yield {kind: [_probe(kind, number), None] for kind in KINDS}


def _offline(stores: Twins) -> tuple[Cells, Cells]:
    """What stock and ours give in place of the reference, all values in one table."""
    values = {kind: [*(_probe(kind, number) for number in range(_LONGEST)), None] for kind in KINDS}
    stores.put_table(TYPED, typed_table(values))
    rows = _LONGEST + 1
    spine = pd.DataFrame({"ip": range(rows), "row": range(rows), "event_timestamp": to_datetime(START)})
    features = [f"{TYPED}:{kind.column}" for kind in KINDS]
    stock, ours = (stores.retrieve(store, spine, features) for store in (stores.stock, stores.ours))
    found: tuple[Cells, Cells] = ({}, {})
    for kind, column in values.items():
        for cells, table, known in zip(found, (stock, ours), (STOCK_OFFLINE, ()), strict=True):
            got = column_of(table, f"{TYPED}__{kind.column}")
            cells[kind] = _said(kind, kind.cast(column), got, column, known)
    return found


def _online(stores: Twins) -> tuple[Cells, Cells]:
    """The same for what is written and read online."""
    stock: Cells = {kind: [] for kind in KINDS}
    ours: Cells = {kind: [] for kind in KINDS}
    features = [f"{TYPED}:{kind.column}" for kind in KINDS]
    for values in _batches():
        stores.client.flushall()
        table = typed_table(values)
        refused = stores.write_values(stores.stock, TYPED, table)
        stores.write_arrow(TYPED, table)
        with clock(START):
            keys = [{"ip": ip} for ip in range(table.num_rows)]
            theirs, mine = (stores.read(store, features, keys) for store in (stores.stock, stores.ours))
        _check_packed(stores, values)
        for kind, column in values.items():
            name = f"{TYPED}__{kind.column}"
            seen = [None if value is None else kind.seen(value) for value in kind.cast(column)]
            given = answered(theirs[name], kind.column in refused)
            stock[kind] += _said(kind, seen, given, column, STOCK_ONLINE)
            ours[kind] += _said(kind, seen, mine[name].values, column, FEAST_SDK)
    return stock, ours


def _check_packed(stores: Twins, values: dict[Kind, list[Any]]) -> None:
    """What the scorer reads has no differences at all."""
    packed = stores.read_packed(TYPED, typed_table(values))
    for field in packed.fields:
        kind = next(kind for kind in KINDS if kind.column == field.name)
        if field.dtype is not DType.OPAQUE:
            _said(kind, kind.cast(values[kind]), packed.arrow(field.name).to_pylist(), values[kind], ())


def _said(
    kind: Kind, expected: Sequence[Any], got: Sequence[Any], column: Sequence[Any], known: Sequence[Difference]
) -> list[str]:
    """A line for each value that is another. Raises ValueError where no known difference explains it."""
    lines = []
    for value, found, held in zip(expected, got, column, strict=True):
        names = explain(kind, value, found, Held(held, column), known)
        if names is None:
            raise ValueError(f"{kind.name}: {value!r} became {found!r}, and no known difference says why")
        if names:
            beside = " beside NULL" if None in column and len(column) == 2 else ""
            lines.append(f"{', '.join(names)}: `{_text(value)}`{beside} → {_quoted(found)}")
    return lines


def _quoted(value: Any) -> str:
    return "refused" if repr(value) == "refused" else f"`{_text(value)}`"


def _text(value: Any) -> str:
    """A value as a reader of the docs expects it."""
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return format_time(from_datetime(value))
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, set):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(each)}' for key, each in sorted(value.items()))}}}"
    return repr(value)


def _cell(lines: Iterable[str]) -> str:
    """The first line of each difference; one beside NULL only where the value alone has none."""
    first: dict[str, str] = {}
    for line in lines:
        first.setdefault(line.partition(":")[0], line)
    return "<br>".join(first.values()) or "equal"


# --- times


@dataclass(frozen=True)
class _Case:
    """Rows of one key, asked for at t."""

    what: str
    rows: tuple[tuple[int, int, int], ...]
    """Event and created time in µs after START, and the value; written in this order."""
    t: int
    """µs after START."""


_CASES: Final = (
    _Case("a row as old as the TTL (1 h)", ((0, 0, 1),), HOUR),
    _Case("a row 1 µs older than the TTL", ((0, 0, 1),), HOUR + 1),
    _Case("a row dated 1 µs after t", ((1, 1, 1),), 0),
    _Case("a correction, written before t", ((0, 0, 1), (0, MINUTE, 2)), 2 * MINUTE),
    _Case("a correction, written after t", ((0, 0, 1), (0, 2 * MINUTE, 2)), MINUTE),
    _Case("a late row, older than the one that is there", ((MINUTE, MINUTE, 1), (0, 2 * MINUTE, 2)), 3 * MINUTE),
    _Case("a row written an hour after its event", ((0, HOUR, 1),), 30 * MINUTE),
    _Case("a key that was never written", (), 0),
)
_BY_IP: Final = SHAPES[0]


def _times(stores: Twins) -> Iterator[list[str]]:
    """For each case what every store gives for feature `n`, value and status."""
    rows = [
        Row((ip,), START + event, START + created, value, None)
        for ip, case in enumerate(_CASES)
        for event, created, value in case.rows
    ]
    stores.put_table(_BY_IP.name, table_of(_BY_IP, rows))
    offline = [_retrieved(stores, store) for store in (stores.stock, stores.ours)]
    stores.client.flushall()
    for row in rows:
        stores.write_values(stores.stock, _BY_IP.name, table_of(_BY_IP, [row]))
        stores.write_arrow(_BY_IP.name, table_of(_BY_IP, [row]))
    for ip, case in enumerate(_CASES):
        with clock(START + case.t):
            theirs, mine = (_asked(stores, store, ip) for store in (stores.stock, stores.ours))
        yield [case.what, _text(offline[0][ip]), theirs, _text(offline[1][ip]), mine]


def _retrieved(stores: Twins, store: Any) -> list[Any]:
    numbers = range(len(_CASES))
    moments = [to_datetime(START + case.t) for case in _CASES]
    spine = pd.DataFrame({"ip": numbers, "row": numbers, "event_timestamp": moments})
    return column_of(stores.retrieve(store, spine, [f"{_BY_IP.name}:n"]), f"{_BY_IP.name}__n")


def _asked(stores: Twins, store: Any, ip: int) -> str:
    answer: Answer = stores.read(store, [f"{_BY_IP.name}:n"], [{"ip": ip}])[f"{_BY_IP.name}__n"]
    return f"{_text(answer.values[0])} {answer.statuses[0]}"


# --- the page


_INTRODUCTION: Final = """# What differs from stock Feast

The reference is the value that the source's table holds, cast to the declared type. Both of our stores give it back,
for every type. Where Feast's own DuckDB and Redis stores give something else, the tables below say what. They are made
by `python -m tests.lockstep.stores.differences`, which asks all stores for the same rows; a test makes them again and
compares. Another test draws rows of every type, key shape and time case, and allows no other difference.
"""

_VALUES: Final = """## Values

A cell has the name of a difference and an example of it. Online values are those of `get_online_features`; those that
the scorer reads from the packed rows are equal throughout. "Beside NULL" says that the same batch has a NULL in the
column.
"""

_TIMES: Final = """## Times

One view with a TTL of 1 h and a created timestamp. Rows are written in order; "written after t" means a created
timestamp after t.
"""

_AFTER_TIMES: Final = """\
Offline, Feast's `filter_by_created_timestamp=True` hides what was written after t, and `created: stock` in our store
shows it. Online, Feast's store knows no TTL and no created timestamp, keeps the first of two rows with one event time,
and calls a key that was never written PRESENT. Our store keeps one row for each key: where that row is not usable at t,
there is none.
"""


def page(stores: Twins) -> str:
    """The page as it stands in docs/."""
    stock_offline, ours_offline = _offline(stores)
    stock_online, ours_online = _online(stores)
    values = (
        [kind.name, *(_cell(cells[kind]) for cells in (stock_offline, stock_online, ours_offline, ours_online))]
        for kind in KINDS
    )
    stores_ = ("stock offline", "stock online", "ours offline", "ours online")
    known = {each.name: each.meaning for each in (*STOCK_OFFLINE, *STOCK_ONLINE)}
    parts = [
        _INTRODUCTION,
        _VALUES,
        *_table("declared type", *stores_, rows=values),
        "",
        *(f"- **{name}.** {meaning}" for name, meaning in known.items()),
        "",
        _TIMES,
        *_table("feature `n` at t", *stores_, rows=_times(stores)),
        "",
        _AFTER_TIMES,
    ]
    return "\n".join(parts)


def _table(*head: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def main() -> None:
    """Write the page."""
    warnings.simplefilter("ignore")  # importing Feast resets -W
    logging.disable(logging.ERROR)  # Feast logs what it then raises
    with TemporaryDirectory() as folder, twins(Path(folder), definitions(Path(folder))) as stores:
        write_bytes(PAGE, page(stores).encode())
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
