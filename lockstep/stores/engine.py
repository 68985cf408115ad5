"""The materialization engine that feature_store.yaml names.

    batch_engine:
        type: lockstep.stores.engine.LockstepEngine

It fills our online store from our offline store; whatever else a view stands on, or asks for, is done by Feast's local
engine, which this one is.
"""

from collections.abc import Callable
from typing import Any

from feast import FeatureView, RepoConfig
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel

from lockstep.stores.materialize import Bar, Job, materialize
from lockstep.stores.offline import LockstepOfflineStore
from lockstep.stores.online import LockstepOnlineStore
from lockstep.times import format_time, from_datetime

__all__ = ["LockstepEngine", "LockstepEngineConfig", "feasts_own_way"]


class LockstepEngineConfig(FeastConfigBaseModel):
    """What may stand under `batch_engine` in feature_store.yaml."""

    type: str = "lockstep.stores.engine.LockstepEngine"
    """Class of the engine."""

    backend: str | None = None
    """Data frames of the views that go Feast's own way: pandas or polars."""


class LockstepEngine(LocalComputeEngine):
    """Newest usable row of each key in DuckDB, packed by Arrow, pipelined into Redis."""

    def __init__(
        self, *, repo_config: RepoConfig, offline_store: OfflineStore, online_store: OnlineStore, **settings: Any
    ) -> None:
        """Feast hands over the YAML as it stands. Raises pydantic's ValidationError for an option that there is not."""
        given = LockstepEngineConfig(**settings)
        super().__init__(
            backend=given.backend, repo_config=repo_config, offline_store=offline_store, online_store=online_store
        )

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        """One view. Raises TablesRefused before anything is written, MaterializeFailed halfway."""
        online = self.online_store
        if not isinstance(online, LockstepOnlineStore) or feasts_own_way(task.feature_view, self.offline_store):
            return super()._materialize_one(registry, task, **kwargs)
        print(materialize(self._job(online, task)))
        done = MaterializationJobStatus.SUCCEEDED
        return LocalMaterializationJob(f"{task.feature_view.name}-{task.start_time}-{task.end_time}", done)

    def _job(self, online: LockstepOnlineStore, task: MaterializationTask) -> Job:
        start_us, end_us = from_datetime(task.start_time), from_datetime(task.end_time)
        view, times = task.feature_view.name, [format_time(us) for us in (min(start_us, end_us), end_us)]
        command = f"feast materialize {' '.join(times)} --views {view}"
        return Job(
            self.repo_config, online, task.feature_view, start_us, end_us, command, bar=_in_rows(task.tqdm_builder)
        )


def _in_rows(builder: Callable[[int], Any] | None) -> Callable[[int], Bar] | None:
    """Feast's bar, which counts rows instead of iterations."""
    if builder is None:
        return None

    def make(total: int) -> Bar:
        bar: Any = builder(total)
        bar.unit, bar.unit_scale = " rows", True
        return bar  # type: ignore[no-any-return]  # tqdm publishes no types

    return make


def feasts_own_way(view: FeatureView, offline_store: OfflineStore) -> str:
    """Why Feast's local engine does a view, in words that end a sentence; empty where we do."""
    if not isinstance(offline_store, LockstepOfflineStore):
        return f"the offline store is {type(offline_store).__name__}"
    if not isinstance(view.batch_source, FileSource):
        return f"its source is a {type(view.batch_source).__name__}"
    computed = ("feature_transformation", "aggregations", "filter", "source_views", "enable_validation", "offline")
    asked = [name for name in computed if getattr(view, name, None)]
    return f"it has {', '.join(asked)}" if asked else ""
