"""Which files Spark is told to read for a view."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FileSource
from feast.data_format import DeltaFormat

from lockstep.errors import TablesRefused

pytest.importorskip("pyspark", reason="PySpark is not installed; make spark")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def store(tmp_path: Path, **facts: Any) -> Any:
    """A Feast store, as far as it is asked here, with one view on a table of two files."""
    (tmp_path / "table").mkdir()
    for number in range(2):
        pq.write_table(pa.table({f"column_{number}": [1]}), tmp_path / "table" / f"{number}.parquet")
    source = FileSource(**{"name": "source", "timestamp_field": "at", "path": str(tmp_path / "table"), **facts})
    view = SimpleNamespace(batch_source=source)
    return SimpleNamespace(get_feature_view=lambda name: view, config=SimpleNamespace(repo_path=tmp_path))


def test_files_of_this_machine_are_named_one_by_one(tmp_path: Path) -> None:
    from training.batch.spark.tables import files_of

    paths, schemas = files_of(store(tmp_path, path="table"), "view")
    assert paths == [f"file://{tmp_path}/table/{number}.parquet" for number in range(2)]
    assert [schema.names for schema in schemas] == [["column_0"], ["column_1"]]


def test_a_url_is_left_to_spark(tmp_path: Path) -> None:
    from training.batch.spark.tables import files_of

    paths, schemas = files_of(store(tmp_path, path=f"file://{tmp_path}/table"), "view")
    assert paths == [f"file://{tmp_path}/table"]
    assert [schema.names for schema in schemas] == [["column_0"], ["column_1"]]


def test_a_delta_table_is_refused(tmp_path: Path) -> None:
    from training.batch.spark.tables import files_of

    with pytest.raises(TablesRefused, match="'view' has a Delta table; the engine spark reads Parquet"):
        files_of(store(tmp_path, file_format=DeltaFormat()), "view")
