"""What Spark needs of a machine: PySpark, and a Java that it runs on. Imports neither."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from lockstep.errors import MissingTool

__all__ = ["check_needs"]

OLDEST_JAVA: Final = 17
"""Of Spark 4: https://spark.apache.org/docs/4.1.0/"""
INSTEAD: Final = f"Install a JDK {OLDEST_JAVA} or 21 and name its folder in JAVA_HOME, or score with --engine local."


def check_needs() -> None:
    """Raise MissingTool, saying what to install, where PySpark or its Java is absent or too old."""
    if find_spec("pyspark") is None:
        raise MissingTool(
            "the engine spark needs PySpark, which is not installed here: pip install 'lockstep[spark]', or score with "
            "--engine local."
        )
    java = _java()
    found = _version(java)
    if found < OLDEST_JAVA:
        raise MissingTool(f"the engine spark needs Java {OLDEST_JAVA} or newer; {java} is Java {found}. {INSTEAD}")


def _java() -> str:
    """The Java that Spark's own scripts would start."""
    home = os.environ.get("JAVA_HOME")
    named = Path(home) / "bin" / "java" if home else None
    if named is not None and not os.access(named, os.X_OK):
        raise MissingTool(f"the engine spark needs Java, and JAVA_HOME names {home}, which has no bin/java. {INSTEAD}")
    found = str(named) if named else shutil.which("java")
    if found is None:
        raise MissingTool(f"the engine spark needs Java, and there is none on the PATH nor in JAVA_HOME. {INSTEAD}")
    return found


def _version(java: str) -> int:
    """The feature number of a Java: 17 for "17.0.15", 8 for "1.8.0_392"."""
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr)
    if found is None:
        raise MissingTool(f"the engine spark needs Java, and {java} -version does not say its version. {INSTEAD}")
    return int(found[1])
