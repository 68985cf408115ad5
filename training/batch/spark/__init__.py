"""Batch scoring on Spark: the same checks, scores and folder as on one machine, with a join and workers of Spark's.

`needs` says what is missing, `session` opens Spark, `tables` reads the feature tables, `asof` joins them, `worker` is
what runs in the executors, and `run` ties them together. Nothing here but `needs` may be imported without PySpark.
"""

__all__: list[str] = []
