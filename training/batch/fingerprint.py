"""What scores were made from, so that nobody takes old parts for new ones.

Files count by name, size and time of change, a Delta table by its version, a query by its text. Nothing is read.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockstep.bundle import MANIFEST, Bundle
from lockstep.plan import Plan, digest

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Fingerprint", "of_bundle", "of_files", "of_sources", "whole"]

Fingerprint = Mapping[str, str]
"""By what it is about, e.g. "spine": a text that changes with it."""


def of_files(paths: Iterable[Path]) -> str:
    """Of files on this machine."""
    found = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return digest(json.dumps(found))


def of_bundle(bundle: Bundle) -> str:
    """Of a bundle: its manifest holds the hashes of its files."""
    manifest = bundle.manifest
    return f"{manifest.name} {manifest.version} {digest(bundle.files[MANIFEST])}"


def of_sources(store: "FeatureStore", plan: Plan) -> str:
    """Of the tables behind the plan's views. Raises TablesRefused where one is not made of files."""
    return digest(json.dumps([_of_source(store, view.name) for view in plan.views]))


def _of_source(store: "FeatureStore", view: str) -> Any:
    from feast.data_format import DeltaFormat

    from lockstep.stores import sources

    source = sources.file_source(store.get_feature_view(view).batch_source, f"view {view!r}")
    if isinstance(source.file_format, DeltaFormat):
        return [source.path, sources.delta_table(source, store.config.repo_path).version()]
    if sources.is_remote(source.path):
        return _of_remote(source)
    return of_files(sources.parquet_files(sources.local_path(source.path, store.config.repo_path)))


def _of_remote(source: Any) -> list[tuple[str, int, str]]:
    import pyarrow.dataset

    from lockstep.stores.sources import filesystem_of

    filesystem, path = filesystem_of(source)
    files = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet").files
    return [(one.path, one.size, str(one.mtime_ns)) for one in filesystem.get_file_info(files)]


def whole(fingerprint: Fingerprint) -> str:
    """All of it as one hash."""
    return digest(json.dumps(dict(fingerprint), sort_keys=True))
