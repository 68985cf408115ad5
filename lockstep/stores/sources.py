"""Feast data sources as DuckDB relations: Parquet files, folders, globs and URLs, and Delta tables."""

from glob import glob
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow.dataset
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource
from pyarrow import fs

from lockstep.errors import MissingTool, TablesRefused

__all__ = [
    "column",
    "delta",
    "delta_options",
    "delta_table",
    "file_source",
    "filesystem_of",
    "is_remote",
    "local_path",
    "parquet",
    "parquet_files",
    "relation_of",
]


def file_source(source: DataSource | None, what: str) -> FileSource:
    """The source as a FileSource. Raises TablesRefused where it is none; `what` names its owner in the error."""
    if not isinstance(source, FileSource):
        kind = "no batch source" if source is None else f"a {type(source).__name__}"
        raise TablesRefused(f"{what} has {kind}; this offline store reads a FileSource (Parquet or Delta).")
    return source


def column(source: DataSource, name: str) -> str:
    """The column of the table behind a feature or key: the source's field mapping, read backwards."""
    return {new: old for old, new in source.field_mapping.items()}.get(name, name)


def is_remote(path: str) -> bool:
    """A URL such as s3://bucket/table, and no path of this machine."""
    return "://" in path


def local_path(path: str, repo_path: Path | None) -> Path:
    """The path of a table; a relative one starts at the folder of feature_store.yaml."""
    return Path(FileSource.get_uri_for_file_path(repo_path, path))


def relation_of(connection: duckdb.DuckDBPyConnection, source: FileSource, repo_path: Path | None) -> str:
    """SQL that can stand after FROM. Raises TablesRefused where there is nothing to read."""
    if isinstance(source.file_format, DeltaFormat):
        return _registered(connection, delta_table(source, repo_path).to_pyarrow_dataset())
    if is_remote(source.path):
        filesystem, path = filesystem_of(source)
        return _registered(connection, pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet"))
    return parquet(local_path(source.path, repo_path))


def parquet(path: Path, otherwise: str = "Build the table first, or correct the source's path.") -> str:
    """SQL over a Parquet file, every Parquet file below a folder, or the files of a glob.

    Files of one table may differ in columns: a column that an older file lacks is NULL there. Raises TablesRefused
    where there is no file, and says `otherwise`.
    """
    parquet_files(path, otherwise)
    return "read_parquet('" + _pattern(path).replace("'", "''") + "', union_by_name = true)"


def parquet_files(path: Path, otherwise: str = "Build the table first, or correct the source's path.") -> list[Path]:
    """The same files, in the order of their names. Raises TablesRefused where there is none, and says `otherwise`."""
    found = sorted(glob(_pattern(path), recursive=True))
    if not found:
        raise TablesRefused(f"no Parquet file at {_pattern(path)}. {otherwise}")
    return [Path(each) for each in found]


def _pattern(path: Path) -> str:
    return str(path / "**" / "*.parquet") if path.is_dir() else str(path)


def _registered(connection: duckdb.DuckDBPyConnection, dataset: Any) -> str:
    name = f"source_{uuid4().hex}"
    connection.register(name, dataset)
    return name


def filesystem_of(source: FileSource) -> tuple[fs.FileSystem, str]:
    """PyArrow's filesystem for a URL and the path inside it, with the source's endpoint and credentials for S3."""
    credentials = source.resolve_credentials()
    filesystem, path = FileSource.create_filesystem_and_path(
        source.path, source.file_options.s3_endpoint_override, credentials
    )
    return (filesystem, path) if filesystem is not None else fs.FileSystem.from_uri(source.path)


def delta() -> Any:
    """The deltalake package. Raises MissingTool where it is not installed."""
    try:
        return import_module("deltalake")
    except ModuleNotFoundError as error:
        raise MissingTool(
            "a source is a Delta table and deltalake is not installed: pip install 'feast[delta]'."
        ) from error


def delta_options(source: FileSource) -> dict[str, str]:
    """What deltalake needs to reach a table on S3."""
    credentials = source.resolve_credentials() or {}
    endpoint = {"AWS_ENDPOINT_URL": source.s3_endpoint_override} if source.s3_endpoint_override else {}
    return {**{name: value for name, value in credentials.items() if name.startswith("AWS_")}, **endpoint}


def delta_table(source: FileSource, repo_path: Path | None) -> Any:
    """The Delta table behind a source. Raises MissingTool where deltalake is not installed."""
    path = source.path if is_remote(source.path) else str(local_path(source.path, repo_path))
    return delta().DeltaTable(path, storage_options=delta_options(source))
