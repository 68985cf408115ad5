"""One feature view with a feature of every value type."""

import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Feast's imports warn of their own dependencies
    from feast import FeatureView, Field, FileSource
    from feast import types as ft

from tests.lockstep.stores.kinds import KINDS, Kind
from tests.lockstep.stores.shapes import ENTITIES, START

__all__ = ["TYPED", "typed_table", "typed_view"]

TYPED: Final = "typed"


def typed_view(folder: Path) -> FeatureView:
    """As Feast takes it."""
    source = FileSource(name="typed_table", path=str(folder / TYPED / "*.parquet"), timestamp_field="event_timestamp")
    fields = [Field(name=kind.column, dtype=kind.feast) for kind in KINDS]
    return FeatureView(
        name=TYPED,
        entities=[ENTITIES["ip"]],
        schema=[Field(name="ip", dtype=ft.Int64), *fields],
        ttl=timedelta(days=1),
        source=source,
    )


def typed_table(values: Mapping[Kind, Sequence[Any]]) -> pa.Table:
    """Row i is that of ip i, and holds value i of each type."""
    columns = {kind.column: pa.array(column, kind.source) for kind, column in values.items()}
    rows = len(next(iter(columns.values())))
    event = pa.array([START] * rows, pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.table({"ip": pa.array(range(rows), pa.int64()), "event_timestamp": event, **columns})
