"""The feature tables: what the views read, computed from the click log with DuckDB, a Parquet file a table and day."""

from training.tables.builder import BuildReport, build, table_files
from training.tables.check import check_unique
from training.tables.specs import TABLES, TableSpec, definition

__all__ = ["TABLES", "BuildReport", "TableSpec", "build", "check_unique", "definition", "table_files"]
