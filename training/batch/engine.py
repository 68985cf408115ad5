"""The engines that score a table, by name; each is imported when it is named."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from training.batch.job import Job, Report

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Engine", "scorer"]


class Engine(StrEnum):
    """Where a table is scored."""

    LOCAL = "local"
    """DuckDB and threads on this machine."""
    SPARK = "spark"
    """Spark, on this machine or on a cluster."""


def scorer(engine: Engine) -> Callable[["FeatureStore", Job], Report]:
    """What scores with an engine. Raises MissingTool where this machine lacks what it needs."""
    if engine is Engine.LOCAL:
        from training.batch.run import score as local

        return local
    from training.batch.spark.needs import check_needs

    check_needs()
    from training.batch.spark.run import score as spark

    return spark
