"""The point-in-time join on Spark: for each row that asks, of each view, the newest row usable at its time t.

Spark has no ASOF join. Rows that ask and rows of a table are sorted together by key and time; a running maximum of
(event, created) over the table's rows is then the rule for time itself. That is one shuffle a view, and no pair of rows
is ever formed. The TTL is left to `resolve`, as on one machine.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as fn

from training.batch.spark.tables import Table, quoted

__all__ = ["join"]


def join(asking: DataFrame, tables: Sequence[Table]) -> DataFrame:
    """The rows of `asking` with each table's fields and `<view>__event_timestamp`, NULL where no row counts at t.

    `asking` has `__t_us` and the keys. No row is lost or doubled; their order is.
    """
    for table in tables:
        asking = _with(asking, table)
    return asking


def _with(asking: DataFrame, table: Table) -> DataFrame:
    names = [quoted(name) for name in asking.columns]
    asked = asking.select(*names, quoted("__t_us").alias("__at"), fn.lit(True).alias("__asks"))
    rows = table.rows().withColumn("__asks", fn.lit(False))
    keys = [quoted(name) for name in dict.fromkeys(table.view.keys.values())]
    # A table's row at the very t of a row that asks comes before it: False is less than True.
    so_far = Window.partitionBy(*keys).orderBy("__at", "__asks").rowsBetween(Window.unboundedPreceding, 0)
    newest = fn.max_by("__values", "__order").over(so_far).alias("__newest")
    found = asked.unionByName(rows, allowMissingColumns=True).select(*names, "__asks", newest)
    return found.where("__asks").select(*names, "__newest.*")
