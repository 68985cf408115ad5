"""What the offline store is asked for, as queries that a DuckDB connection runs when the result is wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

import duckdb
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.file_source import FileSource

from lockstep.errors import BadRequest
from lockstep.stores.point_in_time import (
    AsServed,
    CreatedRule,
    ViewTable,
    availability,
    check_ties,
    columns_of,
    join,
    quoted,
    time_us,
)
from lockstep.stores.sources import relation_of
from lockstep.stores.spine import EVENT_TIMESTAMP, timestamp_of
from lockstep.stores.wanted import Wanted
from lockstep.times import to_datetime

__all__ = ["Everything", "Historical", "Latest", "Query", "Range", "Rows", "Rules", "Table"]


@dataclass(frozen=True)
class Rules:
    """How tables are read; set once in the store's configuration."""

    created: CreatedRule
    refuse_ties: bool
    repo_path: Path | None
    """Where relative paths of sources start."""


class Query(Protocol):
    """Something that can be run."""

    def run(self, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        """The result, not read yet."""
        ...


class Rows(Protocol):
    """Where the spine comes from."""

    def on(self, connection: duckdb.DuckDBPyConnection) -> str:
        """SQL that can stand after FROM."""
        ...

    def between_us(self, connection: duckdb.DuckDBPyConnection) -> tuple[int, int] | None:
        """The first and last t; None where there is no row, or where only running a query could tell."""
        ...

    def bounds(self, connection: duckdb.DuckDBPyConnection) -> tuple[list[str], datetime | None, datetime | None]:
        """The columns without t, and the first and last t."""
        ...


@dataclass(frozen=True)
class Historical:
    """A point-in-time join."""

    spine: Rows
    wanted: Sequence[Wanted]
    rules: Rules
    as_served: AsServed | None = None
    timestamps: bool = False

    def run(self, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        """The spine's columns, then each view's, in the spine's order."""
        spine = self.spine.on(connection)
        return join(
            connection,
            spine,
            timestamp_of(columns_of(connection, spine)),
            [wanted.table(connection, self.rules.repo_path) for wanted in self.wanted],
            as_served=self.as_served,
            created_rule=self.rules.created,
            timestamps=self.timestamps,
            refuse_ties=self.rules.refuse_ties,
            between_us=self.spine.between_us(connection),
        )


@dataclass(frozen=True)
class Range:
    """The spine of a retrieval that brings none: each key and time in [start, end] at which a row begins to count."""

    wanted: Sequence[Wanted]
    rules: Rules
    start_us: int
    end_us: int

    def on(self, connection: duckdb.DuckDBPyConnection) -> str:
        """The join keys and event_timestamp, each pair once, ordered by time. Raises BadRequest for unlike keys."""
        keyed = [wanted for wanted in self.wanted if wanted.keys] or list(self.wanted)
        if len({frozenset(wanted.keys.values()) for wanted in keyed}) > 1:
            names = ", ".join(wanted.name for wanted in keyed)
            raise BadRequest(f"the views {names} join on different keys: give a spine that has them all.")
        rows = " UNION ".join(self._rows(connection, wanted) for wanted in keyed)
        return f"(SELECT * FROM ({rows}) ORDER BY ALL)"

    def between_us(self, connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
        """The first and last t that were asked for."""
        return self.start_us, self.end_us

    def bounds(self, connection: duckdb.DuckDBPyConnection) -> tuple[list[str], datetime | None, datetime | None]:
        """The columns without t, and the first and last t that were asked for."""
        keys = sorted({alias for wanted in self.wanted for alias in wanted.keys.values()})
        return keys, to_datetime(self.start_us), to_datetime(self.end_us)

    def _rows(self, connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> str:
        table = wanted.table(connection, self.rules.repo_path)
        since = availability(table, columns_of(connection, table.relation), self.rules.created)
        keys = [f"{quoted(key)} AS {quoted(alias)}" for alias, key in sorted((a, k) for k, a in table.keys.items())]
        selected = ", ".join([f"make_timestamptz({since}) AS {EVENT_TIMESTAMP}", *keys])
        known = "".join(f" AND {quoted(key)} IS NOT NULL" for key in table.keys)
        return f"SELECT {selected} FROM {table.relation} WHERE {since} BETWEEN {self.start_us} AND {self.end_us}{known}"


@dataclass(frozen=True)
class Table:
    """A source with the names of the columns that are asked of it."""

    source: FileSource
    keys: Sequence[str]
    features: Sequence[str]
    """Empty: all columns of the table."""
    timestamp: str
    created: str | None

    def view(self, connection: duckdb.DuckDBPyConnection, rules: Rules) -> ViewTable:
        """The table with its keys and times."""
        relation = relation_of(connection, self.source, rules.repo_path)
        keys = {key: key for key in self.keys}
        return ViewTable(self.source.name, relation, keys, {}, self.timestamp, self.created)

    @property
    def times(self) -> list[str]:
        """The columns with the event time and, where there is one, the created time."""
        return [self.timestamp, *([self.created] if self.created else [])]

    def selected(self) -> str:
        """The columns of the result: keys, features, times."""
        names = dict.fromkeys([*self.keys, *self.features, *self.times])
        dummy = [] if self.keys else [f"'' AS {DUMMY_ENTITY_ID}"]  # what Feast writes online in place of a key
        return ", ".join([*map(quoted, names), *dummy]) if self.features else "*"


@dataclass(frozen=True)
class Everything:
    """All rows of a table whose event time lies in [start, end]; None leaves a side open."""

    table: Table
    rules: Rules
    start_us: int | None
    end_us: int | None

    def run(self, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        """The rows in the order of the table, without keys in the order of time."""
        view = self.table.view(connection, self.rules)
        where = _between(_event(connection, view), self.start_us, self.end_us)
        # Feast's local engine writes every row of a view without keys online; the last stays, so it must be the newest.
        order = "" if self.table.keys else f" ORDER BY {', '.join(map(quoted, self.table.times))}"
        return connection.sql(f"SELECT {self.table.selected()} FROM {view.relation} WHERE {where}{order}")


@dataclass(frozen=True)
class Latest:
    """Of each key the row that counts at `end`, where its event time lies in [start, end]."""

    table: Table
    rules: Rules
    start_us: int
    end_us: int

    def run(self, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        """One row for each key. Raises TablesRefused for ties."""
        view = self.table.view(connection, self.rules)
        columns = columns_of(connection, view.relation)
        event = _event(connection, view)
        since = availability(view, columns, self.rules.created)
        inside = f"{_between(event, self.start_us, self.end_us)} AND {since} <= {self.end_us}"
        if self.rules.refuse_ties:
            check_ties(connection, replace(view, relation=f"(SELECT * FROM {view.relation} WHERE {inside})"))
        keys = f"PARTITION BY {', '.join(map(quoted, self.table.keys))}" if self.table.keys else ""
        order = f"{event} DESC" + (
            f", {time_us(quoted(view.created), columns[view.created])} DESC NULLS LAST" if view.created else ""
        )
        return connection.sql(
            f"SELECT {self.table.selected()} FROM {view.relation} WHERE {inside} "
            f"QUALIFY row_number() OVER ({keys} ORDER BY {order}) = 1"
        )


def _event(connection: duckdb.DuckDBPyConnection, view: ViewTable) -> str:
    return time_us(quoted(view.timestamp), columns_of(connection, view.relation)[view.timestamp])


def _between(time: str, start_us: int | None, end_us: int | None) -> str:
    bounds = [f"{time} >= {start_us}"] if start_us is not None else []
    bounds += [f"{time} <= {end_us}"] if end_us is not None else []
    return " AND ".join(bounds) or "true"
