"""What Spark says when it fails, as one sentence."""

import pytest

from lockstep.errors import BadRequest, LockstepError, PartsRefused, SparkFailed

pytest.importorskip("pyspark", reason="PySpark is not installed; make spark")

WORKER = """
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "training/batch/rows.py", line 61, in given_from
    raise BadRequest(f"the spine from row {start} on: {error}") from error
"""
GATEWAY = """An error occurred while calling o42.collectToPython.
: java.lang.IllegalStateException: Spark was stopped.
\tat org.apache.spark.Spark.run(Spark.scala:1)
Caused by: java.net.UnknownHostException: nowhere
"""


@pytest.mark.parametrize(
    ("said", "error", "says"),
    [
        (WORKER + "lockstep.errors.BadRequest: the spine: NULL.\n\n\tat Java", BadRequest, r"^the spine: NULL\.$"),
        (WORKER + "lockstep.errors.PartsRefused: begin anew.", PartsRefused, r"^begin anew\.$"),
        (
            WORKER + "FileNotFoundError: no such file: 'a'\n",
            SparkFailed,
            r"^Spark failed: FileNotFoundError: no such fi",
        ),
        (GATEWAY, SparkFailed, r"^Spark failed: java\.lang\.IllegalStateException: Spark was stopped\. The parts"),
        ("\n[UNKNOWN] it broke.\n", SparkFailed, r"^Spark failed: \[UNKNOWN\] it broke\. The parts that are there"),
        ("", SparkFailed, r"^Spark failed: it gave no reason\. The parts that are there are whole, and the same"),
    ],
    ids=["refused by a worker", "parts refused", "failed in a worker", "failed in Java", "a line", "nothing"],
)
def test_a_failure_is_told_in_one_sentence(said: str, error: type[LockstepError], says: str) -> None:
    from py4j.protocol import Py4JError

    from training.batch.spark.session import translated

    with pytest.raises(error, match=says), translated():
        raise Py4JError(said)
