"""What a retrieval wants of each feature view, as the point-in-time join needs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.field import Field
from feast.infra.offline_stores.file_source import FileSource
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Array, FeastType, PrimitiveFeastType, from_feast_to_pyarrow_type

from lockstep.stores.point_in_time import ViewTable
from lockstep.stores.sources import column, file_source, relation_of

__all__ = ["Wanted", "declared_types", "name_of", "wanted_of"]

CAST = (
    PrimitiveFeastType.STRING,
    PrimitiveFeastType.BOOL,
    PrimitiveFeastType.INT32,
    PrimitiveFeastType.INT64,
    PrimitiveFeastType.FLOAT32,
    PrimitiveFeastType.FLOAT64,
    PrimitiveFeastType.UNIX_TIMESTAMP,
)
"""Declared types, alone and in arrays, that values are cast to; any other value stays as the table holds it."""


@dataclass(frozen=True)
class Wanted:
    """One feature view of a retrieval: its source, and what is asked of it under which name."""

    view: FeatureView
    source: FileSource
    features: dict[str, str]
    """Feature -> column of the result."""

    @property
    def name(self) -> str:
        """The view's name in this retrieval, its alias where it has one."""
        return name_of(self.view)

    @property
    def keys(self) -> dict[str, str]:
        """Join key -> column of the spine. Empty for a view without entities."""
        aliases = self.view.projection.join_key_map
        names = [entity.name for entity in self.view.entity_columns if entity.name != DUMMY_ENTITY_ID]
        return {name: aliases.get(name, name) for name in names}

    @property
    def ttl_us(self) -> int | None:
        """The view's TTL; Feast writes both None and 0 for rows that never go stale."""
        return self.view.ttl // timedelta(microseconds=1) if self.view.ttl else None

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Column of the result -> the Arrow type its values are cast to."""
        declared = declared_types(self.view.features)
        return {name: declared[feature] for feature, name in self.features.items() if feature in declared}

    def table(self, connection: duckdb.DuckDBPyConnection, repo_path: Path | None) -> ViewTable:
        """The view as the join needs it."""
        created = self.source.created_timestamp_column
        return ViewTable(
            name=self.name,
            relation=relation_of(connection, self.source, repo_path),
            keys={column(self.source, key): alias for key, alias in self.keys.items()},
            fields={column(self.source, feature): name for feature, name in self.features.items()},
            timestamp=column(self.source, self.source.timestamp_field),
            created=column(self.source, created) if created else None,
            ttl_us=self.ttl_us,
        )


def name_of(view: FeatureView | OnDemandFeatureView) -> str:
    """The name by which references call a view."""
    return str(view.projection.name_to_use())  # type: ignore[no-untyped-call]  # Feast's own gap


def wanted_of(views: Sequence[FeatureView], references: Sequence[str], full_names: bool) -> list[Wanted]:
    """What a list of `view:feature` references asks of each view. Raises TablesRefused for a source we cannot read."""
    return [_wanted(view, references, full_names) for view in views]


def _wanted(view: FeatureView, references: Sequence[str], full_names: bool) -> Wanted:
    prefix = f"{name_of(view)}:"
    features = [reference.removeprefix(prefix) for reference in references if reference.startswith(prefix)]
    base = view.projection.name_alias or view.name
    names = {feature: f"{base}__{feature}" if full_names else feature for feature in features}
    return Wanted(view, file_source(view.batch_source, f"feature view {view.name!r}"), names)


def declared_types(fields: Sequence[Field]) -> dict[str, pa.DataType]:
    """Field name -> Arrow type of its declared type, for the types that values are cast to."""
    return {field.name: from_feast_to_pyarrow_type(field.dtype) for field in fields if _is_cast(field.dtype)}


def _is_cast(declared: FeastType) -> bool:
    return (declared.base_type if isinstance(declared, Array) else declared) in CAST
