"""The offline store that feature_store.yaml names: Feast's historical retrieval as ASOF joins in DuckDB.

    offline_store:
        type: lockstep.stores.offline.LockstepOfflineStore

It takes what Feast's DuckDB store takes and is one: what is not said here, such as the store of monitoring metrics, is
done by that store.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.utils import compute_non_entity_date_range
from pydantic import StrictBool, StrictInt, StrictStr

from lockstep.errors import BadRequest, TablesRefused
from lockstep.stores.point_in_time import CreatedRule, connect
from lockstep.stores.queries import Everything, Historical, Latest, Range, Rules, Table
from lockstep.stores.retrieval import HistoricalJob, LockstepRetrievalJob, Result
from lockstep.stores.sources import file_source
from lockstep.stores.spine import spine_of
from lockstep.stores.wanted import Wanted, declared_types, name_of, wanted_of
from lockstep.stores.writes import append, append_log
from lockstep.times import from_datetime

__all__ = ["LockstepOfflineStore", "LockstepOfflineStoreConfig"]


class LockstepOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """What may stand under `offline_store` in feature_store.yaml."""

    type: StrictStr = "lockstep.stores.offline.LockstepOfflineStore"
    created: Literal["available", "stock"] = "available"
    """Whether a row counts from its created time on (`available`) or from its event time on (`stock`, as in Feast)."""
    refuse_ties: StrictBool = True
    """Refuse a table that has two rows of one key, event and created time; if false, chance picks one of them."""
    memory_limit: StrictStr | None = None
    """Memory that a retrieval may take before it spills to disk, e.g. 4GB. None: 80 % of the machine's."""
    temp_directory: StrictStr | None = None
    """Folder it spills to. None: `.tmp` in the working directory."""
    threads: StrictInt | None = None
    """Threads of a retrieval. None: one a core."""


class LockstepOfflineStore(DuckDBOfflineStore):
    """Point-in-time joins, pulls and writes over Parquet files and Delta tables."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | Path | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> HistoricalJob:
        """The point-in-time join of a spine, or without one of every key and time in [start_date, end_date].

        `filter_by_created_timestamp` asks for the rule `available` where the configuration says `stock`.
        """
        rules = _rules(config, filter_by_created_timestamp)
        wanted = wanted_of(feature_views, feature_refs, full_feature_names)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        _check_modes(on_demand)
        if entity_df is None:
            start, end = compute_non_entity_date_range(feature_views, start_date, end_date)
            query = Historical(Range(wanted, rules, from_datetime(start), from_datetime(end)), wanted, rules)
        else:
            query = Historical(spine_of(entity_df), wanted, rules)
        result = Result(
            open=_open(config),
            repo_path=rules.repo_path,
            types=_types(wanted, on_demand, full_feature_names),
            staging=config.offline_store.staging_location,
            on_demand=on_demand,
            full_names=full_feature_names,
            metadata=partial(_metadata, query, feature_refs, _open(config)),
        )
        return HistoricalJob(query, result)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> LockstepRetrievalJob:
        """Of each key the row that counts at `end_date`, where its event time lies in [start_date, end_date]."""
        source = file_source(data_source, f"data source {data_source.name!r}")
        table = Table(source, join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _pull(config, Latest(table, _rules(config), from_datetime(start_date), from_datetime(end_date)))

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> LockstepRetrievalJob:
        """All rows with an event time in [start_date, end_date]; None leaves a side open."""
        source = file_source(data_source, f"data source {data_source.name!r}")
        table = Table(source, join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        start, end = (None if date is None else from_datetime(date) for date in (start_date, end_date))
        return _pull(config, Everything(table, _rules(config), start, end))

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Add rows to a view's table. Their columns must be the table's, in its order."""
        source = file_source(feature_view.batch_source, f"feature view {feature_view.name!r}")
        append(table, source, _repo_path(config))
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Add a file of logged features to the folder of a FileLoggingDestination."""
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise TablesRefused(f"logs go to a {type(destination).__name__}; use a FileLoggingDestination.")
        append_log(data, destination, _repo_path(config))


def _repo_path(config: RepoConfig) -> Path | None:
    return Path(config.repo_path) if config.repo_path else None


def _rules(config: RepoConfig, filter_by_created: bool = False) -> Rules:
    created: CreatedRule = "available" if filter_by_created else config.offline_store.created
    return Rules(created, config.offline_store.refuse_ties, _repo_path(config))


def _open(config: RepoConfig) -> Any:
    store = config.offline_store
    return partial(connect, memory_limit=store.memory_limit, temp_directory=store.temp_directory, threads=store.threads)


def _pull(config: RepoConfig, query: Latest | Everything) -> LockstepRetrievalJob:
    result = Result(_open(config), query.rules.repo_path, types={}, staging=config.offline_store.staging_location)
    return LockstepRetrievalJob(query, result)


def _metadata(query: Historical, references: list[str], open_connection: Any) -> RetrievalMetadata:
    keys, first, last = query.spine.bounds(open_connection())
    return RetrievalMetadata(features=references, keys=keys, min_event_timestamp=first, max_event_timestamp=last)


def _types(
    wanted: Sequence[Wanted], on_demand: Sequence[OnDemandFeatureView], full_names: bool
) -> dict[str, pa.DataType]:
    """Column of the result -> declared type, of stored features and of on-demand ones."""
    types = {name: declared for one in wanted for name, declared in one.types.items()}
    for view in on_demand:
        prefix = f"{name_of(view)}__" if full_names else ""
        types |= {f"{prefix}{name}": declared for name, declared in declared_types(view.features).items()}
    return types


def _check_modes(on_demand: Sequence[OnDemandFeatureView]) -> None:
    for view in on_demand:
        if view.mode == "substrait":
            raise BadRequest(f"on-demand view {view.name!r} is in mode 'substrait'; write it in mode pandas or python.")
