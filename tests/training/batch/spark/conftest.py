"""One Spark on this machine for all tests that ask for it; they are skipped where there is none."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from lockstep.errors import MissingTool
from training.batch.spark.needs import check_needs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SETTINGS = {
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",  # these jobs are over before a better compiler pays
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.session.timeZone": "America/New_York",  # nothing may depend on what a user has set
}


@pytest.fixture(scope="session")
def spark() -> Iterator["SparkSession"]:
    """A user's session, which the engine finds and leaves as it is."""
    try:
        check_needs()
    except MissingTool as error:
        pytest.skip(str(error))
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.appName("tests")
        for name, value in SETTINGS.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()
