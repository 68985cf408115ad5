"""The point-in-time join as SQL for DuckDB: for each spine row, of each view, the newest row usable at its time t.

A row is usable at t when `event <= t`, `t - event <= ttl` and, where the table has a created timestamp, `created <= t`.
Of the usable rows the one with the greatest (event, created) counts. A late correction does not need a join of its own:
each key's rows are ordered by availability, the later of event and created time, and those are kept that are the newest
so far. What is left grows in both times, so one ASOF join on availability finds the row; its event time then tells
whether the TTL has passed.

Inside the SQL every time is an int64 of microseconds since 1970-01-01 UTC: whole numbers compare exactly, and fast
(arithmetic on TIMESTAMP WITH TIME ZONE goes through a calendar and costs several times the join).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import duckdb
import numpy as np

from lockstep.errors import BadColumn, TablesRefused, did_you_mean
from lockstep.times import format_time

__all__ = [
    "TIES_SHOWN",
    "AsServed",
    "CreatedRule",
    "ViewTable",
    "availability",
    "check_ties",
    "check_view",
    "columns_of",
    "connect",
    "join",
    "join_sql",
    "quoted",
    "ties_sentence",
    "time_us",
]

CreatedRule = Literal["available", "stock"]
"""`available`: a row counts from its created time on. `stock`, as in Feast: from its event time on, and the created
time only decides between rows of one key and event time."""

RESERVED = ("__row", "__t_us", "__event_us", "__created_us", "__from_us")
TIES_SHOWN = 5
ROWS_PER_PASS = 32_000_000
"""Rows of a table whose hashes (8 bytes each) the tie check holds at once."""


@dataclass(frozen=True)
class ViewTable:
    """One feature view as the join needs it."""

    name: str
    """Name of the view, as it appears in `<name>__event_timestamp` and in errors."""
    relation: str
    """SQL that can stand after FROM: the name of a table, `read_parquet('…')`, or a query in parentheses."""
    keys: Mapping[str, str]
    """Join key column of the table -> column of the spine. Empty for a view without entities."""
    fields: Mapping[str, str]
    """Column of the table -> column of the result."""
    timestamp: str
    """Column with the event time: TIMESTAMP of any unit, with a zone or without (UTC), DATE, or ISO 8601 text."""
    created: str | None = None
    """Column with the time the row was written; a row without is never usable, or under `stock` the oldest."""
    ttl_us: int | None = None
    """A row older than this at t is stale; a row exactly this old is not. None: rows never go stale."""


@dataclass(frozen=True)
class AsServed:
    """When the online store was filled.

    At t it holds what was available at the last run at or before t, and before the first run nothing.
    """

    runs_us: Sequence[int]
    """Times up to which the views were materialized, in any order."""
    by_view: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The runs of views that were materialized at times of their own, by view name."""

    @classmethod
    def every(cls, period_us: int, start_us: int, end_us: int) -> "AsServed":
        """Runs at start, start + period, … up to and with end."""
        return cls(range(start_us, end_us + 1, period_us))

    def of(self, view: str) -> tuple[int, ...]:
        """The runs of one view, ascending, each once."""
        return tuple(sorted(set(self.by_view.get(view, self.runs_us))))


def connect(
    *, memory_limit: str | None = None, temp_directory: str | None = None, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection in memory that joins spill from: past `memory_limit` ("4GB") DuckDB writes to `temp_directory`.

    None leaves DuckDB's default: 80 % of the memory, `.tmp` in the working directory, one thread a core.
    """
    settings: dict[str, str | int | None] = {
        "memory_limit": memory_limit,
        "temp_directory": temp_directory,
        "threads": threads,
    }
    connection = duckdb.connect(config={name: str(value) for name, value in settings.items() if value is not None})
    _prepare(connection)
    return connection


def _prepare(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("SET TimeZone = 'UTC'")  # text without an offset is UTC
    # Below this many expected rows on the left DuckDB replaces the ASOF join by nested loops. Of a registered Arrow
    # table it expects one row, whatever its length: 500,000 rows against 3 million then do not end.
    connection.execute("SET asof_loop_join_threshold = 0")


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def time_us(expression: str, sql_type: str) -> str:
    """SQL for a time as int64 µs UTC. Naive times are UTC; nanoseconds are cut to the microsecond.

    >>> time_us("s.at", "TIMESTAMP_NS")
    'epoch_us(s.at::TIMESTAMP)'
    """
    if sql_type == "VARCHAR":
        return f"epoch_us({expression}::TIMESTAMPTZ)"
    return f"epoch_us({expression})" if sql_type == "TIMESTAMP WITH TIME ZONE" else f"epoch_us({expression}::TIMESTAMP)"


def columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column names and SQL types of a relation, in order."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


def _is_time(sql_type: str) -> bool:
    return sql_type.startswith("TIMESTAMP") or sql_type in {"DATE", "VARCHAR"}


def _is_text(sql_type: str) -> bool:
    return sql_type == "VARCHAR" or sql_type.startswith("ENUM")


def _times(view: ViewTable) -> tuple[str, ...]:
    return (view.timestamp,) if view.created is None else (view.timestamp, view.created)


def check_view(view: ViewTable, columns: Mapping[str, str]) -> None:
    """Raise TablesRefused where a column that the view names is absent, or is no time where one is needed."""
    for name in (*view.keys, *view.fields, *_times(view)):
        if name not in columns:
            raise TablesRefused(f"view {view.name!r}: its table has no column {name!r}.{did_you_mean(name, columns)}")
    for name in _times(view):
        if not _is_time(columns[name]):
            raise TablesRefused(
                f"view {view.name!r}: column {name!r} is {columns[name]}, not a time. Store it as a timestamp."
            )


@dataclass(frozen=True)
class _Spine:
    """A spine whose columns are known."""

    connection: duckdb.DuckDBPyConnection
    relation: str
    columns: Mapping[str, str]

    def key(self, name: str, sql_type: str, view: str) -> str:
        """SQL of a key column that is compared with a column of the given type; raises BadColumn where it cannot be."""
        if name not in self.columns:
            hint = did_you_mean(name, self.columns)
            raise BadColumn(name, f"view {view!r} joins on it and the spine does not have it.{hint}")
        if _is_text(self.columns[name]) == _is_text(sql_type):
            return f"spine.{quoted(name)}"
        if self._has_values(name):  # a column without values has no type of its own
            problem = f"it is {self.columns[name]} in the spine and {sql_type} in view {view!r}."
            raise BadColumn(name, f"{problem} Cast the spine's column.")
        return f"spine.{quoted(name)}::{sql_type}"

    def _has_values(self, name: str) -> bool:
        found = self.connection.execute(f"SELECT 1 FROM {self.relation} WHERE {quoted(name)} IS NOT NULL LIMIT 1")
        return found.fetchone() is not None


def _check_names(views: Iterable[ViewTable], spine: Mapping[str, str]) -> None:
    taken = dict.fromkeys(RESERVED, "the join itself")
    for name in spine:
        if name in taken:
            raise BadColumn(name, "the join needs this name for itself. Rename the spine's column.")
        taken[name] = "the spine"
    for view in views:
        for name in view.fields.values():
            if name in taken:
                raise BadColumn(
                    name, f"both {taken[name]} and view {view.name!r} give this column. Ask for full feature names."
                )
            taken[name] = f"view {view.name!r}"


def _within(
    connection: duckdb.DuckDBPyConnection, view: ViewTable, between_us: tuple[int, int], ttl_counts: bool
) -> ViewTable:
    """The view without rows that no t in a range can use, said so that DuckDB skips whole parts of Parquet files."""
    columns = columns_of(connection, view.relation)
    check_view(view, columns)
    sql_type = columns[view.timestamp]
    if sql_type not in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP_NS"):
        return view
    first, last = between_us
    bounds = [f"{quoted(view.timestamp)} < {_literal(last + 1, sql_type)}"]  # a nanosecond past `last` is cut to it
    if view.ttl_us is not None and ttl_counts:
        bounds.append(f"{quoted(view.timestamp)} >= {_literal(first - view.ttl_us, sql_type)}")
    return replace(view, relation=f"(SELECT * FROM {view.relation} WHERE {' AND '.join(bounds)})")


def _literal(time_us: int, sql_type: str) -> str:
    return f"'{format_time(time_us).removesuffix('Z')}'::{sql_type}"


def _comma(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _partition(view: ViewTable) -> str:
    return f"PARTITION BY {_comma(quoted(key) for key in view.keys)} " if view.keys else ""


def availability(view: ViewTable, columns: Mapping[str, str], rule: CreatedRule) -> str:
    """SQL for the time in µs from which a row of the view counts; NULL for a row that never does."""
    event = time_us(quoted(view.timestamp), columns[view.timestamp])
    if view.created is None or rule == "stock":
        return event
    created = time_us(quoted(view.created), columns[view.created])
    # greatest() skips a NULL; here it has to stay one
    return f"CASE WHEN {created} > {event} THEN {created} WHEN {created} IS NOT NULL THEN {event} END"


def rows_sql(view: ViewTable, columns: Mapping[str, str], rule: CreatedRule) -> str:
    """The rows of a view that the join may find: keys, fields, `__event_us`, and `__from_us`, from when each counts."""
    event = time_us(quoted(view.timestamp), columns[view.timestamp])
    names = _comma(quoted(name) for name in dict.fromkeys([*view.keys, *view.fields]))
    if view.created is None:
        times = f"{event} AS __event_us, __event_us AS __from_us"
        return f"SELECT {names}, {times} FROM {view.relation} WHERE __event_us IS NOT NULL{_keyed(view)}"
    created = time_us(quoted(view.created), columns[view.created])
    since = availability(view, columns, rule)
    times = f"{event} AS __event_us, {created} AS __created_us, {since} AS __from_us"
    order = "ORDER BY __from_us, __event_us, __created_us NULLS FIRST"
    timed = f"SELECT {names}, {times} FROM {view.relation} WHERE __from_us IS NOT NULL{_keyed(view)}"
    return (
        f"SELECT * EXCLUDE (__created_us) FROM ({timed}) WINDOW so_far AS ({_partition(view)}{order}) "
        "QUALIFY __event_us >= max(__event_us) OVER so_far AND lead(__from_us) OVER so_far IS DISTINCT FROM __from_us"
    )


def _keyed(view: ViewTable) -> str:
    """Leave out rows with a NULL key: DuckDB 1.5's ASOF join takes two NULLs for equal, and NULL matches nothing."""
    return "".join(f" AND {quoted(key)} IS NOT NULL" for key in view.keys)


def _never_null(time: str) -> str:
    """A time before all others in place of NULL: an ASOF join sorts NULL last and finds a row for it."""
    return f"coalesce({time}, {-(2**63 - 1)})"


def _spine_sql(spine_relation: str, time: str, views: Sequence[ViewTable], as_served: AsServed | None) -> str:
    """The spine with its row number, t, and for each view the time up to which rows count."""
    spine = f"SELECT *, row_number() OVER () AS __row, {_never_null(time)} AS __t_us FROM {spine_relation}"
    if as_served is None:
        return spine
    runs = {
        runs: f"__runs_{number}" for number, runs in enumerate(dict.fromkeys(as_served.of(view.name) for view in views))
    }
    joins = " ".join(
        f"ASOF LEFT JOIN (SELECT unnest({list(times)}::BIGINT[]) AS run_us) {name} ON spine.__t_us >= {name}.run_us"
        for times, name in runs.items()
    )
    last = [_never_null(f"{runs[as_served.of(view.name)]}.run_us") for view in views]
    upto = _comma(f"{run} AS __upto_{number}" for number, run in enumerate(last))
    return f"SELECT spine.*, {upto} FROM ({spine}) spine {joins}"


def _join_clause(number: int, view: ViewTable, columns: Mapping[str, str], spine: _Spine, rows: str, upto: str) -> str:
    table = f"v{number}"
    on = [f"{spine.key(name, columns[key], view.name)} = {table}.{quoted(key)}" for key, name in view.keys.items()]
    return f"ASOF LEFT JOIN ({rows}) {table} ON " + " AND ".join([*on, f"spine.{upto} >= {table}.__from_us"])


def _outputs(number: int, view: ViewTable, apply_ttl: bool, timestamps: bool) -> list[str]:
    table = f"v{number}"
    fresh = f"spine.__t_us - {table}.__event_us <= {view.ttl_us}" if apply_ttl and view.ttl_us is not None else None
    values = {name: f"{table}.{quoted(column)}" for column, name in view.fields.items()}
    outputs = [
        f"{f'CASE WHEN {fresh} THEN {value} END' if fresh else value} AS {quoted(name)}"
        for name, value in values.items()
    ]
    when = f"make_timestamptz({table}.__event_us) AS {quoted(view.name + '__event_timestamp')}"
    return [*outputs, when] if timestamps else outputs


def join_sql(
    connection: duckdb.DuckDBPyConnection,
    spine_relation: str,
    spine_timestamp: str,
    views: Sequence[ViewTable],
    *,
    as_served: AsServed | None = None,
    created_rule: CreatedRule = "available",
    timestamps: bool = False,
    apply_ttl: bool = True,
) -> str:
    """The query that `join` runs; the connection is asked for the types of the columns and for nothing else."""
    spine = _Spine(connection, spine_relation, columns_of(connection, spine_relation))
    time = _spine_time(spine, spine_timestamp)
    _check_names(views, spine.columns)
    clauses, outputs = [], [f"spine.{quoted(name)}" for name in spine.columns]
    for number, view in enumerate(views):
        columns = columns_of(connection, view.relation)
        check_view(view, columns)
        rows, upto = rows_sql(view, columns, created_rule), f"__upto_{number}" if as_served else "__t_us"
        clauses.append(_join_clause(number, view, columns, spine, rows, upto))
        outputs += _outputs(number, view, apply_ttl, timestamps)
    timed = _spine_sql(spine_relation, time, views, as_served)
    return f"SELECT {_comma(outputs)} FROM ({timed}) spine {' '.join(clauses)} ORDER BY spine.__row"


def _spine_time(spine: _Spine, name: str) -> str:
    if name not in spine.columns or not _is_time(spine.columns[name]):
        raise BadColumn(name, f"the spine needs a timestamp here and has {dict(spine.columns)}.")
    return time_us(quoted(name), spine.columns[name])


def join(
    connection: duckdb.DuckDBPyConnection,
    spine_relation: str,
    spine_timestamp: str,
    views: Sequence[ViewTable],
    *,
    as_served: AsServed | None = None,
    created_rule: CreatedRule = "available",
    timestamps: bool = False,
    apply_ttl: bool = True,
    refuse_ties: bool = True,
    between_us: tuple[int, int] | None = None,
) -> duckdb.DuckDBPyRelation:
    """The spine's columns and each view's: one row for each spine row, in the spine's order.

    The query runs when the result is read; ties are looked for at once. `spine_relation` is SQL that can stand after
    FROM, `spine_timestamp` its column with t. NULL keys and a NULL t match nothing. With `timestamps` each view adds
    `<view>__event_timestamp` (µs UTC): the event time of the newest row available at t, stale or not, NULL where there
    is none. Without `apply_ttl` the values of stale rows are returned too, for a caller that judges them itself.
    `as_served` joins what the online store held at t instead of what was available at t. `between_us` is the spine's
    first and last t, where the caller knows them: then rows that no t can use are neither read nor checked for ties.

    Raises BadColumn for the spine's columns and TablesRefused for a view's, and for ties unless `refuse_ties` is off:
    then it is left to chance which of two rows with one key, event and created time is taken.
    """
    _prepare(connection)
    if between_us:
        ttl_counts = apply_ttl and not timestamps
        views = [_within(connection, view, between_us, ttl_counts) for view in views]
    sql = join_sql(
        connection,
        spine_relation,
        spine_timestamp,
        views,
        as_served=as_served,
        created_rule=created_rule,
        timestamps=timestamps,
        apply_ttl=apply_ttl,
    )
    for view in views if refuse_ties else ():
        check_ties(connection, view)
    return connection.sql(sql)


def check_ties(connection: duckdb.DuckDBPyConnection, view: ViewTable) -> None:
    """Raise TablesRefused, naming the first rows, where two rows share key, event and created time.

    One hash a row is read and sorted; the rows themselves are compared only where two hashes are equal.
    """
    columns = columns_of(connection, view.relation)
    check_view(view, columns)
    identity = {quoted(key): quoted(key) for key in view.keys}
    identity |= {quoted(name): time_us(quoted(name), columns[name]) for name in _times(view)}
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in (*view.keys, view.timestamp))
    if _hashes_repeat(connection, f"hash({_comma(identity.values())})", f"{view.relation} WHERE {known}"):
        _name_ties(connection, view, identity, known)


def _hashes_repeat(connection: duckdb.DuckDBPyConnection, hashed: str, rows: str) -> bool:
    (count,) = connection.execute(f"SELECT count(*) FROM {rows}").fetchall()[0]
    passes = max(1, -(-count // ROWS_PER_PASS))
    return any(
        _hashes_repeat_in(connection, hashed, f"{rows} AND {hashed} % {passes} = {number}") for number in range(passes)
    )


def _hashes_repeat_in(connection: duckdb.DuckDBPyConnection, hashed: str, rows: str) -> bool:
    hashes = np.sort(connection.execute(f"SELECT {hashed} AS h FROM {rows}").to_arrow_table()["h"].to_numpy())
    return bool((hashes[1:] == hashes[:-1]).any())


def _name_ties(connection: duckdb.DuckDBPyConnection, view: ViewTable, identity: Mapping[str, str], known: str) -> None:
    named = _comma(f"{value} AS {name}" for name, value in identity.items())
    ties = connection.execute(
        f"SELECT *, count(*), count(*) OVER () FROM (SELECT {named} FROM {view.relation} WHERE {known}) "
        f"GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT {TIES_SHOWN}"
    ).fetchall()
    if ties:
        raise TablesRefused(ties_sentence(view, ties))


def ties_sentence(view: ViewTable, ties: Sequence[tuple[object, ...]]) -> str:
    """What is wrong with a table, of its first ties: keys, times in µs, the rows of each, and the count of all ties."""
    shown = "; ".join(_tie(view, tie) for tie in ties)
    times = "event and created time" if view.created else "event time"
    what = f"{ties[0][-1]} times more than one row has the same key and {times}, and nothing says which counts"
    more = "; …" if ties[0][-1] != len(ties) else ""
    return f"view {view.name!r}: {what}: {shown}{more}. Keep one of them in the table."


def _tie(view: ViewTable, tie: Sequence[object]) -> str:
    keys = [f"{key}={value!r}" for key, value in zip(view.keys, tie, strict=False)]
    times = [
        f"{name}={format_time(value) if isinstance(value, int) else 'NULL'}"
        for name, value in zip(
            [view.timestamp, *([view.created] if view.created else [])], tie[len(view.keys) :], strict=False
        )
    ]
    return f"{', '.join([*keys, *times])} ({tie[-2]} rows)"
