"""Some rows of the small home to score, and how they are scored."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.batch import Job, Report, score
from training.plans import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureStore

    from training.train import Trained

ROWS = 1_000
KEYS = ["ip", "app", "channel", "os", "device", EVENT_TIMESTAMP]

Run = Callable[..., Report]


@pytest.fixture(scope="session")
def clicks(trained: "Trained") -> pa.Table:
    """The first thousand held-out clicks, with a column of their own."""
    rows = trained.test_spine.slice(0, ROWS).select(KEYS)
    return rows.append_column("note", pa.array([f"click {number}" for number in range(ROWS)]))


@pytest.fixture
def spine(clicks: pa.Table, tmp_path: Path) -> Path:
    path = tmp_path / "clicks.parquet"
    pq.write_table(clicks, path, row_group_size=300)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "scores"


@pytest.fixture
def run(feast_store: "FeatureStore", trained: "Trained", spine: Path, out: Path) -> Run:
    """Score the clicks into `out`, four hundred a part, unless said otherwise."""

    def run(**changes: Any) -> Report:
        facts = {"bundle": trained.bundle, "spine": str(spine), "out": out, "part_rows": 400, "workers": 2, **changes}
        return score(feast_store, Job(**facts))

    return run
