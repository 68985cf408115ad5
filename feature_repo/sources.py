"""Where the feature tables lie: Parquet folders made by `lockstep features build`, one file a day.

Under LOCKSTEP_HOME where it is set, else under data/ beside this folder.
"""

import os
from pathlib import Path

from feast import FileSource
from feast.data_format import ParquetFormat

HOME = Path(os.environ.get("LOCKSTEP_HOME") or Path(__file__).resolve().parent.parent / "data").absolute()
TABLES = HOME / "features"


def table(name: str) -> FileSource:
    """The source of one feature table."""
    path = str(TABLES / name)
    return FileSource(name=f"{name}_table", path=path, file_format=ParquetFormat(), timestamp_field="event_timestamp")


ip_table = table("ip_activity")
ip_app_table = table("ip_app_activity")
app_table = table("app_activity")
channel_table = table("channel_activity")
os_table = table("os_activity")
