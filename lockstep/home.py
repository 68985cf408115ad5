"""Where a project keeps what it makes: one folder, named by LOCKSTEP_HOME, by default `data` in the working folder."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Home", "default_home"]


@dataclass(frozen=True)
class Home:
    """The folders of one project's data. Everything in them can be made again but the events and the models."""

    root: Path
    """Absolute path of the folder."""

    @property
    def events(self) -> Path:
        """The click log, one Parquet file a day: events/day=2017-11-06/clicks.parquet."""
        return self.root / "events"

    @property
    def features(self) -> Path:
        """The feature tables, one folder a table and one file a day of event_timestamp."""
        return self.root / "features"

    @property
    def models(self) -> Path:
        """The bundles: models/<name>/<version>/."""
        return self.root / "models"

    @property
    def predictions(self) -> Path:
        """The scores of a cache while it is filled, one folder a model."""
        return self.root / "predictions"

    @property
    def registry(self) -> Path:
        """Feast's registry file."""
        return self.root / "registry.db"

    @property
    def redis(self) -> Path:
        """Working folder of the Redis that `lockstep redis` starts."""
        return self.root / "redis"


def default_home() -> Home:
    """The home named by LOCKSTEP_HOME, or `data` in the working directory."""
    return Home(Path(os.environ.get("LOCKSTEP_HOME") or "data").absolute())
