"""The feature tables of a plan as Spark reads them, brought into one form: keys, from when a row counts, order, values.

Times are int64 µs UTC, as in `lockstep.stores.point_in_time`, whose rule for time this follows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as fn

from lockstep.errors import BadColumn, TablesRefused
from lockstep.plan import DType, Plan, View
from lockstep.stores.point_in_time import TIES_SHOWN, ViewTable, check_view, connect, ties_sentence
from training.frame import view_tables
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Table", "files_of", "quoted", "read", "tables"]

SQL_TYPES: Final = {
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ntz": "TIMESTAMP",
    "date": "DATE",
    "string": "VARCHAR",
}
"""Spark's names of the types that a time or a text can have, in DuckDB's words, which our checks speak."""
NANOS: Final = "TIMESTAMP_NS"


def quoted(name: str) -> Column:
    """A column by its name, whatever stands in it."""
    return fn.col("`" + name.replace("`", "``") + "`")


@dataclass(frozen=True)
class Table:
    """The table behind one view."""

    view: ViewTable
    frame: DataFrame
    columns: Mapping[str, str]
    """Its columns and their types, in DuckDB's words where SQL_TYPES has them."""

    def rows(self) -> DataFrame:
        """The rows that the join may find: the keys by the spine's names, `__at`, `__order` and `__values`.

        `__at` is when a row begins to count, the later of event and created time; `__order` decides between rows that
        count; `__values` has the fields and the event time.
        """
        event, times = self._time(self.view.timestamp), self._times()
        when = fn.timestamp_micros(event).alias(f"{self.view.name}__{EVENT_TIMESTAMP}")
        fields = [self._value(column).alias(name) for column, name in self.view.fields.items()]
        keys = [quoted(key).alias(column) for key, column in self.view.keys.items()]
        since = fn.greatest(*times) if len(times) > 1 else event
        order, values = fn.struct(*times).alias("__order"), fn.struct(*fields, when).alias("__values")
        return self._known(times).select(*keys, since.alias("__at"), order, values)

    def check_ties(self) -> None:
        """Raise TablesRefused, naming the first rows, where two rows share key, event and created time."""
        names = [*self.view.keys, self.view.timestamp, *([self.view.created] if self.view.created else [])]
        identity = [quoted(key) for key in self.view.keys] + self._times()
        known = self._known([self._time(self.view.timestamp)])
        named = known.select(*(value.alias(name) for name, value in zip(names, identity, strict=True)))
        counted = named.groupBy(*map(quoted, names)).agg(fn.count(fn.lit(1)).alias("__rows")).where("__rows > 1")
        total = fn.count(fn.lit(1)).over(Window.partitionBy())
        found = counted.withColumn("__total", total).orderBy(*map(quoted, names)).limit(TIES_SHOWN).collect()
        if found:
            raise TablesRefused(ties_sentence(self.view, [tuple(row) for row in found]))

    def _known(self, times: Iterable[Column]) -> DataFrame:
        """The rows that have every key and these times."""
        frame = self.frame
        for column in (*(quoted(key) for key in self.view.keys), *times):
            frame = frame.where(column.isNotNull())
        return frame

    def _times(self) -> list[Column]:
        return [self._time(name) for name in (self.view.timestamp, self.view.created) if name]

    def _time(self, name: str) -> Column:
        """A column of times as int64 µs; nanoseconds are cut."""
        if self.columns[name] == NANOS:
            return fn.expr(f"`{name.replace('`', '``')}` div 1000")
        return fn.unix_micros(quoted(name).cast("timestamp"))

    def _value(self, name: str) -> Column:
        return fn.timestamp_micros(self._time(name)) if self.columns[name] == NANOS else quoted(name)


def tables(spark: SparkSession, store: "FeatureStore", plan: Plan) -> list[Table]:
    """The tables behind a plan's views, in its order; nothing but their schemas is read yet.

    Raises TablesRefused where one is not made of Parquet files or lacks a column, BadColumn for keys of another type.
    """
    views = view_tables(connect(), store, plan)
    found = [read(spark, view, *files_of(store, view.name)) for view in views]
    for table, view in zip(found, plan.views, strict=True):
        _check_keys(view, table)
    return found


def read(spark: SparkSession, view: ViewTable, paths: Sequence[str], schemas: Iterable[pa.Schema]) -> Table:
    """The Parquet files of a view's table, which have these schemas. Raises TablesRefused where a column is wrong."""
    nanos = _nanos(view.name, schemas)
    frame = spark.read.option("mergeSchema", "true").parquet(*paths)
    types = {name: SQL_TYPES.get(found, found) for name, found in frame.dtypes}
    columns = types | dict.fromkeys(nanos, NANOS)
    check_view(view, columns)
    return Table(view, frame, columns)


def files_of(store: "FeatureStore", view: str) -> tuple[list[str], Iterator[pa.Schema]]:
    """What Spark is told to read, a URL as it stands in the source or files of this machine; each file's schema.

    Raises TablesRefused for a Delta table, and where there is no file.
    """
    from feast.data_format import DeltaFormat

    from lockstep.stores import sources

    source = sources.file_source(store.get_feature_view(view).batch_source, f"view {view!r}")
    if isinstance(source.file_format, DeltaFormat):
        raise TablesRefused(
            f"view {view!r} has a Delta table; the engine spark reads Parquet. Score with --engine local."
        )
    if sources.is_remote(source.path):
        filesystem, path = sources.filesystem_of(source)
        remote = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet")
        return [source.path], (fragment.physical_schema for fragment in remote.get_fragments())
    found = sources.parquet_files(sources.local_path(source.path, store.config.repo_path))
    return [f"file://{path.absolute()}" for path in found], map(pq.read_schema, found)


def _nanos(view: str, schemas: Iterable[pa.Schema]) -> set[str]:
    """The columns that hold times in nanoseconds, which Spark reads as bare numbers."""
    kinds: dict[str, set[bool]] = {}
    for schema in schemas:
        for field in schema:
            kinds.setdefault(field.name, set()).add(pa.types.is_timestamp(field.type) and field.type.unit == "ns")
    mixed = min((name for name, found in kinds.items() if len(found) > 1), default=None)
    if mixed is not None:
        raise TablesRefused(
            f"view {view!r}: column {mixed!r} has nanoseconds in some files and not in others, which Spark cannot read "
            "as one table. Write the files alike, or score with --engine local."
        )
    return {name for name, found in kinds.items() if found == {True}}


def _check_keys(view: View, table: Table) -> None:
    wanted = {key.column: key.dtype for key in view.join_keys}
    for key, column in table.view.keys.items():
        found = table.columns[key]
        if (found == "VARCHAR") != (wanted[column] is DType.STRING):
            problem = f"it is {wanted[column].value} in the model and {found} in the table of view {view.name!r}"
            raise BadColumn(column, f"{problem}. Train the model again on the table as it is.")
