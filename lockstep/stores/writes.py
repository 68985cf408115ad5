"""Rows added to the tables of the offline store: a file is replaced by a longer one, a folder gets one file more."""

from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from pyarrow import fs

from lockstep.errors import BadRequest, TablesRefused
from lockstep.files import whole_file
from lockstep.stores.sources import delta, delta_options, file_source, filesystem_of, is_remote, local_path

__all__ = ["append", "append_log"]


def append(rows: pa.Table, source: FileSource, repo_path: Path | None) -> None:
    """Add rows to a table, cast to its types.

    Raises BadRequest where the columns or types do not fit, TablesRefused for a table that cannot be added to.
    """
    if isinstance(source.file_format, DeltaFormat):
        _append_delta(rows, source, repo_path)
    elif is_remote(source.path):
        _append_remote(rows, source)
    else:
        _append_local(rows, local_path(source.path, repo_path))


def _append_delta(rows: pa.Table, source: FileSource, repo_path: Path | None) -> None:
    path = source.path if is_remote(source.path) else str(local_path(source.path, repo_path))
    schema = delta().DeltaTable(path, storage_options=delta_options(source)).to_pyarrow_dataset().schema
    delta().write_deltalake(path, _fitted(rows, schema), mode="append", storage_options=delta_options(source))


def _append_remote(rows: pa.Table, source: FileSource) -> None:
    filesystem, path = filesystem_of(source)
    if filesystem.get_file_info(path).type != fs.FileType.Directory:
        raise TablesRefused(
            f"{source.path}: rows are added to a folder of Parquet files; a remote file is not rewritten."
        )
    schema = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet").schema
    pq.write_table(_fitted(rows, schema), f"{path}/{uuid4().hex}.parquet", filesystem=filesystem)


def _append_local(rows: pa.Table, path: Path) -> None:
    if path.is_dir():
        schema = pyarrow.dataset.dataset(path, format="parquet").schema
        with whole_file(path / f"{uuid4().hex}.parquet") as beside:
            pq.write_table(_fitted(rows, schema), beside)
    elif path.is_file():
        _lengthen(path, rows)
    else:
        raise TablesRefused(f"{path}: rows are added to a Parquet file or a folder of them, and this is neither.")


def _lengthen(path: Path, rows: pa.Table) -> None:
    """Copy a file, one row group at a time, and add the rows. Of two writers at once the later one wins."""
    old = pq.ParquetFile(path)
    fitted = _fitted(rows, old.schema_arrow)
    with whole_file(path) as beside, pq.ParquetWriter(beside, old.schema_arrow) as writer:
        for group in range(old.num_row_groups):
            writer.write_table(old.read_row_group(group))
        writer.write_table(fitted)


def _fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    if rows.column_names != schema.names:
        raise BadRequest(f"the rows have the columns {rows.column_names} and the table {schema.names}, in this order.")
    try:
        return rows.cast(schema)
    except pa.ArrowInvalid as error:
        raise BadRequest(f"the rows do not fit the table's types: {error}") from error


def append_log(data: pa.Table | Path, destination: FileLoggingDestination, repo_path: Path | None) -> None:
    """Add a table, or the Parquet files of a folder, to a log folder, which is made where it is missing."""
    rows = pyarrow.dataset.dataset(data, format="parquet") if isinstance(data, Path) else data
    filesystem, folder = _log_folder(destination, repo_path)
    pyarrow.dataset.write_dataset(
        rows,
        folder,
        filesystem=filesystem,
        format="parquet",
        partitioning=destination.partition_by,
        partitioning_flavor="hive" if destination.partition_by else None,
        basename_template=f"{uuid4().hex}-{{i}}.parquet",
        existing_data_behavior="overwrite_or_ignore",  # the name is new: nothing is overwritten
    )


def _log_folder(destination: FileLoggingDestination, repo_path: Path | None) -> tuple[fs.FileSystem | None, str]:
    source = file_source(destination.to_data_source(), "the log destination")
    return filesystem_of(source) if is_remote(source.path) else (None, str(local_path(source.path, repo_path)))
