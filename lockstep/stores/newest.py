"""Of each key the newest row that a materialize takes, counted first and then read as a stream.

Two passes over the table: one keeps for each key the greatest (event, created), the other reads the rows that have it.
What DuckDB holds is a key and two times for each row that is written; past the memory limit it spills even those.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from lockstep.errors import TablesRefused
from lockstep.stores.point_in_time import (
    CreatedRule,
    ViewTable,
    availability,
    check_ties,
    check_view,
    columns_of,
    quoted,
    time_us,
)

__all__ = ["NewestRows", "Taken"]


@dataclass(frozen=True)
class Taken:
    """Which rows a materialize takes; times in µs."""

    start_us: int
    """It was asked for the rows with an event time from here on."""
    until_us: int
    """Rows that count by then."""
    since_us: int | None
    """Also rows whose event or created time is later than this, if they are not older than `horizon_us`: what was not
    there when the last run looked. None: all rows that are not older, because Redis has none of them."""
    horizon_us: int | None
    """An older row would have expired. None: rows never do."""

    @property
    def oldest_us(self) -> int | None:
        """No row with an event time before this is taken; None where any may be."""
        return None if self.horizon_us is None else min(self.start_us, self.horizon_us)


class NewestRows:
    """The newest row of each key among those taken, on a connection of its own."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: ViewTable,
        taken: Taken,
        *,
        created_rule: CreatedRule,
        refuse_ties: bool,
    ) -> None:
        """Find them; nothing but their keys and times is read. Raises TablesRefused for a table without the columns,
        and for ties unless they are allowed: then chance picks one.
        """
        self._connection, self._table = connection, table
        columns = columns_of(connection, table.relation)
        check_view(table, columns)
        self._event = time_us(quoted(table.timestamp), columns[table.timestamp])
        self._created = time_us(quoted(table.created), columns[table.created]) if table.created else None
        self._counts_from = availability(table, columns, created_rule)
        self._refuse_ties = refuse_ties
        self._rows = self._relation(taken, columns[table.timestamp])
        if refuse_ties:
            check_ties(connection, replace(table, relation=self._rows))
        self._find()
        self.total = self._count("newest WHERE __newest IS NOT NULL")
        self.keyless = self._count(f"{self._rows} WHERE {self._any_key_null}") if table.keys else 0
        """Rows with a NULL key: no request can ask for them."""

    def counting_between(self, after_us: int, until_us: int) -> int:
        """How many rows of the table begin to count after one time and not after another."""
        return self._count(f"{self._table.relation} WHERE {self._counts_from} BETWEEN {after_us + 1} AND {until_us}")

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows, about so many at a time. Columns by position: the keys, the fields, event µs (int64), and where the
        table has one, created µs.
        """
        selected = [*map(quoted, [*self._table.keys, *self._table.fields]), self._event, *self._created_column]
        named = ", ".join(f"{expression} AS c{place}" for place, expression in enumerate(selected))
        yield from self._connection.sql(f"SELECT {named} FROM {self._newest}").to_arrow_reader(rows)

    def check_unchanged(self, read: int) -> None:
        """Raise TablesRefused where other than `total` rows were read."""
        if read != self.total:
            raise TablesRefused(
                f"its table was changed while it was read: {self.total:,} keys were found, and then {read:,} rows."
            )

    @property
    def _created_column(self) -> list[str]:
        return [self._created] if self._created else []

    @property
    def _order(self) -> str:
        """(event, created) as one whole number that grows with it; a row without a created time comes first."""
        if self._created is None:
            return self._event
        return f"{self._event}::HUGEINT * {2**64} + coalesce({self._created}, {-(2**63)})"

    @property
    def _any_key_null(self) -> str:
        return " OR ".join(f"{quoted(key)} IS NULL" for key in self._table.keys)

    @property
    def _newest(self) -> str:
        """SQL for one row of each key."""
        on = [f"taken.{quoted(key)} = newest.{quoted(key)}" for key in self._table.keys]
        joined = f"{self._rows} taken SEMI JOIN newest ON {' AND '.join([*on, f'{self._order} = newest.__newest'])}"
        if self._refuse_ties:
            return joined
        each = f"PARTITION BY {', '.join(map(quoted, self._table.keys))}" if self._table.keys else ""
        return f"(SELECT * FROM {joined} QUALIFY row_number() OVER ({each}) = 1)"

    def _relation(self, taken: Taken, sql_type: str) -> str:
        """The rows taken. The bounds on the column itself let DuckDB skip parts of Parquet files."""
        conditions = [f"{self._counts_from} <= {taken.until_us}", *self._asked(taken)]
        make = {"TIMESTAMP WITH TIME ZONE": "make_timestamptz", "TIMESTAMP": "make_timestamp"}.get(sql_type)
        if make:
            column = quoted(self._table.timestamp)
            conditions.append(f"{column} <= {make}({taken.until_us})")
            if taken.oldest_us is not None:
                conditions.append(f"{column} >= {make}({taken.oldest_us})")
        return f"(SELECT * FROM {self._table.relation} WHERE {' AND '.join(conditions)})"

    def _asked(self, taken: Taken) -> list[str]:
        if taken.since_us is None:
            return [] if taken.oldest_us is None else [f"{self._event} >= {taken.oldest_us}"]
        changed = f"greatest({', '.join([self._event, *self._created_column])})"  # which skips NULL
        fresh = "" if taken.horizon_us is None else f" AND {self._event} >= {taken.horizon_us}"
        return [f"({self._event} >= {taken.start_us} OR ({changed} > {taken.since_us}{fresh}))"]

    def _find(self) -> None:
        keys = [quoted(key) for key in self._table.keys]
        known = f" WHERE NOT ({self._any_key_null})" if keys else ""
        group = f" GROUP BY {', '.join(keys)}" if keys else ""
        selected = ", ".join([*keys, f"max({self._order}) AS __newest"])
        self._connection.execute(f"CREATE TEMP TABLE newest AS SELECT {selected} FROM {self._rows}{known}{group}")

    def _count(self, rows: str) -> int:
        (count,) = self._connection.execute(f"SELECT count(*) FROM {rows}").fetchall()[0]
        return int(count)
