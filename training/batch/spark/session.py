"""Spark, opened with the settings that it finds for itself, and what it says when it fails."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lockstep.errors import BadRequest, BundleRefused, LockstepError, MissingTool, PartsRefused, SparkFailed

__all__ = ["opened", "translated"]

RULES: Final = {
    "spark.sql.session.timeZone": "UTC",  # a time without a zone is UTC
    "spark.sql.caseSensitive": "true",  # as in Arrow and DuckDB: IP and ip are two columns
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # pandas writes nanoseconds, which Spark refuses to read as times
    "spark.sql.ansi.enabled": "true",  # text that is no time is an error, and not NULL
}
"""What the join relies on, set for a session of our own: the user's sessions keep theirs."""

CARRIED: Final = {one.__name__: one for one in (BadRequest, BundleRefused, MissingTool, PartsRefused)}
"""Errors that come back from an executor as what they are; each is made of its sentence."""


@contextmanager
def opened() -> Iterator[SparkSession]:
    """A session with the rules above; a Spark that was not running before is stopped in the end.

    Spark is configured as ever: spark-defaults.conf in SPARK_CONF_DIR, or PYSPARK_SUBMIT_ARGS. Without either it runs
    in this machine's cores. Raises SparkFailed where it does not start.
    """
    running = SparkSession.getActiveSession()
    with translated():
        spark = running or _started()
    session = spark.newSession()
    for name, value in RULES.items():
        session.conf.set(name, value)
    try:
        yield session
    finally:
        if running is None:
            spark.stop()


def _started() -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Its own bar would write over ours.
    spark = SparkSession.builder.appName("lockstep score").config("spark.ui.showConsoleProgress", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


@contextmanager
def translated() -> Iterator[None]:
    """Raise what fails in Spark as what it is: an executor's own refusal, else SparkFailed with Spark's first words."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise _explained(str(error)) from error


def _explained(said: str) -> LockstepError:
    for name, sentence in re.findall(r"^lockstep\.errors\.(\w+): (.*)$", said, re.MULTILINE):
        if name in CARRIED:
            return CARRIED[name](sentence)
    return SparkFailed(_cause(said))


def _cause(said: str) -> str:
    """The first exception that is named, of Python or of Java, else Spark's first line."""
    raised = re.findall(r"^(?:: )?(\w[\w.$]*(?:Error|Exception): .*)$", said, re.MULTILINE)
    lines = [line for line in said.splitlines() if line.strip()]
    return (raised or lines or ["it gave no reason"])[0].strip()
